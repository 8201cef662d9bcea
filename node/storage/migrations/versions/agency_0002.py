"""A sum over each token's row, so that a damaged one is noticed before it lets anybody in."""

import sqlalchemy as sa
from alembic import op

from node.storage.sums import row_sum

revision = "agency_0002"
down_revision = "agency_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and fill it."""
    op.add_column("tokens", sa.Column("sum", sa.LargeBinary))
    names = ("id", "digest", "party", "role", "label", "created_ms", "expires_ms", "revoked_ms", "sum")
    tokens = sa.table("tokens", *(sa.column(name) for name in names))
    connection = op.get_bind()
    for row in connection.execute(sa.select(*tokens.c)).all():
        connection.execute(sa.update(tokens).where(tokens.c.id == row.id).values(sum=row_sum(*row[:-1])))
