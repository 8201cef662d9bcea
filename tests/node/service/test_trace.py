"""The keys of a bundle: those that signed, also where a party has two keys of one key id."""

import pytest

from ledger.errors import CorruptionError
from node.service.trace import _signers
from tests.world import World, key_named


def test_of_two_keys_of_one_key_id_the_one_that_signed_is_chosen() -> None:
    """(The second key's real id is another one: making a collision takes days. What tells them apart is the signature.)"""
    world = World()
    parsed, _ = world.sign(world.enrol("interior", "maker", "maker"))
    right = world.keys["interior"].public.hex()
    wrong = key_named("somebody else").public.hex()
    assert _signers(parsed.entry, [[right]]) == (right,)
    assert _signers(parsed.entry, [[wrong, right]]) == (right,)
    assert _signers(parsed.entry, [[right, wrong]]) == (right,)


@pytest.mark.parametrize("names", [[], ["somebody else", "a third"]])
def test_a_signer_that_the_state_does_not_name_is_a_corruption(names: list[str]) -> None:
    world = World()
    parsed, _ = world.sign(world.enrol("interior", "maker", "maker"))
    with pytest.raises(CorruptionError):
        _signers(parsed.entry, [[key_named(name).public.hex() for name in names]])
