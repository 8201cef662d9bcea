"""One block as the ledger's tables hold it, taken apart and checked by what it signs and hashes: never by a derived column.

A block's extent follows from its header's payload root; the columns that say the same are only where to look first. What is
hurt is named by its row.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ledger.block import Block, BlockHeader, check_block, decode_seal
from ledger.checkpoint import Checkpoint, cosigned_message
from ledger.consensus.certificates import verify_certificate
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate
from ledger.errors import EncodingError, PeerError, SignatureError
from ledger.limits import MAX_BLOCK_RECORDS
from ledger.merkle.hashing import HASH_BYTES, leaf_hash
from ledger.signing import is_valid
from ledger.state.model import ValidatorsDoc
from node.cosigning import decode_cosignature, encode_cosignature
from node.integrity.report import Findings
from node.storage.inspection import HeldLog, HeldRow
from node.storage.tiles import TILE_WIDTH

_HEADERS: Final = msgspec.msgpack.Decoder(BlockHeader)
_CERTIFICATES: Final = msgspec.msgpack.Decoder(Certificate)


class Tip(msgspec.Struct, frozen=True, kw_only=True):
    """What the next block must stand on."""

    height: int
    digest: bytes
    seal_hash: bytes
    size: int


class HeldBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A block that is the next one by its hashes, and a finalization of its epoch, verified."""

    block: Block
    certificate: Certificate
    cosignature: object


class BlockReader:
    """Takes blocks of one ledger from its tables, lowest first, and names the rows that are hurt."""

    def __init__(self, chain: bytes, findings: Findings) -> None:
        """`chain`: the ledger's chain id."""
        self._chain = chain
        self._findings = findings
        self._verified: tuple[bytes, Certificate] | None = None

    def take(self, log: HeldLog, tip: Tip, epoch: Epoch) -> HeldBlock | None:
        """The block on `tip`; None, and the problem named, if its rows do not make one."""
        height = tip.height + 1
        row = _best_row(log.rows(height, tip.size), height)
        if row is None:
            self._findings.add("ledger", "blocks", height, "the row is missing", mend="cut")
            return None
        header = _decode(_HEADERS, row.header)
        if header is None or not self._follows(header, tip, epoch):
            self._findings.add("ledger", "blocks", height, "header is not the one that was committed", mend="cut")
            return None
        certificate = self._certificate(row, height, epoch)
        block = self._body(log, row, header, tip)
        if certificate is None or block is None:
            return None
        return HeldBlock(block=block, certificate=certificate, cosignature=row.cosignature)

    def _follows(self, header: BlockHeader, tip: Tip, epoch: Epoch) -> bool:
        return (
            header.chain == self._chain
            and header.height == tip.height + 1
            and header.epoch == epoch.number
            and header.parent_digest == tip.digest
            and header.parent_seal == tip.seal_hash
        )

    def _certificate(self, row: HeldRow, height: int, epoch: Epoch) -> Certificate | None:
        if self._verified is not None and self._verified[0] == row.certificate:
            return self._verified[1]
        certificate: Certificate | None = _decode(_CERTIFICATES, row.certificate)
        problem = "certificate cannot be read"
        if certificate is not None:
            try:
                verify_certificate(self._chain, epoch, certificate)
                if certificate.kind == "finalization":
                    self._verified = (row.certificate, certificate)
                    return certificate
                problem = f"certificate is a {certificate.kind}"
            except (PeerError, SignatureError) as error:
                problem = f"certificate does not hold: {error.message}"
        self._findings.add("ledger", "blocks", height, problem, mend="cut")
        return None

    def _body(self, log: HeldLog, row: HeldRow, header: BlockHeader, tip: Tip) -> Block | None:
        for end in _ends(log, row, tip):
            found = log.entries(tip.size, end)
            entries = [entry for _, entry in found]
            whole = [index for index, _ in found] == list(range(tip.size, end))
            if not whole or not all(isinstance(entry, bytes) for entry in entries):
                continue
            block = Block(header=header, entries=tuple(entries[:-1]), seal=entries[-1])
            try:
                check_block(block)
            except EncodingError:
                continue
            return block
        self._name_entries(log, row, tip)
        return None

    def _name_entries(self, log: HeldLog, row: HeldRow, tip: Tip) -> None:
        """Which entries of a block are hurt: those whose hash is not the tile's."""
        end = _plausible(row.size, tip.size) or tip.size + 1
        held, named = dict(log.entries(tip.size, end)), 0
        for index in range(tip.size, end):
            entry, expected = held.get(index), _leaf(log, index)
            if entry is None:
                self._findings.add("ledger", "entries", index, "the row is missing", mend="cut")
            elif not isinstance(entry, bytes):
                self._findings.add("ledger", "entries", index, "entry is of another type", mend="cut")
            elif leaf_hash(entry) != expected:
                text = "entry does not have the hash that was recorded"
                actual = leaf_hash(entry)
                self._findings.add("ledger", "entries", index, text, mend="cut", expected=expected, actual=actual)
            else:
                continue
            named += 1
        if not named:
            text = f"the entries {tip.size} to {end - 1} are not those that the block's header names"
            self._findings.add("ledger", "blocks", tip.height + 1, text, mend="cut")


