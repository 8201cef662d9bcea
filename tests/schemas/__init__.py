"""The schemas against the parsers."""
