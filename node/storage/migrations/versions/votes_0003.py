"""Cosignatures of the checkpoints that close epochs, which are kept for ever."""

import sqlalchemy as sa
from alembic import op

revision = "votes_0003"
down_revision = "votes_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of closing cosignatures."""
    op.create_table(
        "closings",
        sa.Column("size", sa.BigInteger, primary_key=True),
        sa.Column("signer", sa.Integer, primary_key=True),
        sa.Column("line", sa.LargeBinary, nullable=False),
    )
