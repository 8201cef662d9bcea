"""Cosignatures of checkpoints: this node's own, its peers', and the newest checkpoint that a quorum cosigned (DESIGN 6).

The own cosignature is made for the commit's transaction and sent after it; sizes rise, one root each. Peers' are verified
when they come, and count for a size once this node's own log has reached it with the same root. No part of consensus.

Who cosigns a size, and how many are a quorum, is the matter of the epoch of its block; so a block that closes an epoch is
cosigned by the validators that it sends away. Those cosignatures are never let go: they prove who came after. Until they
are a quorum here, no checkpoint of the new validators counts: nobody who pinned an earlier policy could follow it.

With its cosignature a validator gives its log key's signature of the same checkpoint, so that a node whose own log key no
policy lists (an observer, or one that was no validator yet) can show notes that policies accept.

Everything but `Cosigning.cosign` belongs to the event loop; `newest` and the notes may be asked for from any thread.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Literal

import msgspec

from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, cosigned_message, sign_checkpoint
from ledger.errors import EncodingError, VerificationError
from ledger.limits import COSIGNATURE_SIZES, MAX_REQUESTED_COSIGNATURE_SIZES
from ledger.notes import COSIGNATURE_V1, ED25519, NoteSignature, NoteSigner, NoteVerifier
from ledger.signing import is_valid
from node.clock import Clock
from node.keys import NodeKeys
from node.membership import Members
from node.peers.wire import Cosignature

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Cosignature)

Verdict = Literal["counted", "known", "early", "stale", "fork"]
"""What became of a peer's cosignature: it counts; it was known; this log is not there yet; its size is no longer kept;
it is of another root than this log had at that size."""


class CosignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that a quorum of its epoch's validators cosigned. `cosignatures` are all that are known, by validator."""

    epoch: int
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


class Contradiction(msgspec.Struct, kw_only=True, frozen=True):
    """A cosignature of another root than one that is known of the size.

    `both`: the agency's two cosignatures (text, time in seconds, signature), if it cosigned the other root, too; else
    `theirs` and `ours` are notes of the two checkpoints, as far as they are signed here.
    """

    party: str
    public: bytes
    size: int
    both: tuple[tuple[bytes, int, bytes], tuple[bytes, int, bytes]] | None
    theirs: bytes
    ours: bytes


class _Boundary(msgspec.Struct, kw_only=True, frozen=True):
    """A block boundary of this log, and who of its epoch cosigned its root."""

    epoch: int
    height: int
    root: bytes
    items: dict[int, Cosignature]


class _Witnesses(msgspec.Struct, kw_only=True, frozen=True):
    """One epoch's cosigner and log keys by validator, and which of them are this node's, if any is."""

    epoch: int
    cosigners: tuple[NoteVerifier, ...]
    logs: tuple[NoteVerifier, ...]
    quorum: int
    own: int | None
    own_log: int | None


