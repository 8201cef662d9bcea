"""Records that are well signed and rarely lawful, a few in a row on a lived-in state. What gets through must leave documents
of one spelling, histories that lead to them, and nobody who owns or holds a weapon without having signed."""

from functools import cache, partial
from random import Random
from typing import Any, Final

from ledger.codec import PAYLOAD_TYPE, Envelope, EnvelopeSignature, b64encode, encode, pae
from ledger.records import CorrectionDeclare
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry, verify_entry
from ledger.records.fields import format_time
from ledger.records.incidents import UnregisteredWeapon
from ledger.records.items import Attributes, LotRow, RowAttributes
from ledger.signing import ROLES, SigningKey, key_id
from ledger.state.model import Doc, KeyDoc, StateKey, WeaponDoc, decode_document, encode_document
from ledger.state.transition import apply, check, replay_weapon, signers_of, weapons_of
from tests.fuzz.forgeries import in_canonical_order, payload_of, words_of
from tests.fuzz.harness import Target, accepts
from tests.fuzz.mutate import Members, mutate_tree, parse, write
from tests.world import DAY_MS, HOUR_MS, WorkingSet, World, key_named, trading_world

_SERIALS: Final = ("A1", "A2", "A3", "A4", "UNMARKED1", "Б7")
_STEPS: Final = 25
_SPARES: Final = 40
_AGENCIES: Final = ("customs", "interior", "neighbour", "police")


class Lived(World):
    """A world that keeps its entries."""

    def __init__(self) -> None:
        super().__init__()
        other = trading_world()
        self.state, self.keys = other.state, other.keys
        self.index, self.time_ms, self.height = other.index, other.time_ms, other.height
        self.history = other.history
        self.entries: list[bytes] = []

    def sign(self, record: Any, *keys: SigningKey) -> tuple[ParsedRecord, SignedRecord]:
        parsed, signed = super().sign(record, *keys)
        self.entries.append(parsed.entry)
        return parsed, signed


@cache
def lived() -> Lived:
    """Weapons held, offered, accepted, stolen, seized, corrected; keys replaced, revoked and recovering."""
    world = Lived()
    lot = world.register("maker", *_SERIALS[:4])
    world.submit(lot)
    one, two, three, four = (identity.id for identity in lot.identities)
    world.submit(world.lot("importer", Attributes(make="SW"), LotRow(serial="Б7", differs=RowAttributes(make="UNK"))))
    world.submit(world.register("importer", "UNMARKED1", unmarked="obliterated"))
    world.submit(world.register("maker", "A1", distinct_from=(one,)))
    both = world.submit(world.offer("maker", "dealer", one, two))
    world.submit(world.accept("dealer", both, one, two))
    world.submit(world.offer("maker", "importer", three, moves="title"))
    custody = world.submit(world.offer("maker", "far-dealer", three, four, moves="custody"))
    world.submit(world.decline("far-dealer", custody, three, four))
    stolen = world.submit(world.report("dealer", "stolen", two))
    world.submit(world.correct("dealer", stolen, two))
    world.submit(world.report("dealer", "stolen", two))
    world.submit(world.report("station", "seized", two))
    world.submit(world.report("police", "seized", one))
    world.submit(world.report("police", "found", unregistered=(UnregisteredWeapon(make="GLC", serial="A9"),)))
    world.submit(world.add_key("importer", "importer", key_named("importer second")))
    world.keys["importer"] = key_named("importer second")
    world.submit(world.add_key("neighbour", "far-dealer", key_named("far-dealer second")))
    world.submit(world.update("interior", "dealer", status="suspended"))
    world.submit(world.update("interior", "dealer", status="active"))
    return world


def _draw(dice: Random) -> list[tuple[int, bytes | int]]:
    """Waits in ms, and payloads or the dice of records to be made for the state as it is then."""
    world = lived()
    words = words_of(tuple(world.entries))
    steps: list[tuple[int, bytes | int]] = []
    for _ in range(dice.randrange(1, _STEPS)):
        tree = parse(payload_of(dice.choice(world.entries)))
        for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
            tree = mutate_tree(tree, dice, words, spelling=dice.random() < 0.02)
        wait_ms = dice.choice((0, 10, 1_000, HOUR_MS, 72 * HOUR_MS, 11 * DAY_MS))
        steps.append((wait_ms, dice.getrandbits(64) if dice.random() < 0.7 else write(in_canonical_order(tree))))
    return steps


