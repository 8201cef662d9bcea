"""Revisions, named <database>_<number>."""
