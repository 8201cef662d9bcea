"""What liars do to blocks that are fetched of them by height (P7.2)."""

import random

import msgspec

from ledger.block import Block
from ledger.consensus.messages import Certificate

Page = tuple[tuple[Block, Certificate], ...]


def spoilt_pages(blocks: Page, rng: random.Random) -> Page:
    """A page cut short, turned round, or with proofs that are none."""
    lie = rng.randrange(4)
    if lie == 0:
        return blocks[: len(blocks) // 2]
    if lie == 1:
        return blocks[::-1]
    if lie == 2:
        spoilt = tuple((signer, bytes(64)) for signer, _ in blocks[-1][1].signatures)
        return tuple((b, msgspec.structs.replace(c, signatures=spoilt)) for b, c in blocks)
    return tuple((block, msgspec.structs.replace(shown, kind="notarization")) for block, shown in blocks)
