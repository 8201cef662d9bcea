"""Whether a node that begins empty is one that began before: on a new disk, or on one that was not mounted (PROTOCOL P7.5).

Such a node has a validator's key and none of its votes, and cannot tell so by itself. The others show what is final: nothing
that they say is believed but epochs proved from the genesis document on, and finalizations by those epochs' validators.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from ledger.anchor import first_epoch, follow_epochs
from ledger.consensus.certificates import verify_certificate
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate
from ledger.errors import TracemarkError
from ledger.genesis import Genesis
from ledger.quorum import quorum
from ledger.state.model import VALIDATORS_KEY, Validator, ValidatorsDoc, decode_document
from ledger.state.transition import genesis_state
from ledger.state.validators import member
from node.clock import Clock
from node.config import NodeConfig
from node.joining.pipeline import UNBELIEVED
from node.joining.survey import SURVEY_PATIENCE_S, contacts_of, fetch_steps
from node.peers.catchup import PATH as BLOCKS_PATH
from node.peers.catchup import decode_page
from node.peers.pages import PageClient, PageFetcher

_FIRST_PAUSE_MS: Final = 200
_LONGEST_PAUSE_MS: Final = 5_000
_LOG: Final = structlog.get_logger("node.joining")


async def may_have_voted(
    genesis: Genesis, party: str, client: PageFetcher, parties: Collection[str], *, patience_s: float
) -> bool | None:
    """Whether one of `parties` shows that `party` is a validator of the newest epoch, and that a block of it is final or an
    earlier epoch was closed with this validator's key; or that it was one and is none now. None where too few show anything.

    One that shows it is believed; that there is nothing, only q - 1 of the founders (or all that can be asked) together: one
    may be behind, or begin empty, too. What was final once was so by q - 1 others at least; f or more of them are asked, of
    whom, this node's loss being one fault, at most f - 1 lie. Without q - 1 others nothing could be decided anyway.

    While no block is final, agencies that were voted in before their nodes first began must be believed to begin: where the
    quorum needs them, they could else never vote, each waiting for the others' word. Once one is, a quorum is there to give
    it. With a key that it was given since, an agency begins.
    """

    async def ask_one(asked: str) -> bool | None:
        try:
            async with asyncio.timeout(patience_s):
                return await _shown_by(genesis, party, client, asked)
        except (TimeoutError, *UNBELIEVED) as error:
            reason = error.message if isinstance(error, TracemarkError) else "no answer in time"
            _LOG.info("a node does not show where the ledger is", peer=asked, reason=reason)
            return None

    shown = [each for each in await asyncio.gather(*map(ask_one, parties)) if each is not None]
    if any(shown):
        return True
    needed = min(quorum(len(genesis.agencies)) - 1, len(parties))
    return False if 0 < needed <= len(shown) else None


def whom_to_ask(config: NodeConfig, genesis: Genesis) -> tuple[str, ...]:
    """The founders whose nodes' addresses are known."""
    return tuple(sorted(contacts_of(genesis, config.party).keys() & config.peers.addresses.keys()))


async def ask_the_others(config: NodeConfig, genesis: Genesis) -> bool | None:
    """`may_have_voted`, by the founders' nodes that can be asked."""
    async with PageClient(config.peers.addresses, config.tls) as client:
        client.set_contacts(contacts_of(genesis, config.party))
        parties = client.reachable()
        return await may_have_voted(genesis, config.party, client, parties, patience_s=SURVEY_PATIENCE_S)


async def ask_until_shown(ask: Callable[[], Awaitable[bool | None]], clock: Clock) -> bool:
    """Ask, such as by `ask_the_others`, again and again until somebody has shown it."""
    pause_ms = _FIRST_PAUSE_MS
    while True:
        try:
            shown = await ask()
        except (TracemarkError, OSError) as error:  # a certificate that is just being replaced, say
            _LOG.error("the others could not be asked", reason=str(error))
            shown = None
        if shown is not None:
            return shown
        await clock.sleep_ms(pause_ms)
        pause_ms = min(2 * pause_ms, _LONGEST_PAUSE_MS)


async def _shown_by(genesis: Genesis, party: str, client: PageFetcher, asked: str) -> bool:
    epoch, opened_at = first_epoch(genesis), 0
    document, was_member = genesis_state(genesis)[VALIDATORS_KEY], False
    closed_with: set[str] = set()
    while steps := await fetch_steps(client, asked, epoch.number + 1):
        epoch = (await asyncio.to_thread(follow_epochs, genesis.chain_id, epoch, steps))[-1]
        for step in steps:
            validator = _member(document, party)
            was_member |= validator is not None
            if validator is not None and validator.party in _signers(document, step.certificate):
                closed_with.add(validator.consensus)
            document, opened_at = decode_document(VALIDATORS_KEY.kind, step.validators), step.block.header.height
    now = _member(document, party)
    if now is None:
        return was_member
    return now.consensus in closed_with or await _is_going_on(genesis, epoch, opened_at, client, asked)


def _member(document: object, party: str) -> Validator | None:
    assert isinstance(document, ValidatorsDoc)  # proved to be
    return member(document, party)


def _signers(document: object, certificate: Certificate) -> set[str]:
    assert isinstance(document, ValidatorsDoc)
    return {document.members[signer].party for signer, _ in certificate.signatures}


async def _is_going_on(genesis: Genesis, epoch: Epoch, opened_at: int, client: PageFetcher, asked: str) -> bool:
    """Whether something is final in an epoch that began after the block at `opened_at`."""
    data = await client.fetch(asked, BLOCKS_PATH, **{"from": opened_at + 1, "count": 1})
    certificates = [certificate for _, certificate in decode_page(data, opened_at + 1, 1)]
    for certificate in certificates:
        verify_certificate(genesis.chain_id, epoch, certificate)
    return any(certificate.kind == "finalization" for certificate in certificates)
