"""Following a pinned policy through changes of the validators: what must be believed, and nothing else."""

from functools import cache
from typing import Final

import msgspec
import pytest

from ledger.answer import StateAnswer
from ledger.checkpoint import Cosigner
from ledger.codec import b64encode
from ledger.errors import VerificationError
from ledger.policy import GroupEntry, Policy, WitnessEntry, single_log_policy
from ledger.quorum import quorum
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, encode_document
from ledger.state.transition import genesis_state
from ledger.succession import SUCCESSION_FORMAT, Succession, decode_succession, follow, founding_policy, policy_of
from tests.changingledger import FIVE, OTHERS, SEVEN, Changing, validators
from tests.toyledger import AGENCIES, toy_policy
from tests.world import GENESIS, ORIGIN, key_named

replace = msgspec.structs.replace
AUDITOR: Final = Cosigner("auditor.example/w1", key_named("auditor"))


@cache
def grown() -> Changing:
    """4 -> 5 -> 7 -> 4, the four of the end being those of the beginning."""
    ledger = Changing()
    for parties in (FIVE, SEVEN, AGENCIES):
        ledger.change(parties)
    return ledger


@cache
def replaced() -> Changing:
    """4 -> 5 -> 7 -> 4 others: no set of validators comes again."""
    ledger = Changing()
    for parties in (FIVE, SEVEN, FIVE[1:]):
        ledger.change(parties)
    return ledger


def broken(policy: Policy, succession: Succession, code: str = "succession_broken") -> str:
    with pytest.raises(VerificationError) as caught:
        follow(policy, succession)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def accepts(judge: object, note: bytes) -> bool:
    try:
        judge.verify_checkpoint(note)  # type: ignore[attr-defined]
    except VerificationError:
        return False
    return True


def test_the_first_policy_leads_to_every_later_one() -> None:
    ledger = grown()
    followed = follow(toy_policy(), ledger.succession)
    assert [era.epoch for era in followed.eras] == [0, 1, 2, 3]
    for notes in ledger.notes.values():
        for note in notes:
            assert accepts(followed, note)
    assert [len(era.policy.logs) for era in followed.eras] == [4, 5, 7, 4]
    assert [era.policy.groups[0].threshold for era in followed.eras] == [3, 4, 5, 3]


def test_the_pinned_policy_alone_knows_nothing_of_new_members() -> None:
    ledger = Changing()
    ledger.change(("maritime", "neighbour", "police", "westmark"))
    assert not accepts(toy_policy(), ledger.notes[1][-1])
    assert accepts(follow(toy_policy(), ledger.succession), ledger.notes[1][-1])


def test_keys_of_an_earlier_era_vouch_for_nothing_after_it() -> None:
    ledger = Changing()
    ledger.change(OTHERS)
    followed = follow(toy_policy(), ledger.succession)
    late = ledger.checkpoint(cosigners=AGENCIES[:3], log="customs")
    assert accepts(toy_policy(), late)
    assert not accepts(followed, late)


def test_keys_of_a_later_era_vouch_for_nothing_before_it() -> None:
    ledger = Changing()
    parties = OTHERS
    ledger.change(parties)
    followed = follow(toy_policy(), ledger.succession)
    early = ledger.checkpoint(ledger.sizes[1], cosigners=parties[:3], log="maritime")
    assert not accepts(followed, early)


def test_a_policy_pinned_later_comes_in_where_it_stands() -> None:
    ledger = grown()
    for epoch, parties in ((1, FIVE), (2, SEVEN)):
        followed = follow(policy_of(ORIGIN, validators(epoch, parties)), ledger.succession)
        assert followed.eras[0].epoch == epoch
        assert followed.eras[-1].epoch == 3
        assert accepts(followed, ledger.notes[3][-1])


def test_a_policy_pinned_at_the_end_needs_no_step() -> None:
    ledger = Changing()
    ledger.change(OTHERS)
    followed = follow(policy_of(ORIGIN, validators(1, ledger.parties)), ledger.succession)
    assert len(followed.eras) == 1
    assert accepts(followed, ledger.notes[1][-1])


def test_without_steps_it_is_the_pinned_policy() -> None:
    followed = follow(single_log_policy(toy_policy().logs[0].verifier), Succession(format=SUCCESSION_FORMAT, steps=()))
    assert followed.newest == single_log_policy(toy_policy().logs[0].verifier)


@pytest.mark.parametrize("step", range(3))
def test_every_step_needs_the_quorum_before_it(step: int) -> None:
    ledger = Changing()
    for number, parties in enumerate((FIVE, SEVEN, FIVE[1:])):
        too_few = ledger.parties[: quorum(len(ledger.parties)) - 1] if number == step else ()
        ledger.change(parties, cosigners=too_few)
    assert f"step {step + 1} " in broken(toy_policy(), ledger.succession)


