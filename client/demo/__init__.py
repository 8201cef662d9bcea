"""The demonstration: four agencies, one ledger, a weapon traced and proved. Real processes, real keys, real files.

`cast` is who takes part, `run` what happens, `story` how it is told. Every figure that is printed was measured, every
check is made by the code that a user would run.
"""
