"""The succession of validators as this node can prove it (`ledger.succession`): one step for each epoch that has closed.

What the store kept when an epoch closed (the new validators' document and its proof) and the cosignatures by the validators
it sent away make a step. A step never changes once it is made: it is kept, and made again only after a restart.
"""

import asyncio
from collections.abc import Sequence

from ledger.answer import StateAnswer, build_state_answer
from ledger.errors import CorruptionError
from ledger.limits import MAX_SUCCESSION_STEPS
from ledger.merkle.proof import inclusion_proof
from ledger.proof import ProofHead
from ledger.state.model import VALIDATORS_KEY
from ledger.succession import SUCCESSION_FORMAT, Succession
from node.cosigning import CosignedCheckpoint, Cosigning
from node.storage import LedgerStore


class SuccessionBook:
    """Makes the steps. `current` belongs to the event loop."""

    def __init__(self, store: LedgerStore, cosigning: Cosigning) -> None:
        self._store = store
        self._cosigning = cosigning
        self._steps: tuple[StateAnswer, ...] = ()

    async def current(self) -> Succession:
        """All steps from the genesis document on, up to the first whose quorum of cosignatures this node lacks.

        Raises:
            StoreError: the store could not be read; CorruptionError if it lacks what it kept.
        """
        closings = self._cosigning.closings()[:MAX_SUCCESSION_STEPS]
        if len(closings) > len(self._steps):
            made = await asyncio.to_thread(self._make, closings[len(self._steps) :], len(self._steps))
            if len(self._steps) + len(made) == len(closings):  # else another request was faster
                self._steps += made
        return Succession(format=SUCCESSION_FORMAT, steps=self._steps)

    def _make(self, closings: Sequence[CosignedCheckpoint], start: int) -> tuple[StateAnswer, ...]:
        steps = []
        with self._store.read() as reader:
            rows = reader.epochs()[start : start + len(closings)]
            for closing, row in zip(closings, rows, strict=True):
                seal = reader.entry(closing.size - 1)
                if seal is None or row.height != closing.height:
                    raise CorruptionError(
                        f"what closed epoch {closing.epoch} is not where the store says",
                        expected=f"height {closing.height}",
                        actual=f"height {row.height}",
                    )
                hashes = inclusion_proof(closing.size - 1, closing.size, reader.node)
                head = ProofHead(index=closing.size - 1, hashes=tuple(hashes)).to_bytes().decode("ascii")
                steps.append(
                    build_state_answer(
                        id=VALIDATORS_KEY.id,
                        document=row.validators,
                        proof=row.proof,
                        seal=(seal, head),
                        checkpoint=self._cosigning.evidence_note(closing).decode(),
                    )
                )
        return tuple(steps)
