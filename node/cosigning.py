"""Cosignatures of checkpoints: this node's own, its peers', and the newest checkpoint that a quorum cosigned (DESIGN 6).

The own cosignature is made for the commit's transaction and sent after it; sizes rise, one root each. Peers' are verified
when they come, and count for a size once this node's own log has reached it with the same root. No part of consensus.
Everything but `Cosigning.cosign` belongs to the event loop; `newest` may be read from any thread.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, cosigned_message, sign_checkpoint
from ledger.errors import EncodingError, VerificationError
from ledger.genesis import Genesis
from ledger.limits import COSIGNATURE_SIZES
from ledger.notes import COSIGNATURE_V1, NoteSignature, NoteSigner, NoteVerifier
from ledger.quorum import quorum
from ledger.signing import is_valid
from node.clock import Clock
from node.keys import NodeKeys
from node.peers.wire import Cosignature

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Cosignature)

Verdict = Literal["counted", "known", "early", "stale", "fork"]
"""What became of a peer's cosignature: it counts; it was known; this log is not there yet; its size is no longer kept;
it is of another root than this log had at that size."""


class CosignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that a quorum of validators cosigned. `cosignatures` are all that are known, by validator."""

    height: int
    size: int
    root: bytes
    cosignatures: tuple[Cosignature, ...]


def encode_cosignature(cosignature: Cosignature) -> bytes:
    """Its msgpack form, for the store and for a Status."""
    return _ENCODER.encode(cosignature)


def decode_cosignature(data: bytes) -> Cosignature:
    """Parse it.

    Raises:
        EncodingError: code `malformed`.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise EncodingError(f"not a cosignature: {error}", code="malformed") from error


class _Boundary(msgspec.Struct, kw_only=True, frozen=True):
    """One of this log's newest block boundaries, and who cosigned its root."""

    height: int
    root: bytes
    items: dict[int, Cosignature]