def test_new_members_cannot_appoint_themselves() -> None:
    ledger = Changing()
    ledger.change(OTHERS, cosigners=("maritime", "northern", "southern"))
    assert "no_quorum" in broken(toy_policy(), ledger.succession)


def test_a_step_left_out_doubled_or_moved_is_noticed() -> None:
    first, second, third = replaced().steps

    def of(*steps: StateAnswer) -> Succession:
        return Succession(format=SUCCESSION_FORMAT, steps=steps)

    broken(toy_policy(), of(first, third))
    broken(toy_policy(), of(second, third))
    broken(toy_policy(), of(first, first))
    broken(toy_policy(), of(second, first, third))
    assert follow(toy_policy(), of(first, second)).eras[-1].epoch == 2


def test_an_epoch_out_of_order_is_noticed() -> None:
    ledger = Changing()
    ledger.change(FIVE)
    ledger.change(SEVEN, epoch=3)
    assert "epoch" in broken(toy_policy(), ledger.succession)


def test_every_changed_byte_of_a_step_is_noticed() -> None:
    ledger = replaced()
    step = ledger.steps[0]
    other = b64encode(encode_document(validators(1, SEVEN)))
    changed = [
        replace(step, document=other),
        replace(step, document=msgspec.UNSET),
        replace(step, proof=ledger.prove("party", "customs")),
        replace(step, seal=ledger.steps[1].seal),
        replace(step, checkpoint=ledger.steps[1].checkpoint),
        replace(step, id="other"),
        replace(step, checkpoint=step.checkpoint + step.checkpoint.splitlines(keepends=True)[-1]),
    ]
    for each in changed:
        steps = (each, *ledger.steps[1:])
        broken(toy_policy(), Succession(format=SUCCESSION_FORMAT, steps=steps))


def test_an_auditor_and_a_higher_threshold_are_asked_for_in_every_era() -> None:
    own = toy_policy(quorum=4)
    auditor = WitnessEntry(name="auditor", verifier=AUDITOR.verifier)
    both = GroupEntry(name="both", threshold="all", members=("agencies", "auditor"))
    policy = replace(own, witnesses=(*own.witnesses, auditor), groups=(*own.groups, both), quorum="both")
    ledger = Changing()
    ledger.change(FIVE, cosigners=AGENCIES)
    broken(policy, ledger.succession)  # the auditor has not cosigned the change

    step = ledger.steps[0]
    text, _, signatures = step.checkpoint.partition("\n\n")
    log, *lines = [*signatures.splitlines(keepends=True), _line(AUDITOR, f"{text}\n")]
    lines.sort(key=lambda line: line.split()[1])
    cosigned = replace(step, checkpoint="".join((text, "\n\n", log, *lines)))
    followed = follow(policy, Succession(format=SUCCESSION_FORMAT, steps=(cosigned,)))
    assert followed.newest.quorum == "both"
    assert next(group for group in followed.newest.groups if group.name == "agencies").threshold == 5
    assert not followed.newest.is_quorum([f"{ORIGIN}/westmark", *AGENCIES])
    assert followed.newest.is_quorum([f"{ORIGIN}/westmark", *AGENCIES, "auditor"])


def _line(cosigner: Cosigner, text: str) -> str:
    line = cosigner.sign(text.encode(), time_s=1_790_000_000)
    return f"— {line.name} {b64encode(line.key_id + line.signature)}\n"


def test_a_policy_that_a_few_liars_could_lead_away_is_not_followed() -> None:
    succession = grown().succession
    broken(toy_policy(quorum=2), succession, "cannot_follow")
    broken(single_log_policy(toy_policy().logs[0].verifier), succession, "cannot_follow")
    own = toy_policy()
    either = GroupEntry(name="either", threshold="any", members=("agencies", "auditor"))
    auditor = WitnessEntry(name="auditor", verifier=AUDITOR.verifier)
    broken(
        replace(own, witnesses=(*own.witnesses, auditor), groups=(*own.groups, either), quorum="either"),
        succession,
        "cannot_follow",
    )


def test_the_file_has_one_form() -> None:
    data = grown().succession.to_bytes()
    assert decode_succession(data) == grown().succession
    for wrong in (b"", data[:-1], data + b"\n", data.replace(b'/1"', b'/2"', 1), b"[" * 100_000):
        with pytest.raises(VerificationError) as caught:
            decode_succession(wrong)
        assert caught.value.code == "succession_form"


def test_the_ledgers_own_policy_lists_every_agency() -> None:
    policy = policy_of(ORIGIN, validators(0, FIVE))
    assert [witness.name for witness in policy.witnesses] == [f"{ORIGIN}/{party}" for party in FIVE]
    assert policy.groups[0].threshold == 4
    assert Policy.parse(policy.render()) == policy


def test_the_founding_policy_is_that_of_the_first_state() -> None:
    document = genesis_state(GENESIS)[VALIDATORS_KEY]
    assert isinstance(document, ValidatorsDoc)
    assert founding_policy(GENESIS) == policy_of(GENESIS.origin, document)
