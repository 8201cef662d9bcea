"""A process of its own that parses and verifies records while the node executes others (see `node.execution.ahead`).

It answers requests from its standard input on its standard output until the input ends; each is a frame of four bytes of
length, big-endian, and msgpack. It is given entries and public keys, and has no secret, no file and no connection: what it
reads of hostile bytes, it reads without anything worth taking. Only what verified by the rules of the ledger
(`parse_entry`, `verify_entry`) is told of; about everything else the node judges itself.

It begins with the code that lies on disk then, which may be another than the node began with; so it is told what the node
runs (`program`), and ends if that is not what it runs itself.
"""

import hashlib
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import nacl

import ledger
from ledger.codec import b64decode
from ledger.errors import InputError
from ledger.limits import VERIFIER_KEYS
from ledger.records.envelope import parse_entry, verify_entry
from ledger.signing import key_id

LENGTH: Final = struct.Struct(">I")
"""What stands before each frame."""


class Request(msgspec.Struct, frozen=True, array_like=True):
    """Entries to verify, and public keys (hex) to know from now on. `keys`: all that the state has ever named under a key
    id that was asked for."""

    keys: Mapping[str, list[str]]
    entries: tuple[bytes, ...]


class Verified(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record whose one signature holds: id, `issued_at` in ms, canonical payload, and the public key (hex) that signed."""

    id: str
    issued_ms: int
    payload: bytes
    signer: str


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """For each entry, in their order, what verified, or None: not known here. `unknown`: key ids that were not known."""

    verified: list[Verified | None]
    unknown: list[str]


class Keyring:
    """The keys that this process was told of; a bounded number, others are asked for again."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def learn(self, keys: Mapping[str, list[str]]) -> None:
        """Know these keys, by key id. One that several have is left to the node: only the state says which must sign."""
        for keyid, publics in keys.items():
            if len(self._keys) >= VERIFIER_KEYS:
                self._keys.clear()
            if len(publics) == 1 and key_id(bytes.fromhex(publics[0])) == keyid:
                self._keys[keyid] = publics[0]
            else:
                self._keys.pop(keyid, None)

    def find(self, keyid: str) -> str | None:
        """The one key with this id, if it is known."""
        return self._keys.get(keyid)


def verify(entries: Iterable[bytes], keyring: Keyring) -> Answer:
    """What verifies by the keys that are known, each entry by itself."""
    unknown: dict[str, None] = {}
    verified = [_verify_one(entry, keyring, unknown) for entry in entries]
    return Answer(verified, list(unknown))


def _verify_one(entry: bytes, keyring: Keyring, unknown: dict[str, None]) -> Verified | None:
    try:
        parsed = parse_entry(entry)
        signatures = parsed.envelope.signatures
        if len(signatures) != 1:
            return None  # which of them is the issuer's is for the state to say
        public = keyring.find(signatures[0].keyid)
        if public is None:
            unknown[signatures[0].keyid] = None
            return None
        signed = verify_entry(parsed, (public,))
    except InputError:
        return None  # the node finds it wrong itself, and says why
    return Verified(signed.id, signed.issued_ms, b64decode(parsed.envelope.payload), public)


def read_frame(source: BinaryIO) -> bytes | None:
    """The next frame's content; None where there is none any more."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    [length] = LENGTH.unpack(head)
    data = source.read(length)
    return data if len(data) == length else None


def write_frame(target: BinaryIO, data: bytes) -> None:
    """Send a frame at once."""
    target.write(LENGTH.pack(len(data)) + data)
    target.flush()


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer requests until there are no more."""
    keyring, requests, encoder = Keyring(), msgspec.msgpack.Decoder(Request), msgspec.msgpack.Encoder()
    while (frame := read_frame(source)) is not None:
        request = requests.decode(frame)
        keyring.learn(request.keys)
        write_frame(target, encoder.encode(verify(request.entries, keyring)))


def program() -> str:
    """What verifies here, as a hash: the code of the ledger and of this module, on disk now, and the interpreter and the
    libraries below them, as loaded."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *sorted(Path(ledger.__path__[0]).rglob("*.py"))):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(f"{sys.version} {msgspec.__version__} {nacl.__version__}".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    if sys.argv[1:] != [program()]:
        sys.exit(
            "records are not verified ahead by another program than the node's: restart the node if it was upgraded"
        )
    serve(sys.stdin.buffer, sys.stdout.buffer)
