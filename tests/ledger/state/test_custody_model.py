"""The rules against a naive model of custody under random records, and every history replayed against the state."""

import random
from collections import Counter

import pytest

from ledger.errors import RuleError
from ledger.marks import weapon_id
from ledger.records import Record
from ledger.records.fields import format_time, parse_time
from ledger.records.incidents import UnregisteredWeapon
from ledger.state.transition import check, replay_weapon
from tests.reference.custody import Custody
from tests.world import DAY_MS, START_MS, WorkingSet, trading_world

PARTIES = ("maker", "importer", "dealer", "far-dealer", "station", "interior", "customs", "police", "neighbour")
SPONSORS = {
    "maker": "interior", "importer": "interior", "dealer": "interior", "far-dealer": "neighbour", "station": "police",
}  # fmt: skip
MODEL = {
    "police": {"station", "customs", "police", "neighbour"},
    "makers": {"maker", "importer", "interior", "neighbour"},
}
SERIALS = tuple(f"A{number}" for number in range(8))
WEAPONS = {serial: weapon_id("GLC", serial, "") for serial in SERIALS}


class Run:
    """One random sequence on a world and on the model, compared after every record."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = trading_world()
        self.world.time_ms = START_MS + 1_000_000
        self.model = Custody(sponsors=SPONSORS, police=MODEL["police"], makers=MODEL["makers"])
        self.transfers: list[tuple[str, tuple[str, ...], str, str]] = []
        self.correctable: list[tuple[str, tuple[str, ...], str]] = []
        self.outcomes: Counter[tuple[str, bool]] = Counter()

    def some(self, most: int = 3) -> list[str]:
        """Some serials."""
        return self.dice.sample(SERIALS, self.dice.randint(1, most))

    def near(self, serials: list[str], fallback: tuple[str, ...] = PARTIES) -> str:
        """Often a party that has to do with the weapons, so that many records are lawful; else any."""
        known = [self.model.weapons[s] for s in serials if s in self.model.weapons]
        parties = [party for weapon in known for party in (weapon["owner"], weapon["holder"]) if party]
        return self.dice.choice(parties) if parties and self.dice.random() < 0.8 else self.dice.choice(fallback)

    def step(self) -> None:
        """One random record, given to both."""
        if self.dice.random() < 0.1:
            self.world.wait(self.dice.choice((1_000, DAY_MS, 4 * DAY_MS)))
        kind = self.dice.choice(("register", "offer", "offer", "answer", "answer", "report", "report", "correct"))
        getattr(self, f"_{kind}")()

    def _register(self) -> None:
        serials, issuer = self.some(), self.dice.choice(("maker", "importer", "interior", "dealer", "police"))
        record = self.world.register(issuer, *serials)
        if self._both(record, lambda name: self.model.register(name, issuer, serials)):
            self.correctable.append((self.last, tuple(serials), issuer))

    def _offer(self) -> None:
        moves = self.dice.choice(("title", "custody", "both"))
        serials = self.some()
        issuer, to = self.near(serials), self.dice.choice(PARTIES)
        role = "owner" if moves == "title" else "holder"
        own = [serial for serial, weapon in self.model.weapons.items() if weapon[role] == issuer]
        if own and self.dice.random() < 0.8:
            serials = self.dice.sample(own, min(len(own), self.dice.randint(1, 2)))
        until = format_time(self.world.time_ms + self.dice.choice((2, 5, 30)) * DAY_MS)
        ids = [WEAPONS[serial] for serial in serials]
        record = self.world.offer(issuer, to, *ids, moves=moves, expires_at=until)
        now = self.world.time_ms
        if self._both(
            record,
            lambda name: self.model.offer(name, issuer, to, serials, moves=moves, until=parse_time(until), now=now),
        ):
            self.transfers.append((self.last, tuple(serials), issuer, to))

    def _answer(self) -> None:
        if not self.transfers:
            return
        transfer, offered, sender, to = self.dice.choice(self.transfers[-3:])
        serials = list(offered) if self.dice.random() < 0.9 else self.some()
        how = self.dice.choice(("accept", "accept", "decline", "cancel"))
        issuer = (sender if how == "cancel" else to) if self.dice.random() < 0.85 else self.dice.choice(PARTIES)
        record: Record = getattr(self.world, how)(issuer, transfer, *(WEAPONS[serial] for serial in serials))
        now = self.world.time_ms
        self._both(record, lambda name: self.model.answer(name, issuer, transfer, serials, how=how, now=now))

    def _report(self) -> None:
        what = self.dice.choice(("lost", "stolen", "found", "seized", "recovered"))
        serials = self.some(2)
        strangers = self.dice.sample(SERIALS, 1) if self.dice.random() < 0.2 else []
        serials = [serial for serial in serials if serial not in strangers]
        fallback = PARTIES if what in ("lost", "stolen") else tuple(sorted(MODEL["police"]))
        issuer = self.near(serials, fallback) if what in ("lost", "stolen") else self.dice.choice(fallback)
        items = tuple(UnregisteredWeapon(make="GLC", serial=serial, model="as read") for serial in strangers)
        record = self.world.report(issuer, what, *(WEAPONS[serial] for serial in serials), unregistered=items)
        if self._both(record, lambda name: self.model.report(name, issuer, what, serials, strangers)):
            self.correctable.append((self.last, (*serials, *strangers), issuer))

    def _correct(self) -> None:
        if not self.correctable:
            return
        wrong, touched, by = self.dice.choice(self.correctable[-5:])
        serials = list(touched) if self.dice.random() < 0.85 else self.some()
        issuer = by if self.dice.random() < 0.9 else self.dice.choice(PARTIES)
        if any(serial not in self.model.weapons for serial in serials):
            return
        record = self.world.correct(issuer, wrong, *(WEAPONS[serial] for serial in serials))
        self._both(record, lambda name: self.model.correct(name, issuer, wrong, serials))

    def _both(self, record: Record, predict: object) -> bool:
        assert callable(predict)
        _, signed = self.world.sign(record)
        lawful = bool(predict(signed.id))
        try:
            check(WorkingSet(self.world.state, record, signed.id), signed, self.world.at)
        except RuleError as error:
            assert not lawful, f"the model accepts what the ledger refuses: {error}: {record}"
        else:
            assert lawful, f"the ledger accepts what the model refuses: {record}"
            self.last = self.world.submit(record)
            self._compare()
        self.outcomes[(type(record).__name__, lawful)] += 1
        return lawful

    def _compare(self) -> None:
        for serial, expected in self.model.weapons.items():
            document = self.world.weapon(WEAPONS[serial])
            assert (document.status, document.owner, document.possessor, document.registered) == (
                expected["status"], expected["owner"], expected["holder"], expected["known"],
            )  # fmt: skip
            assert document.history_count == len(expected["trail"])
            assert document.last.record == expected["trail"][-1]


@pytest.mark.parametrize("seed", range(40))
def test_the_rules_agree_with_the_model(seed: int) -> None:
    run = Run(seed)
    for _ in range(150):
        run.step()
    for weapon, history in run.world.history.items():
        assert replay_weapon(weapon, history) == run.world.weapon(weapon)


def test_the_random_records_are_both_lawful_and_not() -> None:
    total: Counter[tuple[str, bool]] = Counter()
    for seed in range(40, 46):
        run = Run(seed)
        for _ in range(150):
            run.step()
        total += run.outcomes
    kinds = {kind for kind, _ in total}
    assert len(kinds) == 7
    assert all(total[(kind, lawful)] >= 5 for kind in kinds for lawful in (True, False)), total
