"""The epochs: which block opened each, with which validators."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of epochs. A ledger of the first schema is in epoch 0, which has no row."""
    op.create_table(
        "epochs",
        sa.Column("epoch", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("height", sa.BigInteger, nullable=False, unique=True),
        sa.Column("validators", sa.LargeBinary, nullable=False),
        sa.Column("proof", sa.LargeBinary, nullable=False),
    )
