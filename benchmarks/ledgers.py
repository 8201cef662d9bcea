"""A long ledger in a moment: blocks executed, sealed and certified in this process, in the files of a throw-away network.

Every record is signed by its maker, every block finalized by a quorum of the validators' own keys; only the voting is
left out. So a fresh node that joins has the same to fetch, to verify and to execute as from years of use.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.load import Maker
from client.localnet import LocalNetwork
from ledger.block import BlockHeader, payload_root
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate, Proposal, vote_bytes
from ledger.genesis import Genesis, decode_genesis
from ledger.keyfile import unseal
from ledger.limits import SNAPSHOT_BLOCKS
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry
from ledger.signing import SigningKey
from ledger.state.transition import signers_of
from node.execution.documents import Documents
from node.execution.executor import commit_of
from node.execution.opening import open_state
from node.execution.overlay import Overlay
from node.execution.run import BlockRun, touched_by
from node.snapshots.exporter import SnapshotExporter
from node.storage import Database, LedgerStore, VoteStore

AGENCIES: Final = ("customs", "interior", "neighbour", "police")
BLOCK_INTERVAL_MS: Final = 5
"""Between blocks: the genesis document is of this moment, and no block may be of the future."""


class Founder:
    """The keys of a throw-away network's agencies, all in one hand: for making its past."""

    def __init__(self, network: LocalNetwork) -> None:
        self.genesis: Genesis = decode_genesis((network.folder / "genesis.json").read_bytes())
        self._keys = {party: _keys(network.folder / party) for party in network.agencies}
        members = [(a.party, bytes.fromhex(a.node.consensus.public)) for a in self.genesis.agencies]
        self.epoch = Epoch(number=0, validators=tuple(key for _, key in members), opening_digest=self.genesis.chain_id)
        self._voters = [(index, self._keys[party]["consensus"]) for index, (party, _) in enumerate(members)]

    def key(self, party: str, role: str) -> SigningKey:
        """A key of an agency."""
        return self._keys[party][role]

    def certify(self, header: BlockHeader) -> Certificate:
        """The finalization of a block."""
        proposal = Proposal(epoch=header.epoch, view=header.view, parent_view=header.parent_view, digest=header.digest)
        message = vote_bytes(self.genesis.chain_id, "finalize", header.epoch, header.view, proposal)
        signatures = tuple((index, key.sign(message)) for index, key in self._voters[: self.epoch.quorum])
        return Certificate(
            kind="finalization", epoch=header.epoch, view=header.view, proposal=proposal, signatures=signatures
        )


def _keys(folder: Path) -> dict[str, SigningKey]:
    passphrase = (folder / "passphrase").read_bytes().strip()
    keys = unseal((folder / "keys.sealed").read_bytes(), passphrase)
    return {name.rpartition("/")[2].rpartition(" ")[2]: SigningKey(seed) for name, seed in keys.items()}


class Past:
    """Grows a ledger in one database."""

    def __init__(self, founder: Founder, path: Path) -> None:
        self._founder = founder
        self._store = LedgerStore(Database(path))
        head, base = open_state(founder.genesis, self._store, lambda _size, _root: b"")
        self._documents = Documents(self._store, base)
        self._view = head.view
        self._time_ms = head.time_ms
        self._snapshots = SnapshotExporter(self._store, path.parent / "snapshots")

    def block(self, entries: Sequence[bytes]) -> None:
        """Execute, seal, certify and commit one block of entries, which are signed as they must be."""
        parent, view = self._documents.base, self._view + 1
        time_ms = self._time_ms + BLOCK_INTERVAL_MS
        run = BlockRun(self._documents, parent, height=parent.height + 1, time_ms=time_ms)
        records = [parse_entry(entry) for entry in entries]
        run.gather(touched_by(records))
        for parsed in records:
            run.execute(_trusted(parsed, signers_of(run, parsed.record, time_ms)))
        epoch = self._founder.epoch
        overlay = run.close(view=view)
        header = BlockHeader(
            chain=self._founder.genesis.chain_id,
            epoch=epoch.number,
            view=view,
            height=overlay.height,
            parent_view=self._view,
            parent_digest=parent.digest,
            parent_seal=parent.seal_hash,
            payload_root=payload_root(overlay.leaf_hashes),
            proposer=epoch.leader(view),
            time=time_ms,
        )
        self._commit(overlay, header)
        self._view, self._time_ms = view, time_ms

    def _commit(self, overlay: Overlay, header: BlockHeader) -> None:
        overlay.digest = header.digest
        self._documents.begin_commit(overlay)
        self._store.commit(
            commit_of(
                overlay,
                epoch=header.epoch,
                view=header.view,
                header=msgspec.msgpack.encode(header),
                certificate=msgspec.msgpack.encode(self._founder.certify(header)),
                cosignature=None,
            )
        )
        self._documents.advance(overlay)

    def snapshot(self) -> bool:
        """Make a snapshot if the next block's seal names one."""
        is_named = (self.head.height + 1) % SNAPSHOT_BLOCKS == 0
        return is_named and self._snapshots.make(self.head) is not None

    @property
    def head(self) -> Overlay:
        """The newest block."""
        return self._documents.base

    def close(self, votes: Path) -> None:
        """Close the database, and leave what a node would know of consensus: the newest finalization."""
        with self._store.read() as reader:
            newest = reader.block(self.head.height)
        self._store.close()
        store = VoteStore(Database(votes))
        if newest is not None:
            store.append([newest.certificate])
        store.close()


def found(folder: Path, *, records: int, weapons: int, block_records: int) -> LocalNetwork:
    """A network in `folder` whose agencies all hold a ledger of so many registrations; taken from there if it is there.

    Args:
        folder: new, or one that this function made.
        records: how many, each of `weapons` weapons.
        weapons: in each record.
        block_records: records of one block.
    """
    finished = folder / "finished"
    if finished.exists():
        network = LocalNetwork(folder, AGENCIES)
        network.read_addresses()
        return network
    shutil.rmtree(folder, ignore_errors=True)
    network = LocalNetwork.create(folder, AGENCIES)
    founder = Founder(network)
    past = Past(founder, folder / "ledger.db")
    maker = Maker("maker-0", founder.genesis, now_ms=founder.genesis.time_ms)
    past.block([maker.enrolment("interior", founder.key("interior", "record"), jurisdiction="XA")])
    last = SNAPSHOT_BLOCKS * (records // block_records // SNAPSHOT_BLOCKS) - 1
    for part in _chunks(maker.lots(records, weapons=weapons), block_records):
        past.block(part)
        if past.head.height == last:
            past.snapshot()
    past.close(folder / "votes.db")
    finished.touch()
    return network


def deal(network: LocalNetwork, *holders: str) -> None:
    """Give these agencies' nodes the ledger, and take from the others what they have."""
    for party in network.agencies:
        data = network.folder / party / "data"
        shutil.rmtree(data, ignore_errors=True)
        if party in holders:
            data.mkdir(mode=0o700)
            shutil.copy(network.folder / "ledger.db", data / "ledger.db")
            shutil.copy(network.folder / "votes.db", data / "votes.db")
            if (network.folder / "snapshots").exists():
                shutil.copytree(network.folder / "snapshots", data / "snapshots")


def _trusted(parsed: ParsedRecord, signers: tuple[str, ...]) -> SignedRecord:
    """A record whose signatures we made ourselves a moment ago."""
    return SignedRecord(
        record=parsed.record, id=parsed.id, entry=parsed.entry, issued_ms=parsed.issued_ms, signers=signers
    )


def _chunks(entries: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
