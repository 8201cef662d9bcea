"""Is what a node keeps still what was written, and if not, how is it mended (DESIGN 9, P3, P7.5)?

The ledger's database is checked by making it a second time from its log alone and comparing every row; the votes' by its
signatures; the agency's by its chain and sums. What follows from the log is rebuilt from it. Where the log itself is hurt it
is cut below the damage, a copy kept, and the node catches up from its peers; votes are never cut.
"""
