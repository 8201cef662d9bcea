"""Transparency log proofs as text (c2sp.org/tlog-proof@v1): that one entry is in a log under a cosigned checkpoint.

A proof is a head (index and Merkle path) and a checkpoint. They are apart here, so that many heads can share one
checkpoint in a bundle. Whether the checkpoint is to be believed is `ledger.policy`'s verdict.
"""

from typing import Final

import msgspec

from ledger.checkpoint import MAX_SIZE, Checkpoint, parse_decimal
from ledger.codec import b64decode, b64encode
from ledger.errors import EncodingError, VerificationError
from ledger.limits import MAX_PROOF_EXTRA_BYTES, MAX_PROOF_HASHES
from ledger.merkle.hashing import HASH_BYTES
from ledger.merkle.verify import verify_inclusion
from ledger.policy import Judge, VerifiedCheckpoint

HEADER: Final = "c2sp.org/tlog-proof@v1"

_EXTRA_PREFIX: Final = "extra "
_INDEX_PREFIX: Final = "index "


class ProofHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof says of its entry: its index, the path of 32-byte hashes from the leaf's sibling upwards, and opaque
    `extra` bytes that nothing vouches for (absent in all that this project writes).

    Raises:
        VerificationError: code `bad_proof`, where the values have no text.
    """

    index: int
    hashes: tuple[bytes, ...]
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE:
            raise _bad_proof("no such index", expected="0 to 2**63 - 1", actual=self.index)
        if len(self.hashes) > MAX_PROOF_HASHES or any(len(value) != HASH_BYTES for value in self.hashes):
            raise _bad_proof("not a Merkle path", expected=f"at most {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes")
        if self.extra is not None and len(self.extra) > MAX_PROOF_EXTRA_BYTES:
            raise _bad_proof(
                "too much extra data", expected=f"<= {MAX_PROOF_EXTRA_BYTES} bytes", actual=len(self.extra)
            )

    @staticmethod
    def parse(text: bytes) -> "ProofHead":
        """Parse the lines before the blank line. `ProofHead.parse(text).to_bytes() == text` always holds.

        Raises:
            VerificationError: code `bad_proof`.
        """
        try:
            decoded = text.decode("ascii")
        except UnicodeDecodeError as error:
            raise _bad_proof("the proof's head is not ASCII", actual=f"byte {error.start}") from error
        if not decoded.endswith("\n"):
            raise _bad_proof("the proof's head does not end in a newline")
        header, *lines = decoded[:-1].split("\n", 3 + MAX_PROOF_HASHES)
        if header != HEADER:
            raise _bad_proof("not a log proof", expected=HEADER, actual=repr(header[:80]))
        extra = None
        if lines and lines[0].startswith(_EXTRA_PREFIX):
            extra = _decode(lines.pop(0).removeprefix(_EXTRA_PREFIX), what="extra data")
        if not lines or not lines[0].startswith(_INDEX_PREFIX):
            raise _bad_proof("no index line", expected="index N", actual=repr(lines[0][:80]) if lines else "nothing")
        index = parse_decimal(lines[0].removeprefix(_INDEX_PREFIX))
        if index is None:
            raise _bad_proof("the index is no decimal number", expected="0 to 2**63 - 1", actual=repr(lines[0][:80]))
        if len(lines) - 1 > MAX_PROOF_HASHES:
            raise _bad_proof("too many hashes", expected=f"<= {MAX_PROOF_HASHES}")
        return ProofHead(index=index, hashes=tuple(_decode(line, HASH_BYTES) for line in lines[1:]), extra=extra)

    def to_bytes(self) -> bytes:
        """The head's lines, each with its newline; the blank line and the checkpoint follow them."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(_EXTRA_PREFIX + b64encode(self.extra))
        lines.append(f"{_INDEX_PREFIX}{self.index}")
        lines += (b64encode(value) for value in self.hashes)
        return "".join(f"{line}\n" for line in lines).encode()

    def verify(self, leaf_hash: bytes, checkpoint: Checkpoint) -> None:
        """Verify that the entry with this leaf hash stands at `index` in the tree of a checkpoint already believed.

        Raises:
            VerificationError: the codes of `ledger.merkle.verify`.
        """
        verify_inclusion(
            leaf_hash=leaf_hash,
            index=self.index,
            size=checkpoint.size,
            proof=self.hashes,
            root=checkpoint.root,
        )


class LogProof(msgspec.Struct, frozen=True, kw_only=True):
    """A whole proof: its head and the signed checkpoint, verbatim and unverified."""

    head: ProofHead
    checkpoint: bytes

    @staticmethod
    def parse(data: bytes) -> "LogProof":
        """Split a proof at its first blank line and parse its head. `LogProof.parse(data).to_bytes() == data` holds.

        Raises:
            VerificationError: code `bad_proof`.
        """
        split = data.find(b"\n\n")
        if split < 0:
            raise _bad_proof("no blank line before the checkpoint")
        return LogProof(head=ProofHead.parse(data[: split + 1]), checkpoint=data[split + 2 :])

    def to_bytes(self) -> bytes:
        """The proof as a file (`.tlog-proof`)."""
        return self.head.to_bytes() + b"\n" + self.checkpoint

    def verify(self, leaf_hash: bytes, policy: Judge, *, strict: bool = False) -> VerifiedCheckpoint:
        """Verify the checkpoint against a policy and then the entry's inclusion under it.

        With `strict`, the checkpoint must be in the form for evidence (`Policy.verify_checkpoint`) and `extra` absent.

        Raises:
            VerificationError: the codes of `Policy.verify_checkpoint` and `ledger.merkle.verify`; `bad_proof`.
        """
        if strict and self.head.extra is not None:
            raise _bad_proof("extra data is not admitted in evidence")
        verified = policy.verify_checkpoint(self.checkpoint, strict=strict)
        self.head.verify(leaf_hash, verified.checkpoint)
        return verified


def _decode(text: str, size: int | None = None, *, what: str = "hash") -> bytes:
    try:
        return b64decode(text, size=size, what=what)
    except EncodingError as error:
        raise _bad_proof(error.message, expected=error.expected, actual=error.actual) from error


def _bad_proof(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_proof", expected=expected, actual=actual)
