"""A toy ledger whose validators change: closing blocks, the epochs after them, and the steps that prove the changes."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ledger.answer import StateAnswer
from ledger.quorum import quorum
from ledger.state.model import VALIDATORS_KEY, Validator, ValidatorsDoc
from ledger.succession import SUCCESSION_FORMAT, Succession
from tests.toyledger import AGENCIES, ToyLedger
from tests.world import GENESIS, key_named

FIVE: Final = (*AGENCIES, "westmark")
SEVEN: Final = (*AGENCIES, "westmark", "xanthe", "yonder")
OTHERS: Final = ("maritime", "northern", "southern", "westmark")


def validators(epoch: int, parties: Sequence[str]) -> ValidatorsDoc:
    """The validators' document with everybody's keys of tests.world."""

    def public(party: str, role: str) -> str:
        return key_named(f"{party} {role}").public.hex()

    members = [
        Validator(
            party=party,
            consensus=public(party, "consensus"),
            cosigner=public(party, "cosigner"),
            governance=public(party, "governance"),
            log=public(party, "log"),
            transport=public(party, "transport"),
            ca=GENESIS.agencies[0].ca,
        )
        for party in parties
    ]
    return ValidatorsDoc(epoch=epoch, members=tuple(members))


class Changing(ToyLedger):
    """A ledger whose validators change: one block a change, its step kept."""

    def __init__(self) -> None:
        self.parties: tuple[str, ...] = AGENCIES
        self.epoch = 0
        super().__init__()
        self.steps: list[StateAnswer] = []
        self.notes: dict[int, list[bytes]] = {}
        self.note()

    def note(self) -> bytes:
        """The newest checkpoint, kept among those of its epoch."""
        note = self.checkpoint()
        self.notes.setdefault(self.epoch, []).append(note)
        return note

    def checkpoint(self, size: int | None = None, *, log: str = "", cosigners: Sequence[str] = ()) -> bytes:
        """As of a toy ledger; by default signed and cosigned by the first q of the epoch's validators."""
        own = self.parties[: quorum(len(self.parties))]
        return super().checkpoint(size, log=log or self.parties[0], cosigners=cosigners or own)

    def seal(self, **changes: object) -> int:
        """As of a toy ledger, in the current epoch."""
        return super().seal(**{"epoch": self.epoch, **changes})

    def change(self, parties: Sequence[str], *, epoch: int | None = None, cosigners: Sequence[str] = ()) -> None:
        """Close the epoch by a block that appoints these; its step is cosigned by the old quorum, or by `cosigners`."""
        self.state[VALIDATORS_KEY] = validators(self.epoch + 1 if epoch is None else epoch, parties)
        self.seal()
        answer = self.answer(VALIDATORS_KEY.kind, VALIDATORS_KEY.id)
        note = self.checkpoint(cosigners=cosigners)
        self.notes.setdefault(self.epoch, []).append(note)
        self.steps.append(msgspec.structs.replace(answer, checkpoint=note.decode()))
        self.epoch, self.parties = self.epoch + 1, tuple(parties)
        self.seal()
        self.note()

    @property
    def succession(self) -> Succession:
        """All changes so far."""
        return Succession(format=SUCCESSION_FORMAT, steps=tuple(self.steps))
