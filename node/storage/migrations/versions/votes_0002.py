"""What is known of the votes as a whole: how far up they are settled, and whether some may be missing."""

import sqlalchemy as sa
from alembic import op

revision = "votes_0002"
down_revision = "votes_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of marks."""
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("view", sa.BigInteger, nullable=False),
        sa.Column("sum", sa.LargeBinary, nullable=False),
    )
