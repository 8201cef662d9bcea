"""Alembic's environment: one branch of revisions for each of the node's databases."""
