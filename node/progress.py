"""Why a node is, or is not, getting on: facts in, words out. Pure; the facts are gathered by `node.node`.

Words are for the operator who has to do something: what is the matter, since when, who is concerned, and what helps. Every
finding has a stable code besides, for programs. A finding that *blocks* is why the node is not ready; the others are worth
knowing.
"""

from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec

from ledger.limits import BLOCK_MAX_AHEAD_MS, NEAR_BLOCKS
from ledger.quorum import one_honest, quorum

STANDSTILL_MS: Final = 10_000
"""Records wait, and no block for so long: several views of a healthy ledger whose leader is down."""
CLOCK_TOLERANCE_MS: Final = 5_000
"""A clock that differs from the others' by more is said so: half of what makes blocks wait (`BLOCK_MAX_AHEAD_MS`)."""
DISK_LOW_BYTES: Final = 512 * 1024 * 1024
"""Free space under which it is said so: hours of a busy ledger."""

State = Literal["ready", "following", "catching_up", "no_quorum", "standstill", "recovering", "stopped"]
"""`ready`: takes records and votes. `following`: is level and serves, but is no validator of this epoch. `catching_up`:
fetches what others have: blocks, or an epoch's proof. `no_quorum`: too few validators are reachable. `standstill`: a quorum
is reachable, records wait, and no block comes. `recovering`: votes of its own may be lost, and it will vote when the others
have shown where they are (P7.5). `stopped`: signs nothing any more, until its operator has acted."""


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a node signs nothing: what happened (with its code), and what to do. `is_recovering`: it will by itself."""

    code: str
    text: str
    is_recovering: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A node at one moment. Ages are milliseconds up to now.

    `proven_epoch`: the newest whose validators this node can prove from the genesis document on; `epoch` is the ledger's.
    `validators`: of this epoch, by party. `linked`: parties with a link. `apart_ms`: how long each validator without one has
    had none, as far as known. `heights`: what others last told. `blocks_per_s`: committed of late. `pending_ms`: the age of
    the oldest pending record. `clocks_ms`: others' clocks less this one. `view`, `leader`: of consensus.
    `has_key`: whether the ledger names this node's key as its party's. `accused`: agencies of whom evidence is held here.
    """

    party: str
    epoch: int
    proven_epoch: int
    validators: tuple[str, ...]
    linked: frozenset[str]
    apart_ms: Mapping[str, int] = {}
    height: int
    heights: Mapping[str, int] = {}
    last_block_ms: int
    blocks_per_s: float = 0.0
    pending: int = 0
    pending_ms: int | None = None
    view: int = 0
    leader: str = ""
    stop: Stop | None = None
    has_key: bool = True
    disk_free_bytes: int | None = None
    clocks_ms: Mapping[str, int] = {}
    accused: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an operator should know. `help` says what to do, where something can be done."""

    code: str
    text: str
    help: str | None = None
    blocks: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said. `summary` is one line; `level_in_s` is an estimate."""

    state: State
    summary: str
    findings: tuple[Finding, ...]
    validators: int
    reachable: int
    needed: int
    missing: tuple[str, ...]
    last_block_s: int
    pending_s: int | None = None
    behind: int = 0
    blocks_per_s: float = 0.0
    level_in_s: int | None = None
    disk_free_bytes: int | None = None
    clock_off_s: float | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the node is not ready; empty if it is."""
        return tuple(finding.text for finding in self.findings if finding.blocks)


def assess(facts: Facts) -> Progress:
    """The node's progress, and all that is the matter."""
    reachable = [party for party in facts.validators if party == facts.party or party in facts.linked]
    missing = tuple(party for party in facts.validators if party not in reachable)
    needed = quorum(len(facts.validators))
    behind = max(0, height_of_others(facts.heights, facts.validators) - facts.height)
    is_far = behind > NEAR_BLOCKS
    is_still = facts.pending > 0 and min(facts.last_block_ms, facts.pending_ms or 0) >= STANDSTILL_MS
    quorum_words = _quorum_words(facts, len(reachable), needed, missing)
    clock_off_ms = own_clock_error_ms(facts.clocks_ms)

    findings: list[Finding] = []
    state: State = "ready" if facts.party in facts.validators else "following"
    if state == "following":
        findings.append(_following(facts))
    if facts.proven_epoch < facts.epoch:
        state = "catching_up"
        findings.append(_unproven(facts))
    if is_still and len(reachable) >= needed and not is_far:
        state = "standstill"
        findings.append(_standstill(facts, quorum_words))
    if is_far:
        state = "catching_up"
        findings.append(_catching_up(facts, behind))
    if len(reachable) < needed:
        state = "no_quorum"
        advice = _LOOK_AT_LINKS if facts.party in facts.validators else f"{_BE_LET_IN} {_LOOK_AT_LINKS}"
        findings.append(Finding(code="no_quorum", text=f"no quorum: {quorum_words}", help=advice, blocks=True))
    if facts.party in facts.validators and not facts.has_key:
        state = "stopped"
        findings.append(_other_keys(facts))
    if facts.stop is not None:
        state = "recovering" if facts.stop.is_recovering else "stopped"
        findings.append(Finding(code=facts.stop.code, text=facts.stop.text, blocks=True))
    findings.reverse()  # the gravest first
    if facts.accused:
        findings.append(_accused(facts.accused))
    if missing and len(reachable) >= needed:
        findings.append(_missing(facts, missing))
    if facts.pending and (facts.pending_ms or 0) >= STANDSTILL_MS and state != "standstill":
        findings.append(_waiting(facts))
    findings += _clock_findings(facts, clock_off_ms)
    if facts.disk_free_bytes is not None and facts.disk_free_bytes < DISK_LOW_BYTES:
        findings.append(_disk(facts.disk_free_bytes))
    summary = next((each.text for each in findings if each.blocks), quorum_words)
    return Progress(
        state=state,
        summary=summary,
        findings=tuple(findings),
        validators=len(facts.validators),
        reachable=len(reachable),
        needed=needed,
        missing=missing,
        last_block_s=facts.last_block_ms // 1000,
        pending_s=None if facts.pending_ms is None else facts.pending_ms // 1000,
        behind=behind,
        blocks_per_s=round(facts.blocks_per_s, 1),
        level_in_s=_level_in_s(facts, behind) if is_far else None,
        disk_free_bytes=facts.disk_free_bytes,
        clock_off_s=None if clock_off_ms is None else clock_off_ms / 1000,
    )


