"""The rules, one module per family of record kinds, each with the same two functions.

`check_*(state, signed, at, issuer)` raises RuleError where a rule is broken; `apply_*(state, signed, at)` returns the
documents to write, and may be called only where the check let pass. Ledger, time, issuer and signature have been checked
before (`ledger.state.transition`); `issuer` is the issuer's document.
"""
