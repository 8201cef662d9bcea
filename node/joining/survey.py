"""What there is to join: every node is asked who came after the genesis document's validators, and for the anchor of its
newest snapshot; the longest log that those validators vouch for is chosen (PROTOCOL P7.3, P8.3)."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from ledger.anchor import Anchored, EpochStep, SnapshotAnchor, first_epoch, follow_epochs, verify_anchor
from ledger.consensus.epoch import Epoch
from ledger.errors import PeerError, VerificationError
from ledger.genesis import Genesis
from ledger.limits import MAX_EPOCH_STEPS, MAX_SUCCESSION_STEPS
from ledger.snapshot import SnapshotManifest
from ledger.state.model import ValidatorsDoc, decode_document
from node.joining.pipeline import UNBELIEVED
from node.joining.sources import Sources
from node.membership import Contact, Members, Roster
from node.peers.pages import PageFetcher
from node.snapshots.pages import ANCHOR_PATH, EPOCHS_PATH

T = TypeVar("T")

SURVEY_PATIENCE_S: Final = 5.0
"""How long another node has to show what there is to join, before this one goes on without its word."""
_STEPS: Final = msgspec.msgpack.Decoder(Annotated[tuple[EpochStep, ...], Meta(max_length=MAX_EPOCH_STEPS)])
_ANCHORS: Final = msgspec.msgpack.Decoder(SnapshotAnchor)


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a node showed: an anchor, and how each epoch after the first began."""

    anchor: SnapshotAnchor
    steps: tuple[EpochStep, ...]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that the validators vouch for, with what shows that they do."""

    shown: Shown
    anchored: Anchored
    epochs: dict[int, Epoch]

    @property
    def manifest(self) -> SnapshotManifest:
        """What the ledger was then."""
        return self.anchored.manifest


def verify_shown(genesis: Genesis, shown: Shown) -> Target:
    """The snapshot, if what was shown of it holds.

    Raises:
        VerificationError: codes `bad_epoch_step`, `bad_anchor`.
    """
    first = first_epoch(genesis)
    return _anchored(genesis, shown, [first, *follow_epochs(genesis.chain_id, first, shown.steps)])


def _anchored(genesis: Genesis, shown: Shown, epochs: Sequence[Epoch]) -> Target:
    """`epochs`: believed, from the first on, as `shown` proves them."""
    by_number = {epoch.number: epoch for epoch in epochs}
    return Target(shown=shown, anchored=verify_anchor(genesis.chain_id, by_number, shown.anchor), epochs=by_number)


async def survey(
    genesis: Genesis, client: PageFetcher, sources: Sources, *, patience_s: float = SURVEY_PATIENCE_S
) -> Target | None:
    """The longest snapshot that any node shows within this time; None where none does, or none can be reached."""

    async def ask_one(party: str) -> Target | None:
        try:
            async with asyncio.timeout(patience_s):
                return await _fetch_target(genesis, client, party)
        except TimeoutError:  # one that is stuck must not keep the others' from being chosen
            sources.failed(party, PeerError("no snapshot is shown in time", code="unreachable", actual=party))
            return None
        except UNBELIEVED as error:
            sources.failed(party, error)
            return None

    found = await asyncio.gather(*map(ask_one, sources.left))
    return max((each for each in found if each is not None), key=lambda each: each.manifest.size, default=None)


async def _fetch_target(genesis: Genesis, client: PageFetcher, party: str) -> Target:
    """What one node shows. Each page of epochs is verified before the next is asked for: nothing is held that is not of the
    ledger, however much a node sends.

    Raises:
        PeerError: a page cannot be had.
        VerificationError: codes `bad_epoch_step`, `bad_anchor`.
    """
    anchor = decoded(_ANCHORS, await client.fetch(party, ANCHOR_PATH))
    last = anchor.headers[-1].epoch
    if last > MAX_SUCCESSION_STEPS:
        raise VerificationError(
            "the anchor is of an epoch that no succession leads to",
            code="bad_anchor",
            expected=f"at most {MAX_SUCCESSION_STEPS}",
            actual=last,
        )
    steps: list[EpochStep] = []
    epochs = [first_epoch(genesis)]
    while epochs[-1].number < last:
        page = await fetch_steps(client, party, epochs[-1].number + 1)
        if not page:
            break
        epochs += await asyncio.to_thread(follow_epochs, genesis.chain_id, epochs[-1], page)
        steps += page
    return await asyncio.to_thread(_anchored, genesis, Shown(anchor=anchor, steps=tuple(steps)), epochs)


async def fetch_steps(client: PageFetcher, party: str, number: int) -> tuple[EpochStep, ...]:
    """How the epochs from this number on began, as many as come at once; none where the party knows of no such epoch.

    Raises:
        PeerError: it cannot be had.
    """
    return decoded(_STEPS, await client.fetch(party, EPOCHS_PATH, **{"from": number}))


def contacts_of(genesis: Genesis, party: str, target: Target | None = None) -> dict[str, Contact]:
    """Whom `party` may ask: the validators of the newest epoch shown, and those of all before it."""
    epochs = [Members.of_genesis(genesis)]
    for step in target.shown.steps if target is not None else ():
        document = decode_document("validators", step.validators)
        assert isinstance(document, ValidatorsDoc)  # proved to be: `follow_epochs`
        epochs.append(Members.of_document(document, step.block.digest))
    return Roster(party, epochs).contacts()


def decoded(decoder: "msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    """A page's value.

    Raises:
        PeerError: code `bad_page`.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerError(f"not a page that can be read: {error}", code="bad_page") from error
