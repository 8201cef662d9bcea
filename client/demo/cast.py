"""Who takes part in the demonstration: the agencies, a maker, an importer, a dealer; their keys and their sessions.

All of them are invented. Parties' keys are made afresh in memory; the agencies' record keys are read from the throw-away
network's own files, as an officer of each agency would.
"""

import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from client.author import Author
from client.files import read_secret
from client.localnet import LocalNetwork
from client.session import Session
from ledger.keyfile import unseal
from ledger.limits import MAX_KEY_FILE_BYTES
from ledger.policy import Policy
from ledger.records import PartyEnrol
from ledger.records.envelope import prove_possession
from ledger.records.fields import PartyRole
from ledger.records.membership import PartyEnrolBody
from ledger.signing import SEED_BYTES, SigningKey

INTERIOR: Final = "interior"
CUSTOMS: Final = "customs"
POLICE: Final = "police"
NEIGHBOUR: Final = "neighbour"
AGENCIES: Final = (INTERIOR, CUSTOMS, POLICE, NEIGHBOUR)

MAKER: Final = "aldane-arms"
IMPORTER: Final = "meridian-import"
DEALER: Final = "harbour-dealer"

CASE: Final = "DEMO-2026-001"


class Cast:
    """Everybody, with what each needs to sign and to ask. A context manager; leaving it closes the sessions."""

    def __init__(self, network: LocalNetwork, *, home: Path) -> None:
        self._network = network
        self._home = home
        self._stack = ExitStack()
        self._authors: dict[str, Author] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self.policy = Policy.parse(network.policy.read_text())

    def session(self, agency: str, *, party: str, role: str = "holder") -> Session:
        """The party's session with the agency's node."""
        if (agency, party) not in self._sessions:
            token = self._network.new_token(agency, party=party, role=role)
            session = Session(
                [self._network.url(agency)],
                policy=self.policy,
                home=self._home / f"{party}-at-{agency}",
                ca=self._network.authorities,
                token=token.read_text().strip(),
                purpose="demonstration" if role == "inquirer" else None,
                case=CASE if role == "inquirer" else None,
            )
            self._sessions[agency, party] = self._stack.enter_context(session)
        return self._sessions[agency, party]

    def author(self, party: str) -> Author:
        """Who signs for the party: an agency's record key from its files, a party's own made now."""
        if party not in self._authors:
            ledger = self.session(INTERIOR, party=INTERIOR, role="inquirer").ledger_id()
            key = self._agency_key(party) if party in AGENCIES else SigningKey(secrets.token_bytes(SEED_BYTES))
            self._authors[party] = Author(party, key, ledger=ledger)
        return self._authors[party]

    def enrolment(
        self,
        party: str,
        *,
        sponsor: str,
        name: str,
        role: PartyRole,
        makes: tuple[str, ...] = (),
    ) -> bytes:
        """The entry by which the sponsoring agency enrols a party."""
        author = self.author(party)
        genesis = self.session(INTERIOR, party=INTERIOR, role="inquirer").genesis()
        jurisdiction = next(agency.jurisdiction for agency in genesis.agencies if agency.party == sponsor)
        body = PartyEnrolBody(
            party=party,
            name=name,
            roles=(role,),
            jurisdiction=jurisdiction,
            makes=makes,
            key=prove_possession(author.key, ledger=author.ledger, party=party, role="record"),
        )
        return self.author(sponsor).issue(PartyEnrol, body)

    def _agency_key(self, agency: str) -> SigningKey:
        folder = self._network.folder / agency
        passphrase = read_secret(folder / "passphrase", limit=MAX_KEY_FILE_BYTES, what="passphrase").strip()
        seeds = unseal(read_secret(folder / "keys.sealed", limit=MAX_KEY_FILE_BYTES, what="key file"), passphrase)
        return SigningKey(seeds[f"{agency}/record"])

    def __enter__(self) -> "Cast":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
