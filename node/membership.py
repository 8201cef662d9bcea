"""Who takes part: the validators of each epoch, and who else may be linked to this node (PROTOCOL P8).

Everything in the node names other agencies by party. Only the replica counts in numbers, which change with the epoch:
`Roster.number_of` and `party_of` are where the driver translates.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import msgspec

from ledger.genesis import Agency, Genesis
from ledger.quorum import quorum
from ledger.state.model import Validator, ValidatorsDoc
from ledger.state.validators import consensus_keys, validator_of


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to know an agency's node by when it is met: its transport key (hex) and its TLS authority (base64 of
    the CA certificate's DER)."""

    party: str
    transport: str
    ca: str


class Members(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The validators of one epoch in their order, and the digest that opened it (P1.2)."""

    epoch: int
    validators: tuple[Validator, ...]
    opening_digest: bytes

    @staticmethod
    def of_genesis(genesis: Genesis) -> "Members":
        """Epoch 0."""
        validators = tuple(map(validator_of, genesis.agencies))
        return Members(epoch=0, validators=validators, opening_digest=genesis.chain_id)

    @staticmethod
    def of_document(document: ValidatorsDoc, opening_digest: bytes) -> "Members":
        """The epoch that a block with this digest opened by writing this document."""
        return Members(epoch=document.epoch, validators=document.members, opening_digest=opening_digest)

    @cached_property
    def parties(self) -> tuple[str, ...]:
        """The validators' names in order."""
        return tuple(validator.party for validator in self.validators)

    @cached_property
    def consensus_keys(self) -> tuple[bytes, ...]:
        """Their consensus keys in order."""
        return consensus_keys(ValidatorsDoc(epoch=self.epoch, members=self.validators))

    @property
    def quorum(self) -> int:
        """How many of them decide."""
        return quorum(len(self.validators))

    def index_of(self, party: str) -> int | None:
        """A validator's number, or None if the party is no member."""
        return self.parties.index(party) if party in self.parties else None


class Roster:
    """The epochs up to the current one, and the observers that the operator lets in. Lives on the event loop."""

    def __init__(self, party: str, epochs: Sequence[Members], observers: Iterable[Agency] = ()) -> None:
        """`party`: this node's own. `epochs`: all so far, in order; at least the first."""
        self._party = party
        self._epochs = list(epochs)
        self._observers = {
            agency.party: Contact(party=agency.party, transport=agency.node.transport.public, ca=agency.ca)
            for agency in observers
        }
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    @property
    def party(self) -> str:
        """This node's agency."""
        return self._party

    @property
    def members(self) -> Members:
        """The current epoch's."""
        return self._epochs[-1]

    @property
    def epochs(self) -> tuple[Members, ...]:
        """All so far, in order."""
        return tuple(self._epochs)

    @property
    def is_member(self) -> bool:
        """Whether this node's agency is a validator now."""
        return self.members.index_of(self._party) is not None

    @property
    def observers(self) -> tuple[str, ...]:
        """The agencies that the operator lets in and that are no validators now, sorted."""
        return tuple(sorted(party for party in self._observers if self.members.index_of(party) is None))

    def open(self, members: Members) -> None:
        """The next epoch begins."""
        assert members.epoch == self.members.epoch + 1
        self._epochs.append(members)

    def contacts(self) -> dict[str, Contact]:
        """Whom this node links to, by party: the validators of this epoch; those of earlier ones, as they were last (P8.3:
        they may have missed its end); and the listed observers. Only a current validator's current keys will do."""
        found: dict[str, Contact] = {}
        for members in self._epochs[:-1]:
            found.update(_contacts(members))
        found.update(self._observers)
        found.update(_contacts(self.members))
        found.pop(self._party, None)
        return found

    def number_of(self, party: str) -> int:
        """The replica's number for an agency: its place in the epoch, else a negative one that stays."""
        index = self.members.index_of(party)
        if index is not None:
            return index
        if party not in self._numbers:
            number = -1 - len(self._numbers)
            self._numbers[party] = number
            self._names[number] = party
        return self._numbers[party]

    def party_of(self, number: int) -> str | None:
        """The agency that the replica means by a number now."""
        parties = self.members.parties
        return parties[number] if 0 <= number < len(parties) else self._names.get(number)


def _contacts(members: Members) -> dict[str, Contact]:
    return {
        validator.party: Contact(party=validator.party, transport=validator.transport, ca=validator.ca)
        for validator in members.validators
    }
