"""The first schema of what consensus keeps."""

import sqlalchemy as sa
from alembic import op

revision = "votes_0001"
down_revision = None
branch_labels = ("votes",)
depends_on = None


def upgrade() -> None:
    """Make the tables of consensus records and of peers' cosignatures."""
    op.create_table(
        "consensus",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, primary_key=True),
        sa.Column("view", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.LargeBinary, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "cosignatures",
        sa.Column("size", sa.BigInteger, primary_key=True),
        sa.Column("signer", sa.Integer, primary_key=True),
        sa.Column("line", sa.LargeBinary, nullable=False),
    )
