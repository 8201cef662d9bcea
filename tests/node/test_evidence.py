"""Liars leave evidence: a validator that runs twice, an agency that cosigns two roots (PROTOCOL P5.9, DESIGN 6)."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger.checkpoint import Checkpoint, SignedCheckpoint, cosigned_message
from ledger.consensus import certifying
from ledger.evidence import (
    KnownKey,
    attribute,
    decode_evidence,
    encode_evidence,
    forks_between,
    subject_of,
    verify_evidence,
)
from ledger.limits import MAX_EVIDENCE_OF_AGENCY
from ledger.records.evidence import CosignedFork, Equivocation, EquivocationReport, Evidence
from ledger.state.model import EvidenceDoc, StateKey, decode_document
from node.cosigning import Contradiction
from node.evidence import EvidenceBook
from node.membership import Members
from node.metrics import Metrics, watch_node
from node.node import Node
from node.peers.wire import Cosignature
from node.storage import open_stores
from tests.ledger.liars import double_root, double_vote
from tests.node.cluster import Cluster, Link, cluster_of, keys_of, within
from tests.node.test_cluster import enrol_maker, entry, weapons
from tests.world import GENESIS, node_key

CUSTOMS, INTERIOR, NEIGHBOUR, POLICE = range(4)
KEYS = [
    KnownKey(party=agency.party, role=role, public=node_key(agency.party, role).public.hex(), source="genesis")
    for agency in GENESIS.agencies
    for role in ("consensus", "cosigner", "log")
]


class TwinCluster(Cluster):
    """Police runs two nodes on one set of keys: customs is linked to the one, the others to the other."""

    def _may_link(self, a: Link, b: Link) -> bool:
        sides = {self.links["police"]: "customs", self.links.get("twin"): "interior neighbour"}
        for one, other in ((a, b), (b, a)):
            if one in sides and other.party not in sides[one].split():
                return False
        return super()._may_link(a, b)

    def join_all(self) -> None:
        """As ever, but that the two of one name are not told apart by it."""
        for a in self.links.values():
            for b in self.links.values():
                if a is not b and self._may_link(a, b):
                    a.join(b)
                    b.join(a)

    async def start_twin(self) -> None:
        link = Link(self, "police")
        self.links["twin"] = link
        self.parties.append("twin")
        node = Node(
            genesis=self.genesis,
            keys=keys_of("police"),
            stores=open_stores(self.folder / "twin"),
            transport=link,
            fetcher=self,
            clock=self.clock,
            parameters=self.parameters,
        )
        self.nodes.append(node)
        await node.start()


def held(cluster: Cluster, index: int) -> dict[str, Evidence]:
    return cluster.node(index).evidence.all


def files(cluster: Cluster, index: int) -> list[Path]:
    return sorted((cluster.folder / cluster.parties[index] / "evidence").glob("*.json"))


def proves(path: Path) -> Evidence:
    """The file alone, verified as anybody would."""
    evidence = decode_evidence(path.read_bytes())
    verify_evidence(evidence)
    attribute(evidence, KEYS)
    return evidence


def test_a_validator_that_runs_twice_is_found_out_by_all_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twins of honest software stop as soon as one hears of the other (P7.5), often before they contradict each other; these
    do not."""
    monkeypatch.setattr(certifying, "_own_vote_shown", lambda state, view: None)

    async def scenario() -> None:
        cluster = TwinCluster(tmp_path, GENESIS)
        with capture_logs() as lines:
            try:
                async with within("the twins are found out", timeout_s=60):
                    await cluster.start(CUSTOMS, INTERIOR, NEIGHBOUR, POLICE)
                    await cluster.start_twin()
                    await enrol_maker(cluster, CUSTOMS)
                    number = 0
                    while not all(held(cluster, index) for index in (CUSTOMS, INTERIOR, NEIGHBOUR)):
                        await asyncio.gather(
                            *(
                                cluster.final(index, *weapons(cluster, number + index, 1))
                                for index in (CUSTOMS, INTERIOR)
                            )
                        )
                        number += 2
                for index in (CUSTOMS, INTERIOR, NEIGHBOUR):
                    [path] = files(cluster, index)
                    found = proves(path)
                    assert isinstance(found, Equivocation)
                    assert (found.party, found.epoch) == ("police", 0)
                    metrics = Metrics()
                    watch_node(metrics, cluster.node(index))
                    assert b'tracemark_evidence{kind="equivocation",party="police"} 1.0' in metrics.exposition()
                report = cluster.world.make(EquivocationReport, "customs", evidence=proves(files(cluster, CUSTOMS)[0]))
                await cluster.final(CUSTOMS, entry(cluster, report))
                key = StateKey("evidence", "police:0")
                with cluster.node(CUSTOMS).views.view() as view:
                    document = decode_document("evidence", view.documents([key])[key])
                assert isinstance(document, EvidenceDoc)
                assert (document.party, document.proves, document.reported_by) == ("police", "equivocation", "customs")
            finally:
                await cluster.stop()
        said = [
            line["help"] for line in lines if line["log_level"] == "critical" and line.get("kind") == "equivocation"
        ]
        assert sum("tracemark evidence report" in text for text in said) == 3
        assert all("tracemark evidence report" in text or "no second node" in text for text in said), "to police itself"

    asyncio.run(scenario())