def ends_at(log: HeldLog, tip: Tip) -> bool:
    """Whether nothing is held above a block: no entry after it, and no row whose header says so."""
    if log.entries(tip.size, tip.size + 1):
        return False
    headers = (_decode(_HEADERS, row.header) for row in log.rows(tip.height + 1, tip.size))
    return not any(header is not None and header.height == tip.height + 1 for header in headers)


def is_cosignature(line: object, *, origin: str, size: int, signer: int, document: ValidatorsDoc) -> bool:
    """Whether a stored line is, in every byte, the cosignature of a checkpoint of this size by a member of an epoch: under
    whatever root it names."""
    if not isinstance(line, bytes) or not 0 <= signer < len(document.members):
        return False
    try:
        held = decode_cosignature(line)
    except EncodingError:
        return False
    if (held.size, held.signer, held.epoch) != (size, signer, document.epoch) or encode_cosignature(held) != line:
        return False
    text = Checkpoint(origin=origin, size=size, root=held.root).text
    member = document.members[signer]
    cosigner, log = bytes.fromhex(member.cosigner), bytes.fromhex(member.log)
    if not is_valid(cosigner, cosigned_message(text, held.time_s), held.signature):
        return False
    return not held.log_signature or is_valid(log, text, held.log_signature)


def _decode(decoder: Any, data: object) -> Any:
    if not isinstance(data, bytes):
        return None
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError):
        return None


def _best_row(rows: list[HeldRow], height: int) -> HeldRow | None:
    """Of the rows that claim a height or its first entry, the one whose header says so; else any."""
    for row in rows:
        header = _decode(_HEADERS, row.header)
        if header is not None and header.height == height:
            return row
    return rows[0] if rows else None


def _plausible(end: object, first: int) -> int | None:
    return end if isinstance(end, int) and first < end <= first + MAX_BLOCK_RECORDS + 1 else None


def _ends(log: HeldLog, row: HeldRow, tip: Tip) -> Iterator[int]:
    """Where a block may end: as its row says, else after the first entry that is a seal of its height."""
    stated = _plausible(row.size, tip.size)
    if stated is not None:
        yield stated
    for index, entry in log.entries(tip.size, tip.size + MAX_BLOCK_RECORDS + 1):
        if not isinstance(entry, bytes):
            continue
        try:
            if decode_seal(entry).height == tip.height + 1:
                yield index + 1
                return
        except EncodingError:
            continue


def _leaf(log: HeldLog, index: int) -> bytes | None:
    hashes = log.tile(0, index // TILE_WIDTH)
    at = HASH_BYTES * (index % TILE_WIDTH)
    return hashes[at : at + HASH_BYTES] if isinstance(hashes, bytes) else None
