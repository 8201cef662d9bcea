"""Backups of a node (`tracemark backup`, `tracemark restore`): taken while it runs, checked before they replace anything.

A restored node may have forgotten votes, so it comes back as P7.5 says.
"""
