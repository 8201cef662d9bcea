"""Snapshots of the state as a node keeps and serves them (PROTOCOL P7.3).

`files` is one snapshot on disk; `exporter` makes one where the ledger has grown enough since the last; `pages` answers
those who join.
"""