class Cosigning:
    """Makes, collects and counts cosignatures."""

    def __init__(self, origin: str, keys: NodeKeys, clock: Clock, members: Members) -> None:
        """`members` are those of epoch 0; later epochs are opened one by one."""
        self._origin = origin
        self._clock = clock
        self._cosigner = Cosigner(f"{origin}/{keys.party}", keys.cosigner)
        self._log = NoteSigner(origin, keys.log)
        self._epochs: dict[int, _Witnesses] = {}
        self._boundaries: OrderedDict[int, _Boundary] = OrderedDict()
        self._closings: dict[int, _Boundary] = {}
        self._early: tuple[OrderedDict[int, Cosignature], ...] = ()
        self._strange: OrderedDict[tuple[int, int, int], Cosignature] = OrderedDict()
        """Cosignatures of other roots than this log's, by (epoch, validator, size)."""
        self._contradictions: list[Contradiction] = []
        self._ahead: deque[Cosignature] = deque(maxlen=COSIGNATURE_SIZES)
        self._current = self._open(members)
        self.proven_epoch = 0
        """The newest epoch whose validators this node can prove: every one before it closed with a quorum known here."""
        self.newest: CosignedCheckpoint | None = None
        """The newest checkpoint with a quorum, of a proven epoch. Replaced whole, never changed."""

    def open_epoch(self, members: Members) -> None:
        """The boundary last committed or restored has closed the epoch; later ones are these validators'."""
        assert members.epoch == self._current.epoch + 1
        self._current = self._open(members)
        ahead, self._ahead = list(self._ahead), deque(maxlen=COSIGNATURE_SIZES)
        for cosignature in ahead:
            try:
                self.receive(cosignature)
            except VerificationError:
                continue  # nobody could judge it when it came; whoever sent it sends better ones

    def _open(self, members: Members) -> _Witnesses:
        cosigners, logs = [], []
        for validator in members.validators:
            name = f"{self._origin}/{validator.party}"
            cosigner, log = bytes.fromhex(validator.cosigner), bytes.fromhex(validator.log)
            cosigners.append(NoteVerifier(name=name, key_type=COSIGNATURE_V1, public=cosigner))
            logs.append(NoteVerifier(name=self._origin, key_type=ED25519, public=log))
        opened = _Witnesses(
            epoch=members.epoch,
            cosigners=tuple(cosigners),
            logs=tuple(logs),
            quorum=members.quorum,
            own=_place(self._cosigner.verifier, cosigners),
            own_log=_place(self._log.verifier, logs),
        )
        self._epochs[members.epoch] = opened
        self._early = tuple(OrderedDict() for _ in cosigners)
        return opened

    def cosign(self, size: int, root: bytes) -> bytes | None:
        """This node's cosignature of a checkpoint, encoded, stating the wall clock, to be stored with the block; None where
        this node is no validator."""
        current = self._current
        if current.own is None:
            return None
        plain = Checkpoint(origin=self._origin, size=size, root=root)
        time_s = self._clock.wall_ms() // 1000
        line = self._cosigner.sign(plain.text, time_s=time_s)
        log = sign_checkpoint(plain, self._log).signature if current.own_log == current.own else b""
        return encode_cosignature(
            Cosignature(
                signer=current.own,
                size=size,
                root=root,
                time_s=time_s,
                signature=line.signature[8:],
                epoch=current.epoch,
                log_signature=log,
            )
        )

    def committed(
        self, *, height: int, size: int, root: bytes, own: bytes | None, closing: bool = False
    ) -> tuple[Cosignature, ...]:
        """The log has reached a block boundary, the highest yet; `own` is the stored cosignature; `closing`: the epoch ends
        here.

        What peers sent ahead of us counts now, if it is of our root: these are returned, to be kept.
        """
        boundary = self._boundary(height, root, own)
        for early in self._early:
            cosignature = early.get(size)
            if cosignature is not None and cosignature.root == root:
                boundary.items.setdefault(cosignature.signer, cosignature)
            elif cosignature is not None:
                self._keep_strange(cosignature, boundary)
            while early and next(iter(early)) <= size:
                early.popitem(last=False)
        self._boundaries[size] = boundary
        if closing:
            self._closings[size] = boundary
        while len(self._boundaries) > COSIGNATURE_SIZES:
            self._boundaries.popitem(last=False)
        self._count(size, boundary)
        return tuple(item for signer, item in boundary.items.items() if signer != self._current.own)

    def restore_closing(self, *, height: int, size: int, root: bytes, own: bytes | None) -> None:
        """The boundary at which the current epoch closed, some time ago; `open_epoch` is to follow."""
        self._closings[size] = boundary = self._boundary(height, root, own)
        self._count(size, boundary)

    def _boundary(self, height: int, root: bytes, own: bytes | None) -> _Boundary:
        boundary = _Boundary(epoch=self._current.epoch, height=height, root=root, items={})
        if own is not None:
            cosignature = decode_cosignature(own)
            boundary.items[cosignature.signer] = cosignature
        return boundary

    def receive(self, cosignature: Cosignature) -> Verdict:
        """Take in a peer's cosignature.

        Raises:
            VerificationError: code `bad_cosignature`: its signature does not hold, or its signer is no validator.
        """
        witnesses, signer, size = self._epochs.get(cosignature.epoch), cosignature.signer, cosignature.size
        if witnesses is None:
            if cosignature.epoch == self._current.epoch + 1:
                self._ahead.append(cosignature)
            return "early"
        if signer >= len(witnesses.cosigners):
            raise _bad_cosignature(cosignature)
        boundary = self._boundaries.get(size) or self._closings.get(size)
        if boundary is None:
            return self._receive_early(cosignature, witnesses)
        held = boundary.items.get(signer) if boundary.epoch == cosignature.epoch else None
        if held is not None and held.root == cosignature.root:
            return "known"
        self._verify(cosignature, witnesses)
        if cosignature.root != boundary.root:
            self._keep_strange(cosignature, boundary)
            return "fork"
        if cosignature.epoch != boundary.epoch:
            raise _bad_cosignature(cosignature)
        boundary.items[signer] = cosignature
        strange = self._strange.get((cosignature.epoch, signer, size))
        if strange is not None:
            self._contradict(strange, cosignature, boundary)
        self._count(size, boundary)
        return "counted"

    def _receive_early(self, cosignature: Cosignature, witnesses: _Witnesses) -> Verdict:
        size = cosignature.size
        if witnesses is not self._current or size <= next(reversed(self._boundaries), 0):
            return "stale"
        early = self._early[cosignature.signer]
        if size in early and early[size].root == cosignature.root:
            return "known"
        if size in early:
            self._verify(cosignature, witnesses)
            self._contradict(cosignature, early[size], None)
            return "fork"
        highest = next(reversed(early), 0)
        if size < highest and len(early) >= COSIGNATURE_SIZES:
            return "stale"
        self._verify(cosignature, witnesses)
        early[size] = cosignature
        if size < highest:
            for later in sorted(key for key in early if key > size):
                early.move_to_end(later)
        if len(early) > COSIGNATURE_SIZES:
            early.popitem(last=False)
        return "early"

    def take_contradictions(self) -> list[Contradiction]:
        """What was found since this was asked last."""
        found, self._contradictions = self._contradictions, []
        return found

    def _keep_strange(self, cosignature: Cosignature, boundary: _Boundary) -> None:
        """A verified cosignature of another root than ours: told once, kept in case its cosigner cosigns ours, too."""
        key = (cosignature.epoch, cosignature.signer, cosignature.size)
        if key not in self._strange:
            self._strange[key] = cosignature
            if len(self._strange) > COSIGNATURE_SIZES:
                self._strange.popitem(last=False)
            held = boundary.items.get(cosignature.signer) if boundary.epoch == cosignature.epoch else None
            self._contradict(cosignature, held, boundary)

    def _contradict(self, strange: Cosignature, held: Cosignature | None, boundary: _Boundary | None) -> None:
        witness = self._epochs[strange.epoch].cosigners[strange.signer]
        ours = b""
        if boundary is not None and held is None:
            ours = self.note(_cosigned(strange.size, boundary))
        self._contradictions.append(
            Contradiction(
                party=self.party_of(strange),
                public=witness.public,
                size=strange.size,
                both=None if held is None else (self._said(strange), self._said(held)),
                theirs=SignedCheckpoint.of(self._checkpoint_of(strange), [_line_of(strange, witness)]).to_bytes(),
                ours=ours,
            )
        )

    def _checkpoint_of(self, cosignature: Cosignature) -> Checkpoint:
        return Checkpoint(origin=self._origin, size=cosignature.size, root=cosignature.root)

    def _said(self, cosignature: Cosignature) -> tuple[bytes, int, bytes]:
        return self._checkpoint_of(cosignature).text, cosignature.time_s, cosignature.signature

    def load(self, cosignatures: Iterable[Cosignature]) -> None:
        """Take in what the store kept of peers' cosignatures, verified before it was stored."""
        for cosignature in cosignatures:
            size = cosignature.size
            boundary = self._boundaries.get(size) or self._closings.get(size)
            if boundary is not None and (boundary.root, boundary.epoch) == (cosignature.root, cosignature.epoch):
                boundary.items.setdefault(cosignature.signer, cosignature)
                self._count(size, boundary)

    def own_newest(self) -> Cosignature | None:
        """This node's cosignature of the newest block, to be repeated; None if it is no validator of that block's epoch."""
        newest = next(reversed(self._boundaries.values()), None)
        own = None if newest is None else self._epochs[newest.epoch].own
        return None if newest is None or own is None else newest.items.get(own)

    @property
    def oldest_size(self) -> int:
        """Cosignatures of smaller sizes need not be kept, but for those that closed an epoch."""
        return next(iter(self._boundaries), 0)

    def party_of(self, cosignature: Cosignature) -> str:
        """Whose cosignature it is. Requires that it was received."""
        return self._epochs[cosignature.epoch].cosigners[cosignature.signer].name.removeprefix(f"{self._origin}/")

    # --- the checkpoints with which epochs closed -----------------------------------------------------------------------

    def is_closing(self, size: int) -> bool:
        """Whether an epoch closed at this size."""
        return size in self._closings

    def missing(self) -> tuple[int, ...]:
        """The first sizes that closed an epoch and lack their quorum here: to be asked for."""
        lacking = [size for size, boundary in self._closings.items() if not self._is_complete(boundary)]
        return tuple(lacking[:MAX_REQUESTED_COSIGNATURE_SIZES])

    def closings_at(self, sizes: Iterable[int]) -> tuple[Cosignature, ...]:
        """All cosignatures known of those among these sizes that closed an epoch."""
        boundaries = (self._closings.get(size) for size in dict.fromkeys(sizes))
        return tuple(item for boundary in boundaries if boundary is not None for item in boundary.items.values())

    def closings(self) -> tuple[CosignedCheckpoint, ...]:
        """The checkpoints with which epochs closed, from the first on, up to one whose quorum is not known here."""
        proven = islice(self._closings.items(), self.proven_epoch)
        return tuple(_cosigned(size, boundary) for size, boundary in proven)

    # --- notes ----------------------------------------------------------------------------------------------------------

    def note(self, checkpoint: CosignedCheckpoint) -> bytes:
        """The checkpoint as a signed note: a validator's log line (this node's, if it is one), then all cosignatures known.
        May sign (about 31 us)."""
        return self._note(checkpoint, self._lines(checkpoint))

    def evidence_note(self, checkpoint: CosignedCheckpoint) -> bytes:
        """As `note`, with the cosignatures of one quorum only, those first by name (`Policy.minimal`)."""
        lines = sorted(self._lines(checkpoint), key=lambda line: (line.name, line.key_id))
        return self._note(checkpoint, lines[: self._epochs[checkpoint.epoch].quorum])

    def _lines(self, checkpoint: CosignedCheckpoint) -> list[NoteSignature]:
        witnesses, lines = self._epochs[checkpoint.epoch], []
        for item in checkpoint.cosignatures:
            lines.append(_line_of(item, witnesses.cosigners[item.signer]))
        return lines

    def _note(self, checkpoint: CosignedCheckpoint, lines: list[NoteSignature]) -> bytes:
        plain = Checkpoint(origin=self._origin, size=checkpoint.size, root=checkpoint.root)
        return SignedCheckpoint.of(plain, [self._log_line(checkpoint, plain), *lines]).to_bytes()

    def _log_line(self, checkpoint: CosignedCheckpoint, plain: Checkpoint) -> NoteSignature:
        witnesses = self._epochs[checkpoint.epoch]
        given = next((item for item in checkpoint.cosignatures if item.log_signature), None)
        if witnesses.own_log is not None or given is None:
            return sign_checkpoint(plain, self._log)
        log = witnesses.logs[given.signer]
        return NoteSignature(name=log.name, key_id=log.key_id, signature=given.log_signature)

    def _verify(self, cosignature: Cosignature, witnesses: _Witnesses) -> None:
        text = self._checkpoint_of(cosignature).text
        message = cosigned_message(text, cosignature.time_s)
        if not is_valid(witnesses.cosigners[cosignature.signer].public, message, cosignature.signature):
            raise _bad_cosignature(cosignature)
        log = cosignature.log_signature
        if log and not is_valid(witnesses.logs[cosignature.signer].public, text, log):
            raise _bad_cosignature(cosignature)

    def _is_complete(self, boundary: _Boundary) -> bool:
        return len(boundary.items) >= self._epochs[boundary.epoch].quorum

    def _count(self, size: int, boundary: _Boundary) -> None:
        """A boundary has, perhaps, its quorum now; with it, perhaps, later ones count that waited for the epoch's proof."""
        if not self._is_complete(boundary):
            return
        if size in self._closings and self._has_proven_more():
            for later in reversed(self._boundaries):
                self._show(later, self._boundaries[later])
        elif size in self._boundaries:
            self._show(size, boundary)

    def _show(self, size: int, boundary: _Boundary) -> None:
        is_newer = self.newest is None or size >= self.newest.size
        if is_newer and boundary.epoch <= self.proven_epoch and self._is_complete(boundary):
            self.newest = _cosigned(size, boundary)

    def _has_proven_more(self) -> bool:
        before = self.proven_epoch
        for boundary in islice(self._closings.values(), before, None):
            if not self._is_complete(boundary):
                break
            self.proven_epoch += 1
        return self.proven_epoch > before


def _cosigned(size: int, boundary: _Boundary) -> CosignedCheckpoint:
    return CosignedCheckpoint(
        epoch=boundary.epoch,
        height=boundary.height,
        size=size,
        root=boundary.root,
        cosignatures=tuple(boundary.items[signer] for signer in sorted(boundary.items)),
    )


def _place(verifier: NoteVerifier, verifiers: list[NoteVerifier]) -> int | None:
    return verifiers.index(verifier) if verifier in verifiers else None


def _bad_cosignature(cosignature: Cosignature) -> VerificationError:
    return VerificationError(
        "a cosignature does not verify",
        code="bad_cosignature",
        actual=f"validator {cosignature.signer} of epoch {cosignature.epoch}, size {cosignature.size}",
    )


def _line_of(cosignature: Cosignature, witness: NoteVerifier) -> NoteSignature:
    signature = cosignature.time_s.to_bytes(8, "big") + cosignature.signature
    return NoteSignature(name=witness.name, key_id=witness.key_id, signature=signature)
