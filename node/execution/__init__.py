"""Execution of blocks on the state, off the event loop (DESIGN 7, 9).

`overlay` is a block's executed outcome as a value; `run` executes records on a parent's outcome; `documents` reads the
state at the newest committed block; `signatures` verifies entries once; `executor` builds, checks and commits blocks;
`versions` keeps what readers need to see one height while blocks go on.
"""
