"""Fuzzing of everything that takes bytes from outside: `python -m tests.fuzz --inputs N`.

`mutate` bends good inputs byte by byte and along their structure (JSON within base64 within JSON, msgpack, lines);
`parsers`, `forgeries` and `lawless` say what is fed with them and what must hold; `harness` counts and reports. Only our own
errors may leave, and never an internal one.
"""
