"""The tables of a node's three databases (DESIGN 9). Migrations make them; this is what the code reads and writes.

* ledger: what the log says, and everything that follows from it: one transaction a block. Documents and tiles are the
  agreed state; `history` and `serials` are projections that the log can rebuild.
* votes: what consensus must not forget between a vote and its block, and cosignatures; small and often written. What was
  pruned is remembered as one mark, so that a ledger that is cut back or restored never leads to a second vote.
* agency: what is the agency's own: tokens and the query log.
"""

from typing import Final

import sqlalchemy as sa

LEDGER: Final = sa.MetaData()
VOTES: Final = sa.MetaData()
AGENCY: Final = sa.MetaData()

ENTRIES: Final = sa.Table(
    "entries",
    LEDGER,
    sa.Column("index", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)
"""The log, verbatim."""

RECORDS: Final = sa.Table(
    "records",
    LEDGER,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("index", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Record id (32 bytes) to log index."""

TILES: Final = sa.Table(
    "tiles",
    LEDGER,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
)
"""Tiles of height 8 (C2SP tlog-tiles): up to 256 hashes of tree level 8 * `level`, the rightmost one growing in place."""

DOCUMENTS: Final = sa.Table(
    "documents",
    LEDGER,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
"""The state as of the newest block. `key`: SHA-256(kind 0x00 id). Rows lie in the order of their making, so that a lot
fills neighbouring pages; only the narrow index is in the order of the hashes."""

PROPOSALS: Final = sa.Index(
    "documents_proposals",
    DOCUMENTS.c.id,
    sqlite_where=DOCUMENTS.c.kind == sa.literal_column("'proposal'"),
)
"""The few documents that are listed by their kind; it costs the many others nothing."""

HISTORY: Final = sa.Table(
    "history",
    LEDGER,
    sa.Column("weapon", sa.Text, primary_key=True),
    sa.Column("index", sa.BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: the log indices of the records that wrote a weapon's document."""

SERIALS: Final = sa.Table(
    "serials",
    LEDGER,
    sa.Column("serial", sa.Text, primary_key=True),
    sa.Column("make", sa.Text, primary_key=True),
    sa.Column("weapon", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: search by normalised serial."""

KEYS: Final = sa.Table(
    "keys",
    LEDGER,
    sa.Column("keyid", sa.Text, primary_key=True),
    sa.Column("public", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)
"""Projection: public keys (hex) that the state has ever named, by their DSSE key ids."""

BLOCKS: Final = sa.Table(
    "blocks",
    LEDGER,
    sa.Column("height", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("first_index", sa.BigInteger, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False, unique=True),
    sa.Column("log_root", sa.LargeBinary, nullable=False),
    sa.Column("header", sa.LargeBinary),
    sa.Column("certificate", sa.LargeBinary),
    sa.Column("cosignature", sa.LargeBinary),
)
"""One row a block. `first_index` is its first entry, `size` the log's after its seal. `header`, `certificate` (the
finalization by which it was committed) are absent for the genesis block, `cosignature` where this node made none."""

EPOCHS: Final = sa.Table(
    "epochs",
    LEDGER,
    sa.Column("epoch", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("height", sa.BigInteger, nullable=False, unique=True),
    sa.Column("validators", sa.LargeBinary, nullable=False),
    sa.Column("proof", sa.LargeBinary, nullable=False),
)
"""One row for each epoch after the first: the height of the block that closed the one before, the validators' document that
it wrote (canonical JSON), and that document's proof under the block's state root (msgpack)."""

FLOOR: Final = sa.Table(
    "floor",
    LEDGER,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("view", sa.BigInteger, nullable=False),
    sa.Column("height", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
)
"""One row: what is final here (P3.1), and the log tree's frontier at that height."""

CONSENSUS: Final = sa.Table(
    "consensus",
    VOTES,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True),
    sa.Column("view", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.LargeBinary, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Own votes, certificates, unfinalized blocks and evidence (P3.1), each under what makes it unique: a vote or certificate
its kind and view, a block its digest, evidence its signer."""

COSIGNATURES: Final = sa.Table(
    "cosignatures",
    VOTES,
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("signer", sa.Integer, primary_key=True),
    sa.Column("line", sa.LargeBinary, nullable=False),
)
"""Verified cosignatures of peers, for the newest sizes: time and signature as in the note's line."""

CLOSINGS: Final = sa.Table(
    "closings",
    VOTES,
    sa.Column("size", sa.BigInteger, primary_key=True),
    sa.Column("signer", sa.Integer, primary_key=True),
    sa.Column("line", sa.LargeBinary, nullable=False),
)
"""As `cosignatures`, of the checkpoints with which epochs closed, by validators of the closed epoch: kept for ever, since
they prove who came after them."""

MARKS: Final = sa.Table(
    "marks",
    VOTES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("view", sa.BigInteger, nullable=False),
    sa.Column("sum", sa.LargeBinary, nullable=False),
)
"""What is known of the votes as a whole. `signing_floor`: nothing at or below (epoch, view) is ever signed again, whatever
the ledger's floor is: own votes up to there may have been pruned. `votes_suspect` (there or not): votes may be missing
(P7.5). `votes_unasked` (beside it): only because the node began empty, and nobody could be asked."""

TOKENS: Final = sa.Table(
    "tokens",
    AGENCY,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("party", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.Column("sum", sa.LargeBinary),
)
"""Bearer tokens by the SHA-256 of their secret, which is shown once and kept nowhere. `sum` (`node.storage.sums`) covers the
other columns."""

QUERIES: Final = sa.Table(
    "queries",
    AGENCY,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)
"""Who asked what and why: canonical JSON, and SHA-256(previous hash || entry), so that no line can be taken out unseen."""
