"""What ties a snapshot to the validators (PROTOCOL P7.2, P7.3, P8.3): from a finalization down to the manifest, and from the
genesis document up to whoever signed it.

An anchor is a finalization, the headers from the block it is of down to the block whose seal names the snapshot, that seal
and the manifest. Whose finalization counts is shown by *epoch steps*: of each epoch that ended, the closing block with its
finalization by that epoch's validators, and the validators' document that it wrote with its proof under the state root of
the block's seal. So nothing is believed but the genesis document.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from ledger.block import Block, BlockHeader, check_block, decode_seal
from ledger.consensus.certificates import verify_certificate
from ledger.consensus.epoch import Epoch
from ledger.consensus.messages import Certificate
from ledger.errors import EncodingError, PeerError, SignatureError, TracemarkError, VerificationError
from ledger.genesis import Genesis
from ledger.limits import MAX_ANCHOR_BLOCKS, MAX_DOCUMENT_BYTES, MAX_ENTRY_BYTES, MAX_SNAPSHOT_MANIFEST_BYTES
from ledger.snapshot import SnapshotManifest, decode_manifest
from ledger.state.model import VALIDATORS_KEY, ValidatorsDoc, decode_document
from ledger.state.validators import consensus_keys
from ledger.statetree import StateProof, verify_state


class EpochStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an epoch after the first began: the block that closed the one before, its finalization, the validators' document
    that it wrote (canonical JSON), and that document's proof under the block's state root."""

    block: Block
    certificate: Certificate
    validators: Annotated[bytes, Meta(max_length=MAX_DOCUMENT_BYTES)]
    proof: StateProof


class SnapshotAnchor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`manifest` and `seal` as they are hashed; `headers` with rising heights, the first of the block of that seal, the last
    of the block that `certificate` finalizes."""

    manifest: Annotated[bytes, Meta(max_length=MAX_SNAPSHOT_MANIFEST_BYTES)]
    seal: Annotated[bytes, Meta(max_length=MAX_ENTRY_BYTES)]
    headers: Annotated[tuple[BlockHeader, ...], Meta(min_length=2, max_length=MAX_ANCHOR_BLOCKS)]
    certificate: Certificate


class Anchored(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that the validators vouch for. `digest`: of the block after which it was taken; `epoch`: whose validators
    finalized a block above it."""

    manifest: SnapshotManifest
    digest: bytes
    epoch: Epoch


def first_epoch(genesis: Genesis) -> Epoch:
    """The epoch that the genesis document opens."""
    keys = tuple(bytes.fromhex(agency.node.consensus.public) for agency in genesis.agencies)
    return Epoch(number=0, validators=keys, opening_digest=genesis.chain_id)


def follow_epochs(chain: bytes, epoch: Epoch, steps: Iterable[EpochStep]) -> list[Epoch]:
    """The epochs that follow `epoch`, one for each step.

    Args:
        chain: the ledger's chain id.
        epoch: believed already.
        steps: one for each epoch change after it, in their order.

    Raises:
        VerificationError: code `bad_epoch_step`: a step does not lead from one epoch to the next.
    """
    epochs: list[Epoch] = []
    for step in steps:
        try:
            epoch = _next_epoch(chain, epoch, step)
        except (EncodingError, SignatureError, PeerError) as error:
            raise _bad_step(epoch, error) from error
        epochs.append(epoch)
    return epochs


def _next_epoch(chain: bytes, epoch: Epoch, step: EpochStep) -> Epoch:
    header = step.block.header
    check_block(step.block)
    _require_finalized(chain, epoch, step.certificate, header)
    state_root = bytes.fromhex(decode_seal(step.block.seal).state_root)
    verify_state(state_root, VALIDATORS_KEY.kind, VALIDATORS_KEY.id, step.validators, step.proof)
    document = decode_document(VALIDATORS_KEY.kind, step.validators)
    assert isinstance(document, ValidatorsDoc)
    if document.epoch != epoch.number + 1:
        raise EncodingError("the document is of another epoch", expected=epoch.number + 1, actual=document.epoch)
    return Epoch(number=document.epoch, validators=consensus_keys(document), opening_digest=header.digest)


def verify_anchor(chain: bytes, epochs: dict[int, Epoch], anchor: SnapshotAnchor) -> Anchored:
    """Verify that the validators of one of these epochs finalized a block above the one whose seal names the snapshot.

    Raises:
        VerificationError: code `bad_anchor`.
    """
    top = anchor.headers[-1]
    epoch = epochs.get(top.epoch)
    if epoch is None:
        raise _bad_anchor("the anchor is of an epoch that is not shown", expected=sorted(epochs), actual=top.epoch)
    try:
        _require_finalized(chain, epoch, anchor.certificate, top)
        seal, manifest = decode_seal(anchor.seal), decode_manifest(anchor.manifest)
    except (EncodingError, SignatureError, PeerError) as error:
        raise _bad_anchor(error.message, expected=error.expected, actual=error.actual) from error
    for below, above in pairwise(anchor.headers):
        if above.parent_digest != below.digest or above.height != below.height + 1:
            raise _bad_anchor("the anchor's headers are no chain", expected=below.digest.hex())
    first, second = anchor.headers[:2]
    seal_hash = hashlib.sha256(anchor.seal).digest()
    if second.parent_seal != seal_hash or seal.height != first.height:
        raise _bad_anchor("the seal is not the one that the next block names", expected=second.parent_seal.hex())
    if seal.snapshot != manifest.hash or manifest.height + 1 != seal.height:
        raise _bad_anchor("the seal names another snapshot", expected=seal.snapshot, actual=manifest.hash)
    if manifest.seal != first.parent_seal.hex():
        raise _bad_anchor("the manifest names another seal than the block after it", expected=first.parent_seal.hex())
    return Anchored(manifest=manifest, digest=first.parent_digest, epoch=epoch)


def _require_finalized(chain: bytes, epoch: Epoch, certificate: Certificate, header: BlockHeader) -> None:
    """The certificate is the epoch's finalization of this very block.

    Raises:
        EncodingError, PeerError, SignatureError: it is not.
    """
    if certificate.kind != "finalization" or certificate.proposal is None or header.chain != chain:
        raise EncodingError("not a finalization of this ledger", actual=certificate.kind)
    if certificate.proposal.digest != header.digest or header.epoch != epoch.number:
        raise EncodingError("the finalization is of another block", expected=header.digest.hex())
    verify_certificate(chain, epoch, certificate)


def _bad_step(epoch: Epoch, error: TracemarkError) -> VerificationError:
    return VerificationError(
        f"it is not shown who came after epoch {epoch.number}: {error.message}",
        code="bad_epoch_step",
        expected=error.expected,
        actual=error.actual,
    )


def _bad_anchor(message: str, *, expected: object = None, actual: object = None) -> VerificationError:
    return VerificationError(message, code="bad_anchor", expected=expected, actual=actual)
