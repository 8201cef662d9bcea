"""Joining a long ledger by a snapshot (PROTOCOL P7.3), before the node itself starts.

`sources` is whom to ask and whom no longer; `pipeline` fetches ahead and takes in order; `blocks` verifies blocks by the
snapshot's documents and tiles; `join` is the stages; `start` decides whether to, and puts the result into its place.
"""
