"""The words in which a node says why it is not getting on."""

from typing import Any

import pytest

from ledger.limits import NEAR_BLOCKS
from node.pace import CLOCK_SAMPLES, WINDOW_MS, Clocks, Pace
from node.progress import (
    DISK_LOW_BYTES,
    STANDSTILL_MS,
    Facts,
    Progress,
    Stop,
    assess,
    height_of_others,
    own_clock_error_ms,
    span,
)

FOUR = ("customs", "interior", "neighbour", "police")


def of(**changed: Any) -> Progress:
    """What is said of a level, linked and idle node of four, but for what is changed."""
    facts: dict[str, Any] = {
        "party": "police",
        "epoch": 0,
        "proven_epoch": 0,
        "validators": FOUR,
        "linked": frozenset(FOUR[:3]),
        "height": 100,
        "heights": dict.fromkeys(FOUR[:3], 100),
        "last_block_ms": 41_000,
        "leader": "interior",
    }
    return assess(Facts(**{**facts, **changed}))


def test_an_idle_node_with_all_its_links_takes_part() -> None:
    progress = of()
    assert (progress.state, progress.reasons, progress.findings) == ("ready", (), ())
    assert progress.summary == "4 of 4 validators reachable, 3 needed; last block 41 s ago"


def test_too_few_validators_are_counted_and_the_missing_are_named() -> None:
    progress = of(linked=frozenset({"interior"}))
    assert progress.state == "no_quorum"
    assert progress.summary == (
        "no quorum: 2 of 4 validators reachable, 3 needed; last block 41 s ago; missing: customs, neighbour"
    )
    assert progress.reasons == (progress.summary,)
    assert progress.findings[0].help is not None


def test_an_epoch_that_cannot_be_proven_keeps_receipts_back_and_is_told() -> None:
    progress = of(epoch=2, proven_epoch=0)
    assert progress.state == "catching_up"
    assert progress.summary.startswith("cannot prove the validators of epoch 1 yet")
    assert [finding.code for finding in progress.findings if finding.blocks] == ["epoch_unproven"]
    assert of(epoch=2, proven_epoch=2).reasons == ()


def test_one_missing_validator_is_told_and_stops_nothing() -> None:
    progress = of(linked=frozenset({"interior", "neighbour"}), apart_ms={"customs": 130_000})
    assert (progress.state, progress.reasons, progress.missing) == ("ready", (), ("customs",))
    assert [finding.text for finding in progress.findings] == ["no link to customs (for 2 min)"]
    never = of(linked=frozenset({"interior", "neighbour"}))
    assert never.findings[0].text == "no link to customs (never since the start)"


def test_records_that_wait_without_a_block_are_a_standstill_and_name_view_and_leader() -> None:
    progress = of(pending=12, pending_ms=43_000, view=77)
    assert progress.state == "standstill"
    assert progress.summary == (
        "4 of 4 validators reachable, 3 needed; last block 41 s ago; 12 records wait, the oldest for 43 s; view 77, its "
        "leader is interior"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"pending": 12, "pending_ms": STANDSTILL_MS - 1},
        {"pending": 12, "pending_ms": 60_000, "last_block_ms": STANDSTILL_MS - 1},
        {"pending": 0, "pending_ms": None, "last_block_ms": 3_600_000},
    ],
)
def test_no_standstill_while_blocks_come_or_nothing_has_waited_long(changed: dict[str, Any]) -> None:
    assert of(**changed).state == "ready"


def test_records_that_wait_while_blocks_come_are_told() -> None:
    progress = of(pending=3, pending_ms=90_000, last_block_ms=500)
    assert [finding.code for finding in progress.findings] == ["records_waiting"]
    assert progress.findings[0].text == "3 records wait for a block, the oldest for 90 s"


