"""A small world for tests of the rules: four agencies, parties with keys, and a state in a dict.

Every record goes the way it goes in a node: signed, parsed, verified, checked and applied on the working set that
`touches` and `follows` name and on nothing else, so that a rule that reads more fails here.
"""

import hashlib
from typing import Any, Final, TypeVar

import pytest

from ledger.codec import b64encode
from ledger.errors import RuleError
from ledger.genesis import Agency, Genesis, Parameters, ValidatorKeys, check_genesis
from ledger.quorum import quorum
from ledger.records import (
    CorrectionDeclare,
    IncidentReport,
    KeyAdd,
    KeyRevoke,
    PartyEnrol,
    PartyUpdate,
    ProposalOpen,
    ProposalVote,
    Record,
    TransferAccept,
    TransferCancel,
    TransferDecline,
    TransferOffer,
    WeaponRegister,
)
from ledger.records.envelope import ParsedRecord, SignedRecord, parse_entry, prove_possession, sign_record, verify_entry
from ledger.records.fields import PartyRole, format_time
from ledger.records.governance import Change
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody
from ledger.records.membership import NewKey
from ledger.signing import Role, SigningKey
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    At,
    Doc,
    KeyDoc,
    ParametersDoc,
    PartyDoc,
    ProposalDoc,
    StateKey,
    TransferDoc,
    ValidatorsDoc,
    WeaponDoc,
    decode_document,
    encode_document,
)
from ledger.state.transition import apply, check, follows, genesis_state, signers_of, touches, weapons_of

ORIGIN: Final = "tracemark.test/log"
START_MS: Final = 1_790_000_000_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
ROUNDS: Final = 3

_AGENCIES: Final[dict[str, tuple[str, tuple[PartyRole, ...], tuple[PartyRole, ...]]]] = {
    "customs": ("AA", ("customs",), ("carrier", "importer")),
    "interior": ("AA", ("registry",), ("dealer", "importer", "maker", "museum")),
    "neighbour": ("BB", ("customs", "police", "registry"), ("dealer", "importer", "maker", "police")),
    "police": ("AA", ("police",), ("forces", "police")),
}

R = TypeVar("R", bound=Record)


def key_named(name: str) -> SigningKey:
    """A key that is the same in every run."""
    return SigningKey(hashlib.sha256(name.encode()).digest())


NODE_ROLES: Final[tuple[Role, ...]] = ("consensus", "cosigner", "governance", "log", "transport")


def build_agency(party: str, generation: int = 0) -> Agency:
    """An agency's identity: one of the four, or a newcomer. Every generation has node keys of its own."""
    jurisdiction, has, grants = _AGENCIES.get(party, ("CC", ("registry",), ("dealer", "maker")))
    return Agency(
        party=party,
        name=f"The {party}",
        roles=has,
        grants=grants,
        jurisdiction=jurisdiction,
        record=prove_possession(key_named(f"{party} record"), ledger=ORIGIN, party=party, role="record"),
        node=ValidatorKeys(**{role: node_key_proof(party, role, generation) for role in NODE_ROLES}),
        ca=b64encode(party.encode() * 40),
    )


def node_key(party: str, role: Role, generation: int = 0) -> SigningKey:
    """An agency's key for its node."""
    return key_named(f"{party} {role}{f' {generation}' if generation else ''}")


def node_key_proof(party: str, role: Role, generation: int = 0) -> NewKey:
    """The same with its proof of possession, over the origin."""
    return prove_possession(node_key(party, role, generation), ledger=ORIGIN, party=party, role=role)


def build_genesis(*parties: str, version: int = 1) -> Genesis:
    """The genesis document of the four agencies, or of those named. It begins with the first version of the rules, so that
    there is a next one to activate."""
    agencies = tuple(build_agency(party) for party in sorted(parties or _AGENCIES))
    parameters = Parameters(version=version)
    genesis = Genesis(schema=1, origin=ORIGIN, time=format_time(START_MS), parameters=parameters, agencies=agencies)
    check_genesis(genesis)
    return genesis


GENESIS: Final = build_genesis()


class WorkingSet:
    """The documents that `touches` and `follows` name; reading another key is a bug of these."""

    def __init__(self, state: dict[StateKey, Doc], record: Record, record_id: str) -> None:
        self.documents: dict[StateKey, Doc | None] = {}
        wanted = set(touches(record, record_id))
        for _ in range(ROUNDS):
            found = {key: state.get(key) for key in wanted}
            self.documents.update(found)
            wanted = {key for doc in found.values() if doc is not None for key in follows(doc)} - self.documents.keys()
        assert not {key for key in wanted if key.kind != "key"}, "more rounds than promised"

    def get(self, key: StateKey, /) -> Doc | None:
        assert key in self.documents, f"{key} is read but not named"
        return self.documents[key]


