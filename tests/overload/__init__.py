"""Overload of real nodes on this machine: `python -m tests.overload`, ten times what they can take, for a minute.

`flood` are clients that do not care, in processes of their own; `peer` is a validator gone bad; `watch` measures what honest
clients get meanwhile, and each node's memory; `scenarios` say what must hold. What of it can be had in one process and
in a moment is in `test_*`.
"""