def test_one_record_waits_and_two_wait() -> None:
    one = of(pending=1, pending_ms=90_000, last_block_ms=500)
    assert one.findings[0].text == "1 record waits for a block, the oldest for 90 s"
    assert "; 1 record waits, the oldest for 43 s; " in of(pending=1, pending_ms=43_000).summary


def test_catching_up_says_how_far_how_fast_and_how_long() -> None:
    progress = of(heights={"customs": 912, "interior": 900}, blocks_per_s=140.4)
    assert progress.state == "catching_up"
    assert progress.summary == "catching up: 800 blocks behind, 140 blocks/s, level in about 6 s"
    assert (progress.behind, progress.level_in_s) == (800, 6)
    stuck = of(heights={"customs": 912})
    assert stuck.summary == "catching up: 812 blocks behind, no block in the last seconds"
    assert of(heights={"customs": 100 + NEAR_BLOCKS}).state == "ready"


def test_no_liar_and_no_stranger_makes_a_level_node_seem_to_be_behind() -> None:
    lie = 2**53 - 1
    assert of(heights={"customs": 100, "interior": 100, "neighbour": lie}).state == "ready"
    assert of(heights={"customs": 100, "neighbour": lie}).state == "ready"
    assert of(heights={"customs": 100, "interior": 100, "neighbour": 100, "observer": lie}).state == "ready"
    stuck = of(heights={"customs": 100, "interior": 100, "neighbour": lie}, pending=12, pending_ms=43_000)
    assert stuck.state == "standstill", "what is the matter is not hidden either"
    assert of(heights={"customs": 912, "interior": 905, "neighbour": 0}).behind == 805, "nor does one hold it back"


@pytest.mark.parametrize(
    ("heights", "validators", "expected"),
    [
        ({}, FOUR, 0),
        ({"customs": 7}, FOUR, 7),
        ({"customs": 7, "interior": 5}, FOUR, 5),
        ({"customs": 7, "interior": 5, "neighbour": 3}, FOUR, 5),
        ({"customs": 7, "interior": 5}, FOUR[:3], 7),
        ({"elsewhere": 7}, FOUR, 0),
    ],
)
def test_the_height_of_others_is_one_that_more_than_the_liars_have(
    heights: dict[str, int], validators: tuple[str, ...], expected: int
) -> None:
    assert height_of_others(heights, validators) == expected


def test_why_a_node_stopped_comes_before_everything_else() -> None:
    progress = of(
        stop=Stop(code="disk_full", text="stopped voting: the database ledger.db failed [disk_full]. Free some space"),
        linked=frozenset(),
        heights={"customs": 912},
    )
    assert progress.state == "stopped"
    assert progress.summary == "stopped voting: the database ledger.db failed [disk_full]. Free some space"
    assert [finding.code for finding in progress.findings if finding.blocks] == [
        "disk_full",
        "no_quorum",
        "catching_up",
    ]


def test_a_node_whose_votes_may_be_lost_is_not_ready_but_will_be() -> None:
    progress = of(stop=Stop(code="votes_lost", text="votes nothing: votes may be lost", is_recovering=True))
    assert (progress.state, progress.reasons) == ("recovering", ("votes nothing: votes may be lost",))


def test_a_node_outside_the_epoch_follows_and_counts_only_validators() -> None:
    progress = of(party="observer", validators=FOUR, linked=frozenset({*FOUR, "harbour"}), epoch=3, proven_epoch=3)
    assert (progress.state, progress.reasons, progress.reachable) == ("following", (), 4)
    assert "not a validator of epoch 3" in progress.findings[0].text


def test_an_observer_that_reaches_nobody_learns_who_must_let_it_in() -> None:
    [shut_out, _] = of(party="observer", linked=frozenset()).findings
    assert shut_out.code == "no_quorum"
    assert "[peers] observers" in (shut_out.help or "")
    assert "observers" not in (of(linked=frozenset()).findings[0].help or "")


