"""Frames between peers: one bounded msgpack value each (DESIGN 10).

A frame is a message of consensus, gossip of pending records, or about cosignatures. Decoding checks shape, bounds and, for a
block, that its body is the one that its header names; signatures are for whoever the message is for. Frames are
positional arrays whose first member is the message's name.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from ledger.block import Block, check_block
from ledger.consensus.messages import Digest, Message, Natural, Signature, Signer, block_in
from ledger.errors import EncodingError, InternalError, PeerError
from ledger.limits import (
    COSIGNATURE_SIZES,
    MAX_ENTRY_BYTES,
    MAX_FRAME_BYTES,
    MAX_GOSSIP_BYTES,
    MAX_GOSSIP_RECORDS,
    MAX_REQUESTED_COSIGNATURE_SIZES,
    MAX_VALIDATORS,
)

CHECK_INLINE_BYTES: Final = 64 * 1024
"""A block up to this size is checked on the event loop (about 0.3 ms); a larger one in a thread."""


class _Frame(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True, tag=True):
    """Common form: frozen, positional on the wire, tagged with the class's name."""


class Gossip(_Frame, frozen=True):
    """Entries of pending records, as they would stand in the log. Not verified."""

    entries: Annotated[
        tuple[Annotated[bytes, Meta(max_length=MAX_ENTRY_BYTES)], ...], Meta(max_length=MAX_GOSSIP_RECORDS)
    ]


class Cosignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True):
    """A validator's cosignature/v1 of the checkpoint of `size` and `root`: `time_s` and the bare signature.

    `signer` is its place in `epoch`, that of the block that the checkpoint closes. `log_signature`: its log key's signature
    of the same checkpoint, or nothing.
    """

    signer: Signer
    size: Natural
    root: Digest
    time_s: Natural
    signature: Signature
    epoch: Natural = 0
    log_signature: Annotated[bytes, Meta(max_length=64)] = b""


class Cosignatures(_Frame, frozen=True):
    """Cosignatures, the sender's own or collected ones. Not verified."""

    items: Annotated[tuple[Cosignature, ...], Meta(min_length=1, max_length=COSIGNATURE_SIZES * MAX_VALIDATORS)]


class CosignaturesRequest(_Frame, frozen=True):
    """Please send the cosignatures that you have of these sizes, with which epochs closed."""

    sizes: Annotated[tuple[Natural, ...], Meta(min_length=1, max_length=MAX_REQUESTED_COSIGNATURE_SIZES)]


PeerMessage = Message | Gossip | Cosignatures | CosignaturesRequest

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(PeerMessage)


def encode_frame(message: PeerMessage) -> bytes:
    """The frame of a message.

    Raises:
        InternalError: code `frame_too_large`; the sender must have cut it.
    """
    data = _ENCODER.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise InternalError(
            f"a {type(message).__name__} does not fit a frame",
            code="frame_too_large",
            expected=f"<= {MAX_FRAME_BYTES} bytes",
            actual=len(data),
        )
    return data


def decode_frame(data: bytes) -> PeerMessage:
    """Parse a frame. A block in it is not checked yet.

    Raises:
        PeerError: code `bad_frame`.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise PeerError("the frame is too large", code="bad_frame", expected=f"<= {MAX_FRAME_BYTES}", actual=len(data))
    try:
        message: PeerMessage = _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerError(f"not a frame: {error}", code="bad_frame") from error
    return message


async def receive_frame(data: bytes) -> PeerMessage:
    """`decode_frame`, and check the block that the message carries, a large one in a thread.

    Raises:
        PeerError: code `bad_frame` or `bad_block`.
    """
    message = decode_frame(data)
    block = block_in(message) if not isinstance(message, Gossip | Cosignatures | CosignaturesRequest) else None
    if block is None:
        return message
    if len(data) <= CHECK_INLINE_BYTES:
        check_peer_block(block)
    else:
        await asyncio.to_thread(check_peer_block, block)
    return message


def check_peer_block(block: Block) -> None:
    """`ledger.block.check_block`, its failure blamed on the peer.

    Raises:
        PeerError: code `bad_block`.
    """
    try:
        check_block(block)
    except EncodingError as error:
        raise PeerError(error.message, code="bad_block", expected=error.expected, actual=error.actual) from error


def is_urgent(message: PeerMessage) -> bool:
    """Whether a message goes before gossip: everything but gossip does."""
    return not isinstance(message, Gossip)


def gossip_frames(entries: Iterable[bytes]) -> Iterator[Gossip]:
    """Cut entries into gossip of at most `MAX_GOSSIP_BYTES` and `MAX_GOSSIP_RECORDS` each, in order."""
    page: list[bytes] = []
    size = 0
    for entry in entries:
        if page and (size + len(entry) > MAX_GOSSIP_BYTES or len(page) == MAX_GOSSIP_RECORDS):
            yield Gossip(entries=tuple(page))
            page, size = [], 0
        page.append(entry)
        size += len(entry)
    if page:
        yield Gossip(entries=tuple(page))