class Cosigning:
    """Makes, collects and counts cosignatures."""

    def __init__(self, genesis: Genesis, keys: NodeKeys, clock: Clock) -> None:
        """`keys` are those of one of the genesis document's agencies."""
        origin, agencies = genesis.origin, genesis.agencies
        self._origin = origin
        self._own = [agency.party for agency in agencies].index(keys.party)
        self._clock = clock
        self._witnesses = tuple(
            NoteVerifier(
                name=f"{origin}/{agency.party}",
                key_type=COSIGNATURE_V1,
                public=bytes.fromhex(agency.node.cosigner.public),
            )
            for agency in agencies
        )
        self._cosigner = Cosigner(self._witnesses[self._own].name, keys.cosigner)
        self._log = NoteSigner(origin, keys.log)
        self._quorum = quorum(len(agencies))
        self._boundaries: OrderedDict[int, _Boundary] = OrderedDict()
        self._early: tuple[OrderedDict[int, Cosignature], ...] = tuple(OrderedDict() for _ in agencies)
        self.newest: CosignedCheckpoint | None = None
        """The newest checkpoint with a quorum. Replaced whole, never changed."""

    def cosign(self, size: int, root: bytes) -> bytes:
        """This node's cosignature of a checkpoint, encoded, stating the wall clock. To be stored with the block."""
        text = Checkpoint(origin=self._origin, size=size, root=root).text
        time_s = self._clock.wall_ms() // 1000
        line = self._cosigner.sign(text, time_s=time_s)
        return encode_cosignature(
            Cosignature(signer=self._own, size=size, root=root, time_s=time_s, signature=line.signature[8:])
        )

    def committed(self, *, height: int, size: int, root: bytes, own: bytes | None) -> tuple[Cosignature, ...]:
        """The log has reached a block boundary, the highest yet; `own` is the stored cosignature.

        What peers sent ahead of us counts now, if it is of our root: these are returned, to be kept.
        """
        boundary = _Boundary(height=height, root=root, items={})
        if own is not None:
            boundary.items[self._own] = decode_cosignature(own)
        for early in self._early:
            cosignature = early.get(size)
            if cosignature is not None and cosignature.root == root:
                boundary.items.setdefault(cosignature.signer, cosignature)
            while early and next(iter(early)) <= size:
                early.popitem(last=False)
        self._boundaries[size] = boundary
        while len(self._boundaries) > COSIGNATURE_SIZES:
            self._boundaries.popitem(last=False)
        self._count(size)
        return tuple(item for signer, item in boundary.items.items() if signer != self._own)

    def receive(self, cosignature: Cosignature) -> Verdict:
        """Take in a peer's cosignature.

        Raises:
            VerificationError: code `bad_cosignature`: its signature does not hold, or its signer is no validator.
        """
        signer, size = cosignature.signer, cosignature.size
        if signer >= len(self._witnesses):
            raise _bad_cosignature(cosignature)
        boundary = self._boundaries.get(size)
        if boundary is None:
            return self._receive_early(cosignature)
        if signer in boundary.items:
            return "known"
        self._verify(cosignature)
        if cosignature.root != boundary.root:
            return "fork"
        boundary.items[signer] = cosignature
        self._count(size)
        return "counted"

    def _receive_early(self, cosignature: Cosignature) -> Verdict:
        early, size = self._early[cosignature.signer], cosignature.size
        if size <= next(reversed(self._boundaries), 0):
            return "stale"
        if size in early:
            return "known"
        highest = next(reversed(early), 0)
        if size < highest and len(early) >= COSIGNATURE_SIZES:
            return "stale"
        self._verify(cosignature)
        early[size] = cosignature
        if size < highest:
            for later in sorted(key for key in early if key > size):
                early.move_to_end(later)
        if len(early) > COSIGNATURE_SIZES:
            early.popitem(last=False)
        return "early"

    def load(self, cosignatures: Iterable[Cosignature]) -> None:
        """Take in what the store kept of peers' cosignatures, verified before it was stored."""
        for cosignature in cosignatures:
            boundary = self._boundaries.get(cosignature.size)
            if boundary is not None and boundary.root == cosignature.root:
                boundary.items.setdefault(cosignature.signer, cosignature)
                self._count(cosignature.size)

    def own_newest(self) -> Cosignature | None:
        """This node's cosignature of the newest block, to be repeated."""
        newest = next(reversed(self._boundaries.values()), None)
        return None if newest is None else newest.items.get(self._own)

    @property
    def oldest_size(self) -> int:
        """Cosignatures of smaller sizes need not be kept."""
        return next(iter(self._boundaries), 0)

    def note(self, checkpoint: CosignedCheckpoint) -> bytes:
        """The checkpoint as a signed note: this node's log line, then all cosignatures known. Signs (about 31 us)."""
        return self._note(checkpoint, self._lines(checkpoint))

    def evidence_note(self, checkpoint: CosignedCheckpoint) -> bytes:
        """As `note`, with the cosignatures of one quorum only, those first by name (`Policy.minimal`)."""
        lines = sorted(self._lines(checkpoint), key=lambda line: (line.name, line.key_id))
        return self._note(checkpoint, lines[: self._quorum])

    def _lines(self, checkpoint: CosignedCheckpoint) -> list[NoteSignature]:
        lines = []
        for item in checkpoint.cosignatures:
            witness = self._witnesses[item.signer]
            signature = item.time_s.to_bytes(8, "big") + item.signature
            lines.append(NoteSignature(name=witness.name, key_id=witness.key_id, signature=signature))
        return lines

    def _note(self, checkpoint: CosignedCheckpoint, lines: list[NoteSignature]) -> bytes:
        plain = Checkpoint(origin=self._origin, size=checkpoint.size, root=checkpoint.root)
        return SignedCheckpoint.of(plain, [sign_checkpoint(plain, self._log), *lines]).to_bytes()

    def _verify(self, cosignature: Cosignature) -> None:
        text = Checkpoint(origin=self._origin, size=cosignature.size, root=cosignature.root).text
        message = cosigned_message(text, cosignature.time_s)
        if not is_valid(self._witnesses[cosignature.signer].public, message, cosignature.signature):
            raise _bad_cosignature(cosignature)

    def _count(self, size: int) -> None:
        boundary, newest = self._boundaries[size], self.newest
        if len(boundary.items) < self._quorum or (newest is not None and size < newest.size):
            return
        self.newest = CosignedCheckpoint(
            height=boundary.height,
            size=size,
            root=boundary.root,
            cosignatures=tuple(boundary.items[signer] for signer in sorted(boundary.items)),
        )


def _bad_cosignature(cosignature: Cosignature) -> VerificationError:
    return VerificationError(
        "a cosignature does not verify",
        code="bad_cosignature",
        actual=f"validator {cosignature.signer}, size {cosignature.size}",
    )
