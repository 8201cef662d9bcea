"""Other people's test vectors against this implementation: `python -m tests.conformance KIND PATH...`.

One line a case, then `N passed, N failed`; exit 0 if all agree, 1 on any disagreement, 2 on wrong usage, on a file that
cannot be read as what it should be, or where there is no case at all. A single case that is malformed (an absent field,
wrong base64) is a case that we reject, which is right exactly where rejection is expected.
"""
