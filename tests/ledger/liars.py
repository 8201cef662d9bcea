"""Evidence at will: an agency's votes and cosignatures of anything, in the world of `tests.world`."""

from collections.abc import Sequence

from ledger.checkpoint import Checkpoint, Cosigner, SignedCheckpoint, cosigned_message, sign_checkpoint
from ledger.evidence import cosigned_fork, equivocation
from ledger.genesis import Genesis
from ledger.notes import NoteSigner
from ledger.records.evidence import CosignedFork, Equivocation
from ledger.signing import SigningKey
from ledger.vote import VoteKind, signed_vote
from tests.world import GENESIS, node_key

Said = tuple[VoteKind, tuple[int, bytes] | None]
X, Y = (0, b"x" * 32), (0, b"y" * 32)
TWO_PROPOSALS: tuple[Said, Said] = (("notarize", X), ("notarize", Y))


def double_vote(
    party: str = "customs",
    said: tuple[Said, Said] = TWO_PROPOSALS,
    *,
    epoch: int = 0,
    view: int = 7,
    key: SigningKey | None = None,
    genesis: Genesis = GENESIS,
) -> Equivocation:
    """Two votes of one view under the agency's consensus key, or another."""
    signer = key or node_key(party, "consensus")
    first, second = (
        (kind, proposal, signer.sign(signed_vote(genesis.chain_id, kind, epoch, view, proposal)))
        for kind, proposal in said
    )
    return equivocation(
        ledger=genesis.ledger_id,
        chain=genesis.chain_id,
        party=party,
        public=signer.public,
        epoch=epoch,
        view=view,
        votes=(first, second),
    )


def checkpoint(name: str, *, size: int = 5, genesis: Genesis = GENESIS) -> Checkpoint:
    """A checkpoint whose root is the name, repeated."""
    return Checkpoint(origin=genesis.origin, size=size, root=name.encode() * 32)


def double_root(
    party: str = "customs",
    *,
    size: int = 5,
    names: Sequence[str] = ("r", "s"),
    key: SigningKey | None = None,
    genesis: Genesis = GENESIS,
) -> CosignedFork:
    """Two cosignatures of one size under the agency's cosigner key, or another."""
    signer = key or node_key(party, "cosigner")
    first, second = (
        (
            checkpoint(name, size=size, genesis=genesis).text,
            1_700_000_000 + at,
            signer.sign(cosigned_message(checkpoint(name, size=size, genesis=genesis).text, 1_700_000_000 + at)),
        )
        for at, name in enumerate(names)
    )
    return cosigned_fork(
        ledger=genesis.ledger_id, party=party, public=signer.public, size=size, cosignatures=(first, second)
    )


def signed_note(name: str, *, log: str, cosigners: Sequence[str], size: int = 5, time_s: int = 9) -> SignedCheckpoint:
    """A checkpoint signed by the log key of one agency's node and cosigned by others."""
    plain = checkpoint(name, size=size)
    lines = [sign_checkpoint(plain, NoteSigner(GENESIS.origin, node_key(log, "log")))]
    lines += [
        Cosigner(f"{GENESIS.origin}/{party}", node_key(party, "cosigner")).sign(plain.text, time_s=time_s)
        for party in cosigners
    ]
    return SignedCheckpoint.of(plain, lines)
