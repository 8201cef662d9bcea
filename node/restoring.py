"""Taking up where the stores ended: the epochs so far, the cosignatures that still count, the replica's durable image."""

import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger.consensus.certificates import verify_evidence
from ledger.consensus.durable import Durable
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import DurableRecord, Evidence, Finalize, Notarize, Nullify, kind_of, signed_bytes
from ledger.consensus.parameters import Parameters
from ledger.consensus.replica import Replica
from ledger.errors import CorruptionError, EncodingError, PeerError, SignatureError
from ledger.genesis import Genesis
from ledger.limits import ENTRY_NONCE_BYTES
from ledger.signing import SigningKey, is_valid
from ledger.state.model import (
    PARAMETERS_KEY,
    VALIDATORS_KEY,
    ParametersDoc,
    ValidatorsDoc,
    decode_document,
)
from node.cosigning import Cosigning, decode_cosignature
from node.execution.documents import Documents
from node.execution.opening import open_state
from node.execution.overlay import Overlay
from node.membership import Members
from node.storage import Head, LedgerReader, Stores
from node.timing import with_agreed

_HELP: Final = "Run `tracemark fsck DIR --repair`: it keeps a copy and mends from the log, or by the peers."


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger as the store has it. `epochs`: the validators of every epoch up to the current one. `agreed`: what all
    agencies agreed on by now; `times`: the replica's that follow from it."""

    head: Head
    base: Overlay
    documents: Documents
    epochs: tuple[Members, ...]
    agreed: ParametersDoc
    times: Parameters


def restore_ledger(genesis: Genesis, stores: Stores, cosigning: Cosigning) -> Restored:
    """Open the ledger, or begin it, and bring `cosigning` (which stands in epoch 0) to where it was.

    Raises:
        ConfigurationError: the stores hold another ledger.
        CorruptionError: what the stores hold is not what was written.
        StoreError: the stores failed.
    """
    head, base = open_state(genesis, stores.ledger, cosigning.cosign)
    documents = Documents(stores.ledger, base)
    found = documents.load([PARAMETERS_KEY, VALIDATORS_KEY], {})
    agreed, current = found[PARAMETERS_KEY], found[VALIDATORS_KEY]
    with stores.ledger.read() as reader:
        epochs = _restore_epochs(reader, genesis, head, cosigning)
    newest = epochs[-1]
    if not isinstance(agreed, ParametersDoc) or not isinstance(current, ValidatorsDoc):
        raise CorruptionError("the state has no parameters or no validators", help=_HELP)
    if (current.epoch, current.members) != (newest.epoch, newest.validators) or newest.epoch != head.epoch:
        raise CorruptionError(
            "the epochs that the store names are not those of the state",
            expected=f"epoch {current.epoch}",
            actual=f"epoch {newest.epoch}, and a floor in epoch {head.epoch}",
            help=_HELP,
        )
    _require_evidence(stores.votes.evidence(), genesis.chain_id, epochs)
    kept = [*stores.votes.cosignatures(), *stores.votes.closings()]
    cosigning.load(decode_cosignature(data) for _, _, data in kept)
    return Restored(
        head=head, base=base, documents=documents, epochs=tuple(epochs), agreed=agreed, times=with_agreed(agreed)
    )


def _restore_epochs(reader: LedgerReader, genesis: Genesis, head: Head, cosigning: Cosigning) -> list[Members]:
    """The validators of each epoch. Of the block boundaries, `cosigning` is told those that closed an epoch, and the newest:
    earlier ones could be counted, but no longer be shown."""
    epochs = [Members.of_genesis(genesis)]
    rows = reader.epochs()
    for row in rows:
        place = reader.place_at_height(row.height)
        if place is None or row.height > head.height:
            raise CorruptionError(f"the block that opened epoch {row.epoch} is missing", help=_HELP)
        if row.height == head.height:
            cosigning.committed(
                height=row.height, size=place.size, root=place.log_root, own=place.cosignature, closing=True
            )
        else:
            cosigning.restore_closing(height=row.height, size=place.size, root=place.log_root, own=place.cosignature)
        members = Members.of_document(_decode_validators(row.validators), place.digest)
        cosigning.open_epoch(members)
        epochs.append(members)
    if not rows or rows[-1].height < head.height:
        place = reader.place_at_height(head.height)
        own = None if place is None else place.cosignature
        cosigning.committed(height=head.height, size=head.size, root=head.log_root, own=own)
    return epochs


def _decode_validators(data: bytes) -> ValidatorsDoc:
    try:
        document = decode_document(VALIDATORS_KEY.kind, data)
    except EncodingError as error:
        raise CorruptionError(f"an epoch's validators cannot be read: {error.message}", help=_HELP) from error
    assert isinstance(document, ValidatorsDoc)
    return document


def restore_replica(
    genesis: Genesis, stores: Stores, restored: Restored, key: SigningKey, parameters: Parameters
) -> Replica:
    """The replica as it was at its last durable write (P3.4).

    Raises:
        CorruptionError: a consensus record cannot be read, or an own vote is not the one that was signed.
        StoreError: the stores failed.
    """
    epoch = _epoch_of(restored.epochs[-1])
    records = stores.votes.load()
    _require_own_votes(records, genesis.chain_id, epoch)
    return Replica.restore(
        chain=genesis.chain_id,
        key=key,
        epoch=epoch,
        parameters=parameters,
        durable=Durable(
            floor=restored.head.floor,
            records=records,
            signing_floor=stores.votes.signing_floor(),
        ),
        nonce=secrets.token_bytes(ENTRY_NONCE_BYTES),
        votes_suspect=stores.votes.votes_suspect(),
        votes_unasked=stores.votes.votes_unasked(),
    )


def _epoch_of(members: Members) -> Epoch:
    return Epoch(number=members.epoch, validators=members.consensus_keys, opening_digest=members.opening_digest)


def _require_evidence(kept: Iterable[Evidence], chain: bytes, epochs: Iterable[Members]) -> None:
    """Nobody is accused by what a damaged row says.

    Raises:
        CorruptionError: code `damaged_evidence`.
    """
    known = {members.epoch: _epoch_of(members) for members in epochs}
    for evidence in kept:
        first = evidence.first
        if first.epoch not in known:
            continue
        try:
            verify_evidence(chain, known[first.epoch], evidence)
        except (PeerError, SignatureError) as error:
            raise CorruptionError(
                f"the votes' database holds damaged evidence: of validator {first.signer} in view {first.view} of epoch "
                f"{first.epoch}",
                code="damaged_evidence",
                help="`tracemark fsck DIR --repair` drops it; no vote is lost with it.",
            ) from error


def _require_own_votes(records: Iterable[DurableRecord], chain: bytes, epoch: Epoch) -> None:
    """What the guard goes by is what was signed, not what a damaged row says (P4).

    Raises:
        CorruptionError: code `damaged_vote`.
    """
    for vote in records:
        if not isinstance(vote, Notarize | Nullify | Finalize) or vote.epoch != epoch.number:
            continue
        if vote.signer >= epoch.size or not is_valid(
            epoch.validators[vote.signer], signed_bytes(chain, vote), vote.signature
        ):
            raise CorruptionError(
                f"the votes' database holds a damaged vote: {kind_of(vote)} of epoch {vote.epoch}, view {vote.view}",
                code="damaged_vote",
                help="`tracemark fsck DIR --repair` drops it; the node then signs nothing until the others have shown where "
                "they stand.",
            )