def cosignature(cluster: Cluster, index: int, size: int, root: bytes) -> Cosignature:
    """What an agency's key says of any root."""
    party = cluster.parties[index]
    text = Checkpoint(origin=GENESIS.origin, size=size, root=root).text
    signature = node_key(party, "cosigner").sign(cosigned_message(text, 5))
    return Cosignature(signer=index, size=size, root=root, time_s=5, signature=signature)


def test_an_agency_that_cosigns_two_roots_is_found_out_in_whichever_order_they_come(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            node = cluster.node(CUSTOMS)
            boundary = node.cosigning._boundaries[node.status().size]
            async with within("police's cosignature arrives"):
                while POLICE not in boundary.items:
                    await asyncio.sleep(0.01)
            strange = cosignature(cluster, POLICE, node.status().size, b"s" * 32)
            node._conversation._take_cosignature(strange)  # after ours
            early = [cosignature(cluster, INTERIOR, 500, root) for root in (b"s" * 32, b"t" * 32)]
            for each in early:  # both before our log is there
                node._conversation._take_cosignature(each)
            assert sorted(held(cluster, CUSTOMS)) == ["interior:fork:500", f"police:fork:{node.status().size}"]
            for path in files(cluster, CUSTOMS):
                assert isinstance(proves(path), CosignedFork)
            with capture_logs() as lines:
                node._conversation._take_cosignature(strange)
            assert lines == [], "said once"

    asyncio.run(scenario())


def test_another_root_alone_is_kept_as_two_notes_until_its_cosigner_cosigns_ours(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            await cluster.crash(POLICE)
            await cluster.final(CUSTOMS, *weapons(cluster, 0, 1))
            node = cluster.node(CUSTOMS)
            size = node.status().size
            with capture_logs() as lines:
                node._conversation._take_cosignature(cosignature(cluster, POLICE, size, b"s" * 32))
            [line] = [line for line in lines if line["log_level"] == "critical"]
            assert held(cluster, CUSTOMS) == {}
            notes = [SignedCheckpoint.parse(Path(name).read_bytes()) for name in line["files"]]
            assert [note.checkpoint.root for note in notes] == [b"s" * 32, node.status().log_root]
            assert list(forks_between(GENESIS.ledger_id, notes[0], notes[1], KEYS)) == [], "not of one key"
            node._conversation._take_cosignature(cosignature(cluster, POLICE, size, node.status().log_root))
            assert list(held(cluster, CUSTOMS)) == [f"police:fork:{size}"]
            [path] = files(cluster, CUSTOMS)
            proves(path)

    asyncio.run(scenario())


def test_another_root_that_came_early_is_seen_when_our_log_gets_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with cluster_of(tmp_path, GENESIS) as cluster:
            await enrol_maker(cluster)
            await cluster.level()
            node = cluster.node(CUSTOMS)
            size = node.status().size + 2  # a weapon and a seal
            node._conversation._take_cosignature(cosignature(cluster, POLICE, size, b"s" * 32))
            await cluster.final(INTERIOR, *weapons(cluster, 0, 1))
            async with within("police cosigns our root, too"):
                while not held(cluster, CUSTOMS):
                    await asyncio.sleep(0.01)
            assert list(held(cluster, CUSTOMS)) == [f"police:fork:{size}"]

    asyncio.run(scenario())


def book(folder: Path) -> EvidenceBook:
    members = Members.of_genesis(GENESIS)
    return EvidenceBook(folder, ledger=GENESIS.ledger_id, chain=GENESIS.chain_id, own="customs", epochs=[members])


def test_the_book_survives_a_restart_and_refuses_what_was_tampered_with(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(encode_evidence(double_vote()))
    (tmp_path / "b.json").write_bytes(encode_evidence(double_root()))
    (tmp_path / "c.json").write_bytes(encode_evidence(double_vote("police")).replace(b'"view":7', b'"view":8'))
    (tmp_path / "d.json").write_bytes(b"{}")
    with capture_logs() as lines:
        again = book(tmp_path)
    assert sorted(again.all) == ["customs:0", "customs:fork:5"]
    assert again.counts == {("equivocation", "customs"): 1, ("cosigned-fork", "customs"): 1}
    assert [line["code"] for line in lines] == ["evidence_signature", "evidence_form"]


def test_a_kept_file_whose_agency_was_changed_accuses_nobody(tmp_path: Path) -> None:
    """Its two statements hold as they did: whose key signed them is not among what is signed."""
    for name, evidence in (("a", double_vote("police")), ("b", double_root("police"))):
        (tmp_path / f"{name}.json").write_bytes(encode_evidence(evidence).replace(b'"police"', b'"interior"'))
        verify_evidence(decode_evidence((tmp_path / f"{name}.json").read_bytes()))
    with capture_logs() as lines:
        assert book(tmp_path).all == {}
    assert [line["code"] for line in lines] == ["evidence_signer", "evidence_signer"]


def test_what_one_agency_can_make_us_keep_is_bounded(tmp_path: Path) -> None:
    kept = book(tmp_path)
    for size in range(2 * MAX_EVIDENCE_OF_AGENCY):
        kept._keep(double_root(size=size + 1))
    kept._keep(double_root("police"))
    assert kept.counts == {("cosigned-fork", "customs"): MAX_EVIDENCE_OF_AGENCY, ("cosigned-fork", "police"): 1}
    assert len(list(tmp_path.glob("*.json"))) == MAX_EVIDENCE_OF_AGENCY + 1
    assert subject_of(double_root("police")) in book(tmp_path).all


def other_root(size: int, party: str = "customs", theirs: bytes = b"theirs") -> Contradiction:
    return Contradiction(party=party, public=bytes(32), size=size, both=None, theirs=theirs, ours=b"ours")


def test_what_one_agency_can_make_us_note_is_bounded_across_restarts_too(tmp_path: Path) -> None:
    for _ in range(2):
        kept = book(tmp_path)
        for size in range(MAX_EVIDENCE_OF_AGENCY + 3):
            kept.take_contradiction(other_root(size))
    assert len(list(tmp_path.iterdir())) == 2 * MAX_EVIDENCE_OF_AGENCY
    kept.take_contradiction(other_root(1, "customs-2"))
    assert len(list(tmp_path.iterdir())) == 2 * MAX_EVIDENCE_OF_AGENCY + 2, "another agency's have their own room"
    with capture_logs() as lines:
        kept.take_contradiction(other_root(0, theirs=b"yet another"))
    assert lines == []
    assert (tmp_path / "customs-0-theirs.note").read_bytes() == b"theirs", "the first stays"


def test_our_own_key_used_twice_is_said_as_what_it_is(tmp_path: Path) -> None:
    with capture_logs() as lines:
        book(tmp_path)._keep(double_vote("customs"))
    assert "no second node runs with this key" in lines[0]["help"]


def test_a_disk_that_takes_no_file_leaves_it_in_memory(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be")
    kept = book(tmp_path / "evidence")
    with capture_logs() as lines:
        kept._keep(double_vote("police"))
    assert list(kept.all) == ["police:0"]
    assert [line["log_level"] for line in lines] == ["error", "critical"]
