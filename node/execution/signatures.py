"""Entries whose signatures verified: each verified once, wherever it is met first (DESIGN 14).

Remembered by the hash of the entry bytes, never by record id, with the keys that verified. Whether those are the keys that
must sign is checked again when the record is executed. libsodium releases the interpreter's lock, so a batch is spread
over a small pool of threads, in which the caller takes part. While a node catches up, whole blocks are verified ahead by a
process of their own (`node.execution.ahead`).
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ledger.block import Block
from ledger.errors import InputError
from ledger.limits import VERIFIED_CACHE_BYTES
from ledger.records.envelope import ParsedRecord, SignedRecord, verify_entry
from node.execution.ahead import FindKeys, VerifiedAhead

_INLINE: Final = 8
"""Up to so many are verified in place: handing them over costs as much."""

Claim = tuple[ParsedRecord, tuple[str, ...]]
"""A parsed record, and the public keys (hex) that must have signed it."""


class Signatures:
    """The cache and the pool. Belongs to the executor's thread; only the verifying is spread."""

    def __init__(self, *, threads: int | None = None) -> None:
        """`threads`: how many verify in all, the caller's included; one for each processor unless given."""
        self._threads = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="verify")
        self._verified: OrderedDict[bytes, SignedRecord] = OrderedDict()
        self._bytes = 0
        self._ahead: VerifiedAhead | None = None

    def verify_ahead(self, blocks: Collection[Block], find_keys: FindKeys) -> None:
        """Begin to verify the records of blocks that will be executed soon, in this order, by the keys that `find_keys`
        knows. May be called from another thread than the executor's, always the same one."""
        if self._ahead is None:
            self._ahead = VerifiedAhead(find_keys)
        self._ahead.offer(blocks)

    def take_ahead(self, block: Block) -> list[SignedRecord | None]:
        """The block's records, in their order, as far as they were verified ahead; None in the place of each other one."""
        taken = None if self._ahead is None else self._ahead.take(block)
        return taken or [None] * len(block.entries)

    def recall(self, entry: bytes) -> SignedRecord | None:
        """The record of an entry that verified before."""
        if not self._verified:
            return None
        return self._verified.get(hashlib.sha256(entry).digest())

    def remember(self, signed: SignedRecord) -> None:
        """Keep a verified record until it is final, or many others came after it."""
        digest = hashlib.sha256(signed.entry).digest()
        if digest in self._verified:
            return
        self._verified[digest] = signed
        self._bytes += len(signed.entry)
        while self._bytes > VERIFIED_CACHE_BYTES:
            _, oldest = self._verified.popitem(last=False)
            self._bytes -= len(oldest.entry)

    def forget(self, entries: Sequence[bytes]) -> None:
        """Entries that are final need no remembering."""
        for entry in entries if self._verified else ():
            known = self._verified.pop(hashlib.sha256(entry).digest(), None)
            if known is not None:
                self._bytes -= len(known.entry)

    def verify(self, claims: Sequence[Claim]) -> list[SignedRecord | InputError]:
        """Verify records, each by the keys that must have signed it; the error in the place of one that fails."""
        if len(claims) <= _INLINE or self._threads == 1:
            outcomes = _verify(claims)
        else:
            share = -(-len(claims) // self._threads)
            parts = [claims[at : at + share] for at in range(0, len(claims), share)]
            others = [self._pool.submit(_verify, part) for part in parts[1:]]
            outcomes = _verify(parts[0])
            for other in others:
                outcomes += other.result()
        for outcome in outcomes:
            if isinstance(outcome, SignedRecord):
                self.remember(outcome)
        return outcomes

    def close(self) -> None:
        """End the threads, and the process."""
        if self._ahead is not None:
            self._ahead.close()
        self._pool.shutdown()


def _verify(claims: Sequence[Claim]) -> list[SignedRecord | InputError]:
    outcomes: list[SignedRecord | InputError] = []
    for parsed, signers in claims:
        try:
            outcomes.append(verify_entry(parsed, signers))
        except InputError as error:
            outcomes.append(error)
    return outcomes
