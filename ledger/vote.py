"""What the signature of a consensus vote covers (PROTOCOL P1.4): shared by those who vote and those who judge votes
as evidence."""

from typing import Final, Literal

VoteKind = Literal["notarize", "nullify", "finalize"]

_DOMAIN: Final = b"tracemark/consensus/1\x00"
_KIND_BYTE: Final[dict[VoteKind, bytes]] = {"notarize": b"\x01", "nullify": b"\x02", "finalize": b"\x03"}


def signed_vote(chain: bytes, kind: VoteKind, epoch: int, view: int, proposal: tuple[int, bytes] | None) -> bytes:
    """The bytes that a vote's signature covers.

    `"tracemark/consensus/1" 0x00 || chain (32) || kind (1) || epoch (u64be) || view (u64be)`, and for notarize and
    finalize `|| parent_view (u64be) || digest (32)`: `proposal` is these two. Every field has a fixed size, so no two
    votes share their bytes.
    """
    head = b"%b%b%b%b%b" % (_DOMAIN, chain, _KIND_BYTE[kind], epoch.to_bytes(8, "big"), view.to_bytes(8, "big"))
    if proposal is None:
        return head
    parent_view, digest = proposal
    return b"%b%b%b" % (head, parent_view.to_bytes(8, "big"), digest)