def height_of_others(heights: Mapping[str, int], validators: Collection[str]) -> int:
    """How high the ledger is, by what others told of themselves unsigned (P7.1): of the epoch's validators f may lie, so the
    height counts that f + 1 of them have reached; where fewer have told, the least of theirs. Nobody else is believed."""
    told = sorted((heights[party] for party in validators if party in heights), reverse=True)
    return told[min(one_honest(len(validators)), len(told)) - 1] if told else 0


def own_clock_error_ms(clocks_ms: Mapping[str, int]) -> int | None:
    """By how much this clock is ahead of the others' (negative: behind): the middle one of them decides, of two in the
    middle the nearer. None if too few are known to tell whose is wrong."""
    others = sorted(clocks_ms.values())
    middle = others[(len(others) - 1) // 2 : len(others) // 2 + 1]
    return -min(middle, key=abs) if len(others) >= 2 else None


def span(duration_ms: int) -> str:
    """A duration for people: `41 s`, `12 min`, `3 h`, `5 days`."""
    seconds = max(0, duration_ms) // 1000
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{(seconds + size // 2) // size} {unit}"
    return f"{seconds} s"


def counted(number: int, what: str) -> str:
    """A number of things for people: `1 record`, `2 records`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def room(size_bytes: int) -> str:
    """Space on a disk for people: `75.3 GiB`, `59 MiB`."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes // 2**20} MiB"


_LOOK_AT_LINKS: Final = (
    "Is the network between the agencies up, do their nodes run, does each [peers.addresses] lead there? The log says why a "
    "link ended. Nothing is lost meanwhile: records wait, and go on by themselves."
)

_BE_LET_IN: Final = (
    "A node that is no validator is let in where [peers] observers lists its identity.json: has every agency done so, and "
    "restarted its node?"
)


def _quorum_words(facts: Facts, reachable: int, needed: int, missing: tuple[str, ...]) -> str:
    total = len(facts.validators)
    words = f"{reachable} of {total} validators reachable, {needed} needed; last block {span(facts.last_block_ms)} ago"
    return f"{words}; missing: {', '.join(missing)}" if missing else words


def _waiting_records(facts: Facts) -> str:
    return f"{counted(facts.pending, 'record')} {'waits' if facts.pending == 1 else 'wait'}"


def _following(facts: Facts) -> Finding:
    return Finding(
        code="not_a_validator",
        text=f"{facts.party} is not a validator of epoch {facts.epoch}: this node follows and serves, and does not vote",
        help="To vote, the validators must add it: tracemark proposal.",
    )


def _other_keys(facts: Facts) -> Finding:
    return Finding(
        code="other_keys",
        text=f"votes nothing: {facts.party} signs with other keys in epoch {facts.epoch} than this node has",
        help="If its keys were replaced: stop the node, let identity and keys in node.toml name the new files, say "
        "rotated = true, and start it. If the vote for new ones is still to come, run it with the old ones until then.",
        blocks=True,
    )


def _standstill(facts: Facts, quorum_words: str) -> Finding:
    return Finding(
        code="standstill",
        text=f"{quorum_words}; {_waiting_records(facts)}, the oldest for {span(facts.pending_ms or 0)}; "
        f"view {facts.view}, its leader is {facts.leader}",
        help="A quorum is linked, so another node is ill: ask every agency for its `tracemark node status`.",
        blocks=True,
    )


def _catching_up(facts: Facts, behind: int) -> Finding:
    level_in_s = _level_in_s(facts, behind)
    speed = f"{facts.blocks_per_s:.0f} blocks/s" if facts.blocks_per_s >= 1 else "no block in the last seconds"
    estimate = "" if level_in_s is None else f", level in about {span(level_in_s * 1000)}"
    return Finding(code="catching_up", text=f"catching up: {behind} blocks behind, {speed}{estimate}", blocks=True)


def _unproven(facts: Facts) -> Finding:
    return Finding(
        code="epoch_unproven",
        text=f"cannot prove the validators of epoch {facts.proven_epoch + 1} yet: fewer than a quorum of the cosignatures "
        f"with which epoch {facts.proven_epoch} closed are here, so no receipt or proof is given of what came after",
        help="The other agencies' nodes keep them and are asked every second; it is over once enough of those that were "
        "validators then, or nodes that have theirs, are linked.",
        blocks=True,
    )


def _level_in_s(facts: Facts, behind: int) -> int | None:
    return round(behind / facts.blocks_per_s) if facts.blocks_per_s >= 1 else None


def _missing(facts: Facts, missing: tuple[str, ...]) -> Finding:
    told = [
        f"{party} (for {span(facts.apart_ms[party])})"
        if party in facts.apart_ms
        else f"{party} (never since the start)"
        for party in missing
    ]
    return Finding(
        code="validator_missing",
        text=f"no link to {', '.join(told)}",
        help="The others are a quorum and go on without; it catches up by itself once it is back.",
    )


def _accused(parties: tuple[str, ...]) -> Finding:
    return Finding(
        code="evidence",
        text=f"evidence is held that signatures under the keys of {', '.join(parties)} exclude each other",
        help="Tell it and the others; look with `tracemark evidence list`, and see docs/OPERATIONS.md.",
    )


def _waiting(facts: Facts) -> Finding:
    return Finding(
        code="records_waiting",
        text=f"{_waiting_records(facts)} for a block, the oldest for {span(facts.pending_ms or 0)}",
    )


def _clock_findings(facts: Facts, own_off_ms: int | None) -> list[Finding]:
    if own_off_ms is not None and abs(own_off_ms) > CLOCK_TOLERANCE_MS:
        side = "ahead of" if own_off_ms > 0 else "behind"
        effect = (
            "blocks that it proposes are not voted for in time"
            if own_off_ms > BLOCK_MAX_AHEAD_MS
            else "it cannot vote for others' blocks in time"
            if own_off_ms < -BLOCK_MAX_AHEAD_MS
            else f"from {BLOCK_MAX_AHEAD_MS // 1000} s on, blocks have to wait"
        )
        return [
            Finding(
                code="clock_off",
                text=f"this machine's clock is {span(abs(own_off_ms))} {side} the other agencies': {effect}",
                help="Set it, and have NTP keep it (chrony, systemd-timesyncd); the node need not be restarted.",
            )
        ]
    return [
        Finding(
            code="peer_clock_off",
            text=f"the clock of {party} is {span(abs(off_ms))} {'ahead of' if off_ms > 0 else 'behind'} this one",
            help=f"Tell {party}; if it is this machine's that is wrong, set it.",
        )
        for party, off_ms in sorted(facts.clocks_ms.items())
        if abs(off_ms) > CLOCK_TOLERANCE_MS
    ]


def _disk(free_bytes: int) -> Finding:
    return Finding(
        code="disk_low",
        text=f"{room(free_bytes)} left on the disk of the data directory: a node that cannot write stops voting",
        help="Make room on that disk, or a larger one; never delete anything inside the data directory.",
    )