class World:
    """The state, the clock, everybody's keys, and every weapon's history."""

    def __init__(self, genesis: Genesis = GENESIS) -> None:
        self.genesis = genesis
        self.state: dict[StateKey, Doc] = genesis_state(genesis)
        self.keys = {party: key_named(f"{party} record") for party in _AGENCIES}
        self.governance = {agency.party: node_key(agency.party, "governance") for agency in genesis.agencies}
        self.history: dict[str, list[tuple[int, ParsedRecord]]] = {}
        self.index = 2
        self.time_ms = START_MS + 1_000
        self.height = 1
        self._serial = 0

    # --- making records ---------------------------------------------------------------------------------------------

    def fresh(self) -> int:
        """A number that was not handed out before."""
        self._serial += 1
        return self._serial

    def make(self, kind: type[R], issuer: str, **body: Any) -> R:
        """A record of `kind` by `issuer`, issued now; `body` are the fields of its body."""
        nonce = "A" * 10 + f"{self.fresh():011d}" + "A"
        return kind(
            issued_at=format_time(self.time_ms),
            issuer=issuer,
            ledger=self.genesis.ledger_id,
            nonce=nonce,
            refs=(),
            schema=1,
            body=kind.__annotations__["body"](**body),
        )

    def enrol(self, agency: str, party: str, *roles: PartyRole, **terms: Any) -> PartyEnrol:
        """The enrolment of a party whose key is named after it."""
        self.keys.setdefault(party, key_named(f"{party} record"))
        body = {
            "party": party,
            "name": party.title(),
            "roles": roles,
            "jurisdiction": _AGENCIES[agency][0],
            "key": self.proof(party, self.keys[party]),
        }
        return self.make(PartyEnrol, agency, **{**body, **terms})

    def update(self, agency: str, party: str, **changes: Any) -> PartyUpdate:
        """A change of a party."""
        return self.make(PartyUpdate, agency, party=party, **changes)

    def proof(self, party: str, key: SigningKey) -> Any:
        """The key with its proof of possession."""
        return prove_possession(key, ledger=self.genesis.ledger_id, party=party, role="record")

    def origin_proof(self, party: str, role: Role, key: SigningKey) -> NewKey:
        """The key with the proof of possession that an identity has."""
        return prove_possession(key, ledger=ORIGIN, party=party, role=role)

    def add_key(self, issuer: str, party: str, key: SigningKey) -> KeyAdd:
        """A new key for a party."""
        return self.make(KeyAdd, issuer, party=party, key=self.proof(party, key))

    def revoke_key(self, issuer: str, party: str, key: SigningKey, **details: Any) -> KeyRevoke:
        """The end of a key."""
        body = {"party": party, "public": key.public.hex(), "reason": "compromised", **details}
        return self.make(KeyRevoke, issuer, **body)

    def register(self, issuer: str, *serials: str, make: str = "GLC", **differs: Any) -> WeaponRegister:
        """A lot; `differs` holds for every row."""
        rows = tuple(LotRow(serial=serial, differs=RowAttributes(**differs)) for serial in serials)
        return self.make(WeaponRegister, issuer, defaults=Attributes(make=make, model="Model 1"), rows=rows)

    def lot(self, issuer: str, defaults: Attributes, *rows: LotRow) -> WeaponRegister:
        """A lot as given."""
        body = WeaponRegisterBody(defaults=defaults, rows=rows)
        return self.make(WeaponRegister, issuer, defaults=body.defaults, rows=body.rows)

    def offer(self, issuer: str, to: str, *weapons: str, moves: str = "both", **details: Any) -> TransferOffer:
        """An offer that lasts for 10 days."""
        body = {"to": to, "weapons": tuple(sorted(weapons)), "moves": moves, **details}
        body.setdefault("expires_at", format_time(self.time_ms + 10 * DAY_MS))
        return self.make(TransferOffer, issuer, **body)

    def accept(self, issuer: str, transfer: str, *weapons: str) -> TransferAccept:
        """The acceptance of an offer."""
        return self.make(TransferAccept, issuer, transfer=transfer, weapons=tuple(sorted(weapons)))

    def decline(self, issuer: str, transfer: str, *weapons: str) -> TransferDecline:
        """The refusal of an offer."""
        return self.make(TransferDecline, issuer, transfer=transfer, weapons=tuple(sorted(weapons)))

    def cancel(self, issuer: str, transfer: str, *weapons: str) -> TransferCancel:
        """The withdrawal of an offer."""
        return self.make(TransferCancel, issuer, transfer=transfer, weapons=tuple(sorted(weapons)))

    def report(self, issuer: str, incident: str, *weapons: str, **details: Any) -> IncidentReport:
        """An incident that happened just now."""
        body = {"incident": incident, "weapons": tuple(sorted(weapons)), **details}
        body.setdefault("occurred_at", format_time(self.time_ms))
        return self.make(IncidentReport, issuer, **body)

    def correct(self, issuer: str, record: str, *weapons: str) -> CorrectionDeclare:
        """The declaration that a record did not occur."""
        return self.make(
            CorrectionDeclare, issuer, record=record, reason="did_not_occur", weapons=tuple(sorted(weapons))
        )

    def propose(self, issuer: str, change: Change, *, days: float = 30) -> ProposalOpen:
        """A proposal that expires in so many days."""
        expires_at = format_time(self.time_ms + int(days * DAY_MS))
        return self.make(ProposalOpen, issuer, change=change, expires_at=expires_at)

    def vote(self, issuer: str, proposal: str, vote: str = "for") -> ProposalVote:
        """A vote on a proposal."""
        return self.make(ProposalVote, issuer, proposal=proposal, vote=vote)

    def decide(self, change: Change, *parties: str) -> str:
        """A proposal that the first of these parties (by default the first members that make a quorum) opens and the
        others vote for; its id."""
        members = [member.party for member in self.validators().members]
        opener, *others = parties or members[: quorum(len(members))]
        proposal = self.submit(self.propose(opener, change))
        for party in others:
            self.submit(self.vote(party, proposal))
        return proposal

    # --- the ledger -------------------------------------------------------------------------------------------------

    @property
    def at(self) -> At:
        """The next record's place."""
        return At(index=self.index, time_ms=self.time_ms, height=self.height)

    def wait(self, time_ms: int) -> None:
        """A later block."""
        self.time_ms += time_ms
        self.height += 1

    def sign(self, record: Record, *keys: SigningKey) -> tuple[ParsedRecord, SignedRecord]:
        """The record, signed by the issuer's key (or `keys`) and verified under these keys."""
        own = self.governance if isinstance(record, ProposalOpen | ProposalVote) else self.keys
        signers = keys or (own[record.issuer],)
        parsed = parse_entry(sign_record(record, *signers))
        return parsed, verify_entry(parsed, tuple(key.public.hex() for key in signers))

    def submit(self, record: Record, *keys: SigningKey) -> str:
        """Check and apply a record; returns its id. Every document is read back from its canonical form."""
        parsed, signed = self.sign(record, *keys)
        working = WorkingSet(self.state, record, signed.id)
        check(working, signed, self.at)
        assert signers_of(working, record, self.time_ms) == signed.signers
        changes = apply(working, signed, self.at)
        assert changes.keys() <= working.documents.keys() | {StateKey("transfer", signed.id)}
        for key, document in changes.items():
            self.state[key] = decode_document(key.kind, encode_document(document))
            assert self.state[key] == document
        assert weapons_of(record) == tuple(key.id for key in changes if key.kind == "weapon")
        for weapon in weapons_of(record):
            self.history.setdefault(weapon, []).append((self.index, parsed))
        self.index += 1
        self.wait(10)
        return signed.id

    def refused(self, code: str, record: Record, *keys: SigningKey) -> RuleError:
        """Check that a record is refused by that rule, with words for the person who gets it."""
        _, signed = self.sign(record, *keys)
        with pytest.raises(RuleError) as caught:
            check(WorkingSet(self.state, record, signed.id), signed, self.at)
        error = caught.value
        assert error.code == code, str(error)
        assert error.message
        assert error.expected, f"{code} does not say what was expected"
        return error

    # --- looking ----------------------------------------------------------------------------------------------------

    def party(self, party: str) -> PartyDoc:
        """A party's document."""
        document = self.state[StateKey("party", party)]
        assert isinstance(document, PartyDoc)
        return document

    def key(self, key: SigningKey) -> KeyDoc:
        """A key's document."""
        document = self.state[StateKey("key", key.public.hex())]
        assert isinstance(document, KeyDoc)
        return document

    def weapon(self, weapon: str) -> WeaponDoc:
        """A weapon's document."""
        document = self.state[StateKey("weapon", weapon)]
        assert isinstance(document, WeaponDoc)
        return document

    def proposal(self, proposal: str) -> ProposalDoc:
        """A proposal's document."""
        document = self.state[StateKey("proposal", proposal)]
        assert isinstance(document, ProposalDoc)
        return document

    def parameters(self) -> ParametersDoc:
        """The parameters in force."""
        document = self.state[PARAMETERS_KEY]
        assert isinstance(document, ParametersDoc)
        return document

    def validators(self) -> ValidatorsDoc:
        """The epoch's validators."""
        document = self.state[VALIDATORS_KEY]
        assert isinstance(document, ValidatorsDoc)
        return document

    def transfer(self, transfer: str) -> TransferDoc:
        """A transfer's document."""
        document = self.state[StateKey("transfer", transfer)]
        assert isinstance(document, TransferDoc)
        return document


def trading_world() -> World:
    """A world with a maker of GLC, an importer of anything, two dealers (one abroad) and a police station."""
    world = World()
    world.submit(world.enrol("interior", "maker", "maker", makes=("GLC", "SW")))
    world.submit(world.enrol("interior", "importer", "importer", any_make=True))
    world.submit(world.enrol("interior", "dealer", "dealer"))
    world.submit(world.enrol("neighbour", "far-dealer", "dealer"))
    world.submit(world.enrol("police", "station", "police"))
    return world
