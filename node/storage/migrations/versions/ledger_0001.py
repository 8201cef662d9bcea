"""The ledger's first schema."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None


def upgrade() -> None:
    """Make the tables of the log, the state, the projections and the floor."""
    big_key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "entries",
        sa.Column("index", big_key, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "records",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("index", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tiles",
        sa.Column("level", sa.Integer, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "documents",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("weapon", sa.Text, primary_key=True),
        sa.Column("index", sa.BigInteger, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "serials",
        sa.Column("serial", sa.Text, primary_key=True),
        sa.Column("make", sa.Text, primary_key=True),
        sa.Column("weapon", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "keys",
        sa.Column("keyid", sa.Text, primary_key=True),
        sa.Column("public", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blocks",
        sa.Column("height", big_key, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("first_index", sa.BigInteger, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False, unique=True),
        sa.Column("log_root", sa.LargeBinary, nullable=False),
        sa.Column("header", sa.LargeBinary),
        sa.Column("certificate", sa.LargeBinary),
        sa.Column("cosignature", sa.LargeBinary),
    )
    op.create_table(
        "floor",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("view", sa.BigInteger, nullable=False),
        sa.Column("height", sa.BigInteger, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
    )
