"""Verifying the blocks of a log whose hash tiles and state are known already, without executing them.

Of each record the signatures are verified, by keys that the state names as in force at its place; of each block its
finalization, its place in the chain of headers and seals, and that its entries are the leaves of the log's tree. What a node
reads besides (ids, history) follows from the records.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice, product
from typing import Final, NamedTuple

import msgspec

from ledger.block import Block
from ledger.consensus.certificates import verify_certificate
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate
from ledger.errors import EncodingError, SignatureError, VerificationError
from ledger.merkle.tree import Frontier
from ledger.records.envelope import ParsedRecord, parse_entry, verify_entry
from ledger.state.model import KeyDoc, decode_document
from ledger.state.transition import weapons_of
from ledger.statetree import key_hash
from node.peers.catchup import CertifiedBlock
from node.storage.staging import StagedBlock, StagingStore

_MAX_KEYS: Final = 50_000
"""Keys kept in memory; a ledger with more reads some of them again."""
_MAX_TRIED: Final = 16
"""Combinations of keys tried for one record: a key id has 64 bits, and honest keys never share one."""


class Keys:
    """The keys that the state has ever named, with when each was in force. Safe to use from several threads."""

    def __init__(self, staging: StagingStore) -> None:
        self._staging = staging
        self._publics: dict[str, list[str]] = {}
        self._documents: dict[str, KeyDoc] = {}

    def by_key_id(self, keyids: Iterable[str]) -> Mapping[str, list[str]]:
        """Public keys (hex) by key id."""
        known = self._publics
        missing = {keyid for keyid in keyids if keyid not in known}
        if missing:
            kept = {} if len(known) + len(missing) > _MAX_KEYS else known
            self._publics = known = {**kept, **{keyid: [] for keyid in missing}, **self._staging.publics(missing)}
        return known

    def document(self, public: str) -> KeyDoc:
        """The document of a key that `by_key_id` gave."""
        document = self._documents.get(public)
        if document is None:
            hashed = key_hash("key", public)
            with self._staging.read() as reader:
                data = reader.documents([hashed])[hashed]
            decoded = decode_document("key", data)
            assert isinstance(decoded, KeyDoc)
            if len(self._documents) >= _MAX_KEYS:
                self._documents = {}
            self._documents[public] = document = decoded
        return document


class RecordFacts(NamedTuple):
    """What is kept of a record whose signatures verified: its id, who issued it, who signed it (public keys in hex), and the
    weapons that it wrote."""

    id: bytes
    issuer: str
    signers: tuple[str, ...]
    weapons: tuple[str, ...]


class VerifiedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block whose body and records' signatures hold, wherever it stands, with a finalization that is one."""

    block: Block
    certificate: Certificate
    records: list[RecordFacts]

    @property
    def finalized_digest(self) -> bytes:
        """Of the block that the finalization is of: this one, or one above it."""
        assert self.certificate.proposal is not None  # a finalization has one
        return self.certificate.proposal.digest


def verify_alone(
    items: Sequence[CertifiedBlock], chain: bytes, epochs: Mapping[int, Epoch], keys: Keys
) -> list[VerifiedBlock]:
    """What can be verified of blocks before their place is known. Requires bodies that are those of the headers.

    Raises:
        PeerError: a finalization is none, or of no known epoch.
        EncodingError: a block does not follow the one before it, an entry is no record, or a finalization is of another
        epoch than its block.
        SignatureError: a signature does not verify.
    """
    verified: list[VerifiedBlock] = []
    proof: Certificate | None = None
    before: Block | None = None
    for block, certificate in items:
        if before is not None and block.header.parent_digest != before.digest:
            raise EncodingError(
                "a block does not follow the one before it",
                expected=before.digest.hex(),
                actual=block.header.parent_digest.hex(),
            )
        before = block
        if certificate != proof:  # several blocks may have been committed by one
            proof = _verified_finalization(chain, epochs, certificate)
        if certificate.epoch != block.header.epoch:  # nobody who stands in the block's epoch could verify it
            raise EncodingError(
                "a block under a finalization of another epoch", expected=block.header.epoch, actual=certificate.epoch
            )
        parsed = [parse_entry(entry) for entry in block.entries]
        publics = keys.by_key_id(signature.keyid for each in parsed for signature in each.envelope.signatures)
        records = [_verified_record(each, publics) for each in parsed]
        verified.append(VerifiedBlock(block=block, certificate=certificate, records=records))
    return verified


def _verified_finalization(chain: bytes, epochs: Mapping[int, Epoch], certificate: Certificate) -> Certificate:
    epoch = epochs.get(certificate.epoch)
    if epoch is None or certificate.kind != "finalization":
        raise EncodingError(
            "not a finalization of an epoch so far", expected=f"one of {sorted(epochs)}", actual=certificate.epoch
        )
    verify_certificate(chain, epoch, certificate)
    return certificate


def count_proven(blocks: Sequence[VerifiedBlock], beyond: Collection[bytes] = ()) -> int:
    """How many of these blocks, from the first on, have their finalization among them (P7.2). Requires a chain.

    `beyond`, where the last of them is known to be final: the digests of final blocks above it, which prove all of them.

    Raises:
        VerificationError: code `bad_block`: one of them has the finalization of a block that is neither it nor above it.
    """
    above = set(beyond)
    proven = len(blocks) if beyond else 0
    for count in range(len(blocks), 0, -1):
        block = blocks[count - 1]
        above.add(block.block.digest)
        if block.finalized_digest == block.block.digest:
            proven = max(proven, count)
        elif proven and block.finalized_digest not in above:
            raise _bad_block(block, "its finalization is of another block")
    return proven


