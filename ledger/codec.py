"""The one way bytes become values and values become bytes: strict canonical JSON and DSSE envelopes (DESIGN 4.1, 4.2).

Canonical JSON here is RFC 8785 on the domain that Tracemark admits: integers within +-(2**53 - 1), no floats, object
keys in sorted order, no whitespace. `decode` proves canonicity by encoding the typed value again and comparing the
bytes, so that duplicate keys, escapes of another spelling, a negative zero and trailing bytes all fail.
"""

import base64
import binascii
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec

from ledger.errors import EncodingError
from ledger.limits import MAX_ENTRY_BYTES, MAX_SIGNATURES

T = TypeVar("T")

PAYLOAD_TYPE: Final = "application/vnd.tracemark.record+json"
"""The only DSSE payload type of a record."""

MAX_SAFE_INTEGER: Final = 2**53 - 1

_ENCODER: Final = msgspec.json.Encoder(order="sorted")


@lru_cache(maxsize=256)
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def encode(value: object) -> bytes:
    """The canonical JSON of a typed value (msgspec struct, or built of them).

    The caller's types are what keeps floats and non-ASCII keys out; for untyped values use `canonical`.
    """
    return _ENCODER.encode(value)


def decode(data: bytes, shape: type[T] | Any, *, limit: int) -> T:
    """Decode canonical JSON `data` into `shape`, refusing every other spelling of the same value.

    Args:
        data: UTF-8 JSON of at most `limit` bytes.
        shape: a msgspec type (struct or union of tagged structs) that forbids unknown fields.
        limit: the largest acceptable size in bytes.

    Raises:
        EncodingError: code `too_large`, `malformed` (not JSON, or not of the shape) or `non_canonical`.
    """
    if len(data) > limit:
        raise EncodingError(
            "the document is too large", code="too_large", expected=f"<= {limit} bytes", actual=len(data)
        )
    hashable: Any = shape  # types and unions of types all are; mypy doubts it of type[T]
    try:
        value = _decoder(hashable).decode(data)
        again = _ENCODER.encode(value)
    except msgspec.ValidationError as error:
        raise EncodingError(f"the document does not fit its schema: {error}", code="malformed") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EncodingError(f"the document is not JSON: {error}", code="malformed") from error
    if again != data:
        raise EncodingError(
            "the document is not in canonical form",
            code="non_canonical",
            expected="sorted keys, no whitespace, shortest escapes, each key once (RFC 8785)",
            actual=_first_difference(data, again),
        )
    return value  # type: ignore[no-any-return]


def _first_difference(data: bytes, again: bytes) -> str:
    at, beyond = 0, min(len(data), len(again)) + 1
    while beyond - at > 1:  # by halves: documents may have MAX_BUNDLE_BYTES
        middle = (at + beyond) // 2
        if data[at:middle] == again[at:middle]:
            at = middle
        else:
            beyond = middle
    return f"{data[at : at + 16]!r} at byte {at} where {again[at : at + 16]!r} is canonical"


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of an untyped JSON value, or a refusal; never other bytes.

    Refused are floats, integers beyond +-(2**53 - 1), lone surrogates, and object keys outside the Basic Multilingual
    Plane (RFC 8785 sorts keys by UTF-16 code units, which differs from code point order only there).

    Raises:
        EncodingError: code `not_canonicalizable`.
    """
    _check_canonicalizable(value, depth=0)
    try:
        return _ENCODER.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise EncodingError(f"the value has no canonical form: {error}", code="not_canonicalizable") from error


def _check_canonicalizable(value: Any, *, depth: int) -> None:
    if depth > 64:
        raise EncodingError("nested too deeply", code="not_canonicalizable", expected="<= 64 levels")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise EncodingError(
                "integer out of range", code="not_canonicalizable", expected="+-(2**53 - 1)", actual=value
            )
    elif isinstance(value, list | tuple):
        for item in value:
            _check_canonicalizable(item, depth=depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or any(ord(char) > 0xFFFF for char in key):
                raise EncodingError("object key outside the BMP", code="not_canonicalizable", actual=repr(key))
            _check_canonicalizable(item, depth=depth + 1)
    else:
        raise EncodingError("no canonical form", code="not_canonicalizable", actual=type(value).__name__)


def b64encode(data: bytes) -> str:
    """Standard padded base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")


def b64decode(text: str, *, size: int | None = None, what: str = "value") -> bytes:
    """Strict padded base64: one spelling per value (RFC 4648 section 3.5: pad bits are zero).

    Raises:
        EncodingError: code `bad_base64`; also if `size` is given and the bytes are not that many.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise EncodingError(f"{what} is not base64: {error}", code="bad_base64") from error
    if binascii.b2a_base64(data, newline=False).decode("ascii") != text:
        raise EncodingError(f"{what} is not canonical base64", code="bad_base64", expected="zero pad bits")
    if size is not None and len(data) != size:
        raise EncodingError(f"{what} has the wrong size", code="bad_base64", expected=f"{size} bytes", actual=len(data))
    return data


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding: what is signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class EnvelopeSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One DSSE signature: `keyid` = first 16 hex digits of SHA-256(public key), `sig` = base64 of 64 bytes."""

    keyid: str
    sig: str


class Envelope(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"payload_type": "payloadType"},
    gc=False,
):
    """A DSSE v1 envelope as it stands in the log (DESIGN 4.1). `payload` is base64 of the canonical record."""

    payload: str
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]

    def to_bytes(self) -> bytes:
        """The entry bytes: canonical JSON of the envelope."""
        return encode(self)


def decode_envelope(data: bytes) -> tuple[Envelope, bytes]:
    """Parse entry bytes strictly into the envelope and its payload bytes.

    Checks form only: canonical JSON, payload type, 1 to 8 signatures sorted by keyid with distinct keyids. Signatures
    are verified elsewhere (`ledger.records.envelope`).

    Raises:
        EncodingError: codes `too_large`, `malformed`, `non_canonical`, `bad_base64`, `bad_payload_type`,
        `bad_signatures`.
    """
    envelope: Envelope = decode(data, Envelope, limit=MAX_ENTRY_BYTES)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise EncodingError(
            "unknown payload type",
            code="bad_payload_type",
            expected=PAYLOAD_TYPE,
            actual=repr(envelope.payload_type[:80]),
        )
    keyids = [signature.keyid for signature in envelope.signatures]
    if not 1 <= len(keyids) <= MAX_SIGNATURES or any(a >= b for a, b in pairwise(keyids)):
        raise EncodingError(
            "signatures must be sorted by keyid and distinct",
            code="bad_signatures",
            expected=f"1 to {MAX_SIGNATURES} sorted keyids",
            actual=keyids[: MAX_SIGNATURES + 1],
        )
    return envelope, b64decode(envelope.payload, what="payload")
