"""Who is known, by which keys, and under which number, as members change."""

from pathlib import Path

import msgspec
import pytest

from ledger.errors import ConfigurationError
from ledger.state.model import ValidatorsDoc
from ledger.state.validators import validator_of
from node.config import NodeConfig, load_config, load_genesis
from node.membership import Members, Roster
from node.preflight import check_files, read_observers
from node.service.ceremony import write_identity
from tests.node.peers.support import CHEAP, Net, identity
from tests.world import GENESIS, build_agency

FOUNDERS = ("customs", "interior", "neighbour", "police")


def members(epoch: int, *parties: str, generations: dict[str, int] | None = None) -> Members:
    """An epoch of these parties."""
    agencies = [build_agency(party, (generations or {}).get(party, 0)) for party in sorted(parties)]
    document = ValidatorsDoc(epoch=epoch, members=tuple(map(validator_of, agencies)))
    return Members.of_document(document, bytes([epoch]) * 32)


def roster(party: str = "police", *observers: str) -> Roster:
    return Roster(party, [Members.of_genesis(GENESIS)], [build_agency(observer) for observer in observers])


def test_the_first_epoch_is_the_genesis_documents() -> None:
    first = Members.of_genesis(GENESIS)
    assert (first.parties, first.quorum, first.opening_digest) == (FOUNDERS, 3, GENESIS.chain_id)
    assert first.consensus_keys[2].hex() == GENESIS.agencies[2].node.consensus.public
    assert [first.index_of(party) for party in ("customs", "police", "coast")] == [0, 3, None]


def test_numbers_are_places_of_the_epoch_and_of_others_negative_and_lasting() -> None:
    known = roster("police", "watcher")
    assert [known.number_of(party) for party in FOUNDERS] == [0, 1, 2, 3]
    assert (known.number_of("watcher"), known.number_of("coast")) == (-1, -2)
    known.open(members(1, "coast", "customs", "interior", "police"))
    assert [known.number_of(party) for party in ("coast", "customs", "interior", "police")] == [0, 1, 2, 3]
    assert (known.number_of("watcher"), known.number_of("neighbour")) == (-1, -3)
    assert [known.party_of(number) for number in (0, 3, 4, -1, -2, -3, -4)] == [
        "coast", "police", None, "watcher", "coast", "neighbour", None
    ]  # fmt: skip


def test_former_members_and_observers_stay_contacts_by_their_last_keys_and_members_have_only_their_own() -> None:
    known = roster("police", "watcher", "customs")
    assert set(known.contacts()) == {"customs", "interior", "neighbour", "watcher"}
    renewed = members(1, "coast", "interior", "police", generations={"interior": 1})
    known.open(renewed)
    contacts = known.contacts()
    assert set(contacts) == {"coast", "customs", "interior", "neighbour", "watcher"}
    assert contacts["interior"].transport == renewed.validators[1].transport
    assert contacts["neighbour"].transport == GENESIS.agencies[2].node.transport.public
    known.open(members(2, "coast", "police"))
    assert known.contacts()["interior"].transport == renewed.validators[1].transport, "not those before it"
    assert not roster("watcher").is_member
    assert "watcher" not in roster("watcher", "watcher").contacts()


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(tmp_path, "customs", "police")


def config_of(net: Net, party: str, *, observers: str = "", more: str = "") -> NodeConfig:
    """The configuration of an agency's node; its files lie in its folder."""
    (net.folder / "genesis.json").write_bytes(net.genesis.entry)
    (net.folder / "policy.txt").write_text("quorum none\n")
    path = net.folder / party / "node.toml"
    files = f'party = "{party}"\ngenesis = "../genesis.json"\npolicy = "../policy.txt"\n'
    path.write_text(f"{files}{more}[peers]\nobservers = [{observers}]\n")
    return load_config(path)


def test_an_agency_that_is_not_in_the_genesis_document_is_known_by_its_identity_file(net: Net) -> None:
    newcomer = identity("coast")
    write_identity(newcomer, net.folder / "coast", derivation=CHEAP)
    config = config_of(net, "coast", observers='"../police/identity.json"')
    genesis = load_genesis(config)
    assert check_files(config, genesis) == newcomer.agency
    assert read_observers(config, genesis) == (net.identities["police"].agency,)


def test_an_identity_of_another_party_or_ledger_is_refused(net: Net) -> None:
    newcomer = identity("coast")
    write_identity(newcomer, net.folder / "coast", derivation=CHEAP)
    genesis = load_genesis(config_of(net, "coast"))
    with pytest.raises(ConfigurationError) as refused:
        check_files(config_of(net, "coast", more='identity = "../police/identity.json"\n'), genesis)
    assert (refused.value.code, refused.value.actual) == ("wrong_identity", "police")
    elsewhere = msgspec.structs.replace(genesis, origin="tracemark.test/elsewhere")
    with pytest.raises(ConfigurationError, match=r"identity\.json") as refused:
        check_files(config_of(net, "coast"), elsewhere)
    assert refused.value.code == "bad_identity"


def test_changed_keys_of_a_founder_must_be_said(net: Net) -> None:
    renewed = identity("police")
    (net.folder / "police").rename(net.folder / "before")
    write_identity(renewed, net.folder / "police", derivation=CHEAP)
    config = config_of(net, "police")
    genesis = load_genesis(config)
    with pytest.raises(ConfigurationError, match="not the identity that stands in the genesis") as refused:
        check_files(config, genesis)
    assert refused.value.code == "wrong_identity"
    assert "rotated = true" in str(refused.value.help)
    assert check_files(config_of(net, "police", more="rotated = true\n"), genesis) == renewed.agency
