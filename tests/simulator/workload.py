"""What clients submit in a run, and what must have become of it in the end.

In a production run these are real signed records: parties are enrolled, weapons registered, offered, accepted; some records
exclude each other, and some no rule allows. Clients know nothing of the ledger's state: they submit what they have, and
again what was refused, since what a record builds on may be final by then.
"""

import random
from functools import cache
from typing import Final

import msgspec

from ledger.marks import weapon_id
from ledger.records import Record
from ledger.records.envelope import parse_entry, sign_record
from tests.simulator.genesis import CLOCK_MS, REGISTRY, genesis_of
from tests.world import World, key_named

STORIES: Final = 40
"""More than any run takes."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """Records that belong together, in the order in which a client submits them.

    `must`: they must all be final in the end. `one_of`: of each group exactly one. The others must never be final.
    """

    entries: tuple[bytes, ...]
    must: tuple[bytes, ...] = ()
    one_of: tuple[tuple[bytes, ...], ...] = ()

    @property
    def never(self) -> tuple[bytes, ...]:
        """Records that no rule allows."""
        allowed = {*self.must, *(entry for group in self.one_of for entry in group)}
        return tuple(entry for entry in self.entries if entry not in allowed)


def stories_of(size: int, count: int, rng: random.Random) -> list[Story]:
    """Real records for a ledger of this size: the enrolments, then `count` further stories."""
    first, others = _stories(size)
    return [first, *rng.sample(others, min(count, len(others)))]


@cache
def record_ids(size: int) -> dict[bytes, str]:
    """Entry to record id, of all records that a run of this size may submit."""
    first, others = _stories(size)
    return ids_of((first, *others))


def ids_of(stories: tuple[Story, ...]) -> dict[bytes, str]:
    """Entry to record id."""
    return {entry: parse_entry(entry).id for story in stories for entry in story.entries}


@cache
def unlawful_records(size: int) -> tuple[bytes, ...]:
    """Well-formed records that no rule allows."""
    return tuple(entry for story in _stories(size)[1] for entry in story.never)


@cache
def _stories(size: int) -> tuple[Story, tuple[Story, ...]]:
    """The enrolments, and all other stories of a ledger of this size. The same in every run, so that each signature is made
    and verified once."""
    teller = _Teller(size)
    return teller.enrolments(), tuple(teller.story(number) for number in range(STORIES))


class _Teller:
    """Makes and signs the records."""

    def __init__(self, size: int) -> None:
        self.world = World(genesis_of(size))
        self.world.time_ms = CLOCK_MS - 10_000  # no clock is so far behind: a record is never from the future

    def enrolments(self) -> Story:
        """A maker, an importer and two dealers."""
        world = self.world
        records = (
            world.enrol(REGISTRY, "maker", "maker", makes=("GLC",)),
            world.enrol(REGISTRY, "importer", "importer", any_make=True),
            world.enrol(REGISTRY, "dealer", "dealer"),
            world.enrol(REGISTRY, "other-dealer", "dealer"),
        )
        entries = tuple(map(self._sign, records))
        return Story(entries=entries, must=entries)

    def story(self, number: int) -> Story:
        """One of seven, in turn."""
        kinds = (
            self._registration,
            self._transfer,
            self._accept_or_cancel,
            self._one_weapon_twice,
            self._two_offers,
            self._what_nobody_may_do,
            self._new_key,
        )
        return kinds[number % len(kinds)](f"A{number:03d}")

    def _registration(self, serial: str) -> Story:
        lot = self._sign(self.world.register("maker", serial, f"{serial}B", f"{serial}C"))
        return Story(entries=(lot,), must=(lot,))

    def _transfer(self, serial: str) -> Story:
        """A weapon goes to a dealer, who loses it."""
        lot, offer, accept = self._offered(serial)
        lost = self._sign(self.world.report("dealer", "lost", _weapon(serial)))
        return Story(entries=(lot, offer, accept, lost), must=(lot, offer, accept, lost))

    def _accept_or_cancel(self, serial: str) -> Story:
        lot, offer, accept = self._offered(serial)
        cancel = self._sign(self.world.cancel("maker", parse_entry(offer).id, _weapon(serial)))
        return Story(entries=(lot, offer, accept, cancel), must=(lot, offer), one_of=((accept, cancel),))

    def _one_weapon_twice(self, serial: str) -> Story:
        lots = tuple(self._sign(self.world.register(issuer, serial)) for issuer in ("maker", "importer"))
        return Story(entries=lots, one_of=(lots,))

    def _two_offers(self, serial: str) -> Story:
        """One weapon offered to two dealers, both of whom accept."""
        lot, offer, accept = self._offered(serial)
        other = self._sign(self.world.offer("maker", "other-dealer", _weapon(serial)))
        accept_other = self._sign(self.world.accept("other-dealer", parse_entry(other).id, _weapon(serial)))
        entries = (lot, offer, other, accept, accept_other)
        return Story(entries=entries, must=(lot,), one_of=((offer, other), (accept, accept_other)))

    def _what_nobody_may_do(self, serial: str) -> Story:
        """A dealer registers and gives away what it does not have; somebody signs in the maker's name."""
        lot = self._sign(self.world.register("maker", serial))
        stolen = self._sign(self.world.offer("dealer", "other-dealer", _weapon(serial)))
        made_up = self._sign(self.world.register("dealer", f"{serial}X"))
        forged = sign_record(self.world.register("maker", f"{serial}Y"), key_named("nobody"))
        return Story(entries=(lot, stolen, made_up, forged), must=(lot,))

    def _new_key(self, serial: str) -> Story:
        """A new importer changes its key; what it signs with the new one counts."""
        party = f"importer-{serial.lower()}"
        enrolment = self._sign(self.world.enrol(REGISTRY, party, "importer", any_make=True))
        new = key_named(f"{party} second record key")
        added = self._sign(self.world.add_key(party, party, new))
        lot = sign_record(self.world.register(party, f"{serial}N"), new)
        return Story(entries=(enrolment, added, lot), must=(enrolment, added, lot))

    def _offered(self, serial: str) -> tuple[bytes, bytes, bytes]:
        lot = self._sign(self.world.register("maker", serial))
        offer = self._sign(self.world.offer("maker", "dealer", _weapon(serial)))
        accept = self._sign(self.world.accept("dealer", parse_entry(offer).id, _weapon(serial)))
        return lot, offer, accept

    def _sign(self, record: Record) -> bytes:
        return sign_record(record, self.world.keys[record.issuer])


def _weapon(serial: str) -> str:
    return weapon_id("GLC", serial, "")
