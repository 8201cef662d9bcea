"""Documents: the state at height 0, and one form for each document."""

import msgspec
import pytest

from ledger.errors import EncodingError
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    KeyDoc,
    ParametersDoc,
    PartyDoc,
    StateKey,
    ValidatorsDoc,
    decode_document,
    encode_document,
)
from ledger.state.transition import genesis_state
from tests.world import GENESIS, key_named, trading_world


def test_the_state_at_height_0() -> None:
    state = genesis_state(GENESIS)
    parameters, validators = state[PARAMETERS_KEY], state[VALIDATORS_KEY]
    assert isinstance(parameters, ParametersDoc)
    assert parameters.ledger == GENESIS.ledger_id
    assert isinstance(validators, ValidatorsDoc)
    assert [member.party for member in validators.members] == ["customs", "interior", "neighbour", "police"]
    assert validators.members[0].consensus == key_named("customs consensus").public.hex()
    assert len(state) == 2 + 4 + 4 * 6
    interior, police = state[StateKey("party", "interior")], state[StateKey("party", "police")]
    assert isinstance(interior, PartyDoc)
    assert isinstance(police, PartyDoc)
    assert (interior.any_make, interior.sponsor, interior.grants) == (
        True, None, ("dealer", "importer", "maker", "museum"),
    )  # fmt: skip
    assert not police.any_make
    key = state[StateKey("key", key_named("police cosigner").public.hex())]
    assert key == KeyDoc(party="police", role="cosigner")


def test_every_document_has_one_form() -> None:
    world = trading_world()
    lot = world.register("maker", "A1")
    world.submit(lot)
    world.submit(world.offer("maker", "dealer", lot.identities[0].id))
    for key, document in world.state.items():
        data = encode_document(document)
        assert decode_document(key.kind, data) == document
        assert b"null" not in data
        untyped = msgspec.json.decode(data)
        for spoilt in ({**untyped, "extra": 1}, {**untyped, "valid_until": None}, untyped | {"updated": 1.5}):
            with pytest.raises(EncodingError):
                decode_document(key.kind, msgspec.json.encode(spoilt, order="sorted"))
    with pytest.raises(EncodingError):
        decode_document("licence", b"{}")