def _made(world: World, dice: Random) -> bytes:
    """The payload of a record that might be lawful now: of anybody, about what there is."""
    ids = {kind: [key.id for key in world.state if key.kind == kind] for kind in ("party", "weapon", "transfer", "key")}
    issuer, other = dice.choice(ids["party"]), dice.choice(ids["party"])
    weapons = tuple(sorted(dice.sample(ids["weapon"], dice.choice((1, 1, 2)))))
    document = world.weapon(weapons[0])
    if dice.random() < 0.7:
        issuer = dice.choice((document.owner, document.possessor, world.party(issuer).sponsor)) or issuer
    standing = [slot for slot in (document.offer_title, document.offer_custody) if slot is not None]
    transfer = dice.choice(standing or ids["transfer"])
    offer = world.transfer(transfer)
    offered = tuple(sorted(weapon for weapon in ids["weapon"] if transfer in _slots(world.weapon(weapon))))
    new = key_named(f"spare {dice.randrange(_SPARES)}")
    match dice.randrange(11):
        case 0 | 1:
            moves = dice.choice(("title", "custody", "both"))
            return encode(world.offer(issuer, other, *weapons, moves=moves))
        case 2 | 3:
            return encode(world.accept(dice.choice((offer.to, offer.to, other)), transfer, *(offered or weapons)))
        case 4:
            return encode(world.decline(offer.to, transfer, *(offered or weapons)))
        case 5:
            return encode(world.cancel(offer.offered_by, transfer, *(offered or weapons)))
        case 6:
            return encode(
                world.report(issuer, dice.choice(("lost", "stolen", "found", "seized", "recovered")), *weapons)
            )
        case 7:
            authority = dice.choice(("police", "station", "customs"))
            return encode(world.report(authority, dice.choice(("found", "seized", "recovered")), *weapons))
        case 8:
            last = document.last
            named = [weapon for weapon in ids["weapon"] if world.weapon(weapon).last.record == last.record]
            return encode(world.correct(last.issuer, last.record, *named))
        case 9:
            return encode(world.add_key(dice.choice((other, world.party(other).sponsor or other)), other, new))
        case _:
            public = dice.choice(ids["key"])
            owner = world.state[StateKey("key", public)]
            assert isinstance(owner, KeyDoc)
            if dice.random() < 0.5:
                return encode(world.revoke_key(world.party(owner.party).sponsor or other, owner.party, _keys()[public]))
            return encode(world.register(issuer, dice.choice((*_SERIALS, "A9")), make=dice.choice(("GLC", "SW"))))


def _slots(weapon: WeaponDoc) -> tuple[str | None, str | None]:
    return weapon.offer_title, weapon.offer_custody


def _feed(steps: list[tuple[int, bytes | int]]) -> bool:
    base = lived()
    world = World(base.genesis)
    world.state = dict(base.state)
    world.history = {weapon: list(records) for weapon, records in base.history.items()}
    world.index, world.time_ms = base.index, base.time_ms
    signers: list[tuple[int, str]] = []
    for wait_ms, step in steps:
        world.wait(wait_ms)
        payload = step if isinstance(step, bytes) else _made(world, Random(step))
        accepts(partial(_submit, world, payload, signers))
    for index, public in signers:
        _check_in_force(world, index, public)
    if signers:
        for weapon, history in world.history.items():
            assert replay_weapon(weapon, history) == world.weapon(weapon), "the history leads elsewhere"
    return bool(signers)


@cache
def _keys() -> dict[str, SigningKey]:
    names = ("maker", "importer", "dealer", "far-dealer", "station", "customs", "interior", "neighbour", "police")
    keys = [key_named(f"{name} record") for name in names]
    keys += [key_named("importer second"), key_named("far-dealer second")]
    keys += [key_named(f"spare {number}") for number in range(_SPARES)]
    keys += [key_named(f"{name} {role}") for name in _AGENCIES for role in ROLES]
    return {key.public.hex(): key for key in keys}


def _submit(world: World, payload: bytes, signers: list[tuple[int, str]]) -> None:
    """The way of a record through a node, its issuer's key signing whatever it is given, issued now. `signers` collects
    log index and key of what was accepted."""
    try:
        fields = dict(parse(payload)) | {"issued_at": format_time(world.time_ms), "nonce": f"{world.fresh():021d}A"}
        payload = write(Members(sorted(fields.items())))
    except (ValueError, TypeError, RecursionError):
        pass  # no object any more: refused as it is
    message = pae(PAYLOAD_TYPE, payload)
    keys = list(_keys().values())
    draft = _envelope(payload, message, keys[0])
    record = parse_entry(draft).record
    publics = signers_of(WorkingSet(world.state, record, "0" * 64), record, world.time_ms)
    parsed = parse_entry(_envelope(payload, message, _keys()[publics[0]]))
    signed = verify_entry(parsed, publics)
    working = WorkingSet(world.state, record, signed.id)
    check(working, signed, world.at)
    changes = apply(working, signed, world.at)
    for key, document in changes.items():
        _check_holding(record, world.state.get(key), document)
        world.state[key] = decode_document(key.kind, encode_document(document))
        assert world.state[key] == document
    for weapon in weapons_of(record):
        assert StateKey("weapon", weapon) in changes
        world.history.setdefault(weapon, []).append((world.index, parsed))
    signers.append((world.index, publics[0]))
    world.index += 1


def _check_in_force(world: World, index: int, public: str) -> None:
    """What offline verification asks of a key's document holds of every record that was accepted, for good."""
    key = world.state[StateKey("key", public)]
    assert isinstance(key, KeyDoc)
    assert (-1 if key.added is None else key.added) < index < (2**53 if key.revoked is None else key.revoked)


def _envelope(payload: bytes, message: bytes, key: SigningKey) -> bytes:
    signature = EnvelopeSignature(keyid=key_id(key.public), sig=b64encode(key.sign(message)))
    return encode(Envelope(payload=b64encode(payload), payload_type=PAYLOAD_TYPE, signatures=(signature,)))


def _check_holding(record: Any, old: Doc | None, new: Doc) -> None:
    """Whoever newly owns or holds a weapon has signed; only a correction gives back what was there before."""
    if not isinstance(new, WeaponDoc) or isinstance(record, CorrectionDeclare):
        return
    before = old if isinstance(old, WeaponDoc) else None
    if new.possessor not in (None, before.possessor if before else None):
        assert new.possessor == record.issuer, "made a holder by somebody else"
    if new.owner not in (None, before.owner if before else None):
        assert new.owner == record.issuer, "made an owner by somebody else"
    if before is not None and before.owner is not None and before.status != "void":
        assert new.owner is not None, "an owner lost title to nobody"


LAWLESS: Final = (Target(name="rules", draw=_draw, feed=_feed, few=150),)
"""What the rules are asked."""