def _verified_record(parsed: ParsedRecord, publics: Mapping[str, Sequence[str]]) -> RecordFacts:
    found = [publics[signature.keyid] for signature in parsed.envelope.signatures]
    failure: SignatureError | None = None
    for signers in islice(product(*found), _MAX_TRIED):
        try:
            signed = verify_entry(parsed, signers)
        except SignatureError as error:
            failure = error
        else:
            record = signed.record
            return RecordFacts(bytes.fromhex(signed.id), record.issuer, signers, weapons_of(record))
    raise failure or SignatureError("a record is signed by a key that the state never named", actual=parsed.id)


class Claims:
    """Who showed which block at a height while no finalization had decided it: what is proven then tells who lied."""

    def __init__(self) -> None:
        self._shown: dict[int, dict[str, bytes]] = {}

    def note(self, party: str, blocks: Iterable[VerifiedBlock]) -> None:
        """`party` showed these."""
        for each in blocks:
            self._shown.setdefault(each.block.header.height, {})[party] = each.block.digest

    def judge(self, proven: Iterable[VerifiedBlock]) -> dict[str, VerificationError]:
        """Those who showed another block than a proven one; what is proven is forgotten."""
        liars = {}
        for each in proven:
            for party, digest in self._shown.pop(each.block.header.height, {}).items():
                if digest != each.block.digest:
                    liars[party] = _bad_block(each, "another was shown in its place", expected=each.block.digest.hex())
        return liars


class Placing:
    """Puts blocks in their places, one after the other. Belongs to one thread at a time."""

    def __init__(
        self,
        staging: StagingStore,
        keys: Keys,
        *,
        height: int,
        size: int,
        digest: bytes,
        seal_hash: bytes,
        frontier: Frontier,
    ) -> None:
        """After the block of `height`, digest and seal, with which the log has `size` entries and this frontier."""
        self._staging = staging
        self._keys = keys
        self.height = height
        self.size = size
        self.digest = digest
        self.seal_hash = seal_hash
        self.frontier = frontier

    def place(self, verified: Sequence[VerifiedBlock]) -> list[StagedBlock]:
        """The rows of blocks that follow one another, and this place moves behind them; if one does not, it stays.

        Raises:
            VerificationError: code `bad_block`: a block is not the one that stands there.
        """
        at = Placing(
            self._staging,
            self._keys,
            height=self.height,
            size=self.size,
            digest=self.digest,
            seal_hash=self.seal_hash,
            frontier=self.frontier,
        )
        rows = [at._place_one(each) for each in verified]
        end = at.size
        leaves = b"".join(leaf for each in verified for leaf in each.block.leaf_hashes)
        with self._staging.read() as reader:
            expected = reader.leaf_hashes(self.size, end)
        if leaves != expected:
            raise _bad_block(verified[0], "its entries, or those of the next ones, are not the log's")
        self.height, self.size, self.digest = at.height, at.size, at.digest
        self.seal_hash, self.frontier = at.seal_hash, at.frontier
        return rows

    def _place_one(self, verified: VerifiedBlock) -> StagedBlock:
        block = verified.block
        header = block.header
        if header.height != self.height + 1 or header.parent_digest != self.digest:
            raise _bad_block(verified, "it is not the next block", expected=self.digest.hex())
        if header.parent_seal != self.seal_hash:
            raise _bad_block(verified, "it names another seal before it", expected=self.seal_hash.hex())
        first = self.size
        for index, record in enumerate(verified.records, start=first):
            self._require_in_force(record, index)
        self.frontier = self.frontier.append(block.leaf_hashes)
        self.height, self.size, self.digest = header.height, self.frontier.size, block.digest
        self.seal_hash = block.seal_hash
        return StagedBlock(
            height=header.height,
            digest=block.digest,
            first_index=first,
            entries=(*block.entries, block.seal),
            records=[(record.id, index) for index, record in enumerate(verified.records, start=first)],
            history=[
                (weapon, index)
                for index, record in enumerate(verified.records, start=first)
                for weapon in record.weapons
            ],
            header=msgspec.msgpack.encode(header),
            certificate=msgspec.msgpack.encode(verified.certificate),
            size=self.size,
            log_root=self.frontier.root,
        )

    def _require_in_force(self, record: RecordFacts, index: int) -> None:
        """Each key that signed was in force at the record's place, and one of them is the issuer's."""
        documents = [self._keys.document(public) for public in record.signers]
        for document in documents:
            if (document.added is not None and document.added >= index) or (
                document.revoked is not None and index >= document.revoked
            ):
                raise VerificationError(f"entry {index} is signed by a key that was not in force", code="bad_block")
        if all(document.party != record.issuer for document in documents):
            raise VerificationError(f"entry {index} is not signed by its issuer", code="bad_block")


def _bad_block(verified: VerifiedBlock, message: str, *, expected: object = None) -> VerificationError:
    return VerificationError(f"block {verified.block.header.height}: {message}", code="bad_block", expected=expected)