def test_a_validator_without_the_keys_that_the_ledger_names_for_it_has_stopped_and_says_what_to_do() -> None:
    progress = of(has_key=False, epoch=3)
    assert progress.state == "stopped"
    assert "police signs with other keys in epoch 3 than this node has" in progress.summary
    assert progress.findings[0].code == "other_keys"
    assert "rotated = true" in (progress.findings[0].help or "")
    observer = of(party="observer", validators=FOUR, linked=frozenset(FOUR), has_key=False)
    assert observer.state == "following"


def test_of_whom_evidence_is_held_is_told_and_stops_nothing() -> None:
    progress = of(accused=("customs",))
    assert (progress.state, progress.reasons) == ("ready", ())
    assert [finding.code for finding in progress.findings] == ["evidence"]
    assert "keys of customs" in progress.findings[0].text


def test_a_nearly_full_disk_is_told_before_it_is_full() -> None:
    assert of(disk_free_bytes=DISK_LOW_BYTES).findings == ()
    [finding] = of(disk_free_bytes=300 * 2**20).findings
    assert (finding.code, finding.blocks) == ("disk_low", False)
    assert finding.text.startswith("300 MiB left")


@pytest.mark.parametrize(
    ("offsets_ms", "own_ms"),
    [
        ({}, None),
        ({"a": 300_000}, None),
        ({"a": 300_000, "b": 300_400}, -300_000),
        ({"a": 300_000, "b": 0}, 0),
        ({"a": 300_000, "b": 299_000, "c": 301_000}, -300_000),
        ({"a": 300_000, "b": 100, "c": -50}, -100),
        ({"a": 300_000, "b": -300_000, "c": 0}, 0),
        ({"a": -300_000, "b": -300_200, "c": 0}, 300_000),
    ],
)
def test_whose_clock_is_wrong_is_decided_by_the_middle(offsets_ms: dict[str, int], own_ms: int | None) -> None:
    assert own_clock_error_ms(offsets_ms) == own_ms


def test_a_wrong_clock_is_said_with_its_effect() -> None:
    [ahead] = of(clocks_ms=dict.fromkeys(FOUR[:3], -300_000)).findings
    assert ahead.code == "clock_off"
    assert ahead.text == (
        "this machine's clock is 5 min ahead of the other agencies': blocks that it proposes are not voted for in time"
    )
    [behind] = of(clocks_ms=dict.fromkeys(FOUR[:3], 300_000)).findings
    assert "5 min behind" in behind.text
    assert "cannot vote" in behind.text
    [peer] = of(clocks_ms={"customs": 300_000, "interior": 0, "neighbour": 20}).findings
    assert peer.text == "the clock of customs is 5 min ahead of this one"
    assert of(clocks_ms=dict.fromkeys(FOUR[:3], 4_000)).findings == ()


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [
        (-5, "0 s"),
        (999, "0 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (299_999, "5 min"),
        (172_800_000, "2 days"),
    ],
)
def test_spans_are_for_people(duration_ms: int, words: str) -> None:
    assert span(duration_ms) == words


def test_the_pace_is_that_of_the_last_seconds() -> None:
    pace = Pace()
    assert (pace.last_ms, pace.per_s(0)) == (None, 0.0)
    for at_ms in range(0, 1_000, 100):
        pace.note(at_ms)
    assert (pace.last_ms, pace.per_s(1_000)) == (900, 10 * 1000 / WINDOW_MS)
    assert pace.per_s(900 + WINDOW_MS) == 0.0


def test_a_late_statement_of_a_clock_does_not_make_it_wrong() -> None:
    clocks = Clocks()
    for late_ms in (90_000, 40, 3_000):
        clocks.note("customs", stated_ms=1_000_000, received_ms=1_000_000 + late_ms)
    assert clocks.offsets_ms() == {"customs": -40}
    for _ in range(CLOCK_SAMPLES):  # it was set: what it said before is forgotten
        clocks.note("customs", stated_ms=0, received_ms=300_000)
    assert clocks.offsets_ms() == {"customs": -300_000}
