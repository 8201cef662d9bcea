"""Proposals are listed."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index of the proposals among the documents."""
    op.create_index("documents_proposals", "documents", ["id"], sqlite_where=sa.text("kind = 'proposal'"))
