"""What the node says of itself and of the network."""

from importlib.metadata import version
from typing import Final

from msgspec import UNSET

from node.progress import Progress
from node.service.answers import CosignedStatus, Finding, NetworkAnswer, PeerAnswer, ProgressStatus
from node.service.ports import PeerStatus
from node.service.services import Services

SOFTWARE: Final = version("tracemark")


def network(services: Services, *, known: bool) -> NetworkAnswer:
    """The network as this node sees it; who is connected, what is pending and how the node gets on only to those who are
    `known`: callers with a token, and this machine's."""
    status = services.node.status()
    genesis = services.genesis
    return NetworkAnswer(
        ledger=genesis.ledger_id,
        genesis=genesis.chain_id.hex(),
        agency=services.party,
        software=SOFTWARE,
        protocol=status.version,
        epoch=status.epoch,
        validator=status.is_validator,
        height=status.height,
        size=status.size,
        root=status.log_root.hex(),
        state_root=status.state_root.hex(),
        ready=not status.reasons,
        cosigned=UNSET
        if status.cosigned is None
        else CosignedStatus(height=status.cosigned[0], size=status.cosigned[1]),
        reasons=status.reasons if known else UNSET,
        validators=tuple(map(_peer, status.validators)) if known else UNSET,
        others=tuple(map(_peer, status.others)) if known else UNSET,
        pending=status.pending if known else UNSET,
        progress=_progress(status.progress) if known else UNSET,
    )


def _peer(peer: PeerStatus) -> PeerAnswer:
    return PeerAnswer(party=peer.party, connected=peer.connected, height=UNSET if peer.height is None else peer.height)


def _progress(progress: Progress) -> ProgressStatus:
    return ProgressStatus(
        state=progress.state,
        summary=progress.summary,
        findings=tuple(
            Finding(code=each.code, text=each.text, help=UNSET if each.help is None else each.help, blocks=each.blocks)
            for each in progress.findings
        ),
        validators=progress.validators,
        reachable=progress.reachable,
        needed=progress.needed,
        missing=progress.missing,
        last_block_s=progress.last_block_s,
        pending_s=UNSET if progress.pending_s is None else progress.pending_s,
        behind=progress.behind,
        blocks_per_s=progress.blocks_per_s,
        level_in_s=UNSET if progress.level_in_s is None else progress.level_in_s,
        disk_free_bytes=UNSET if progress.disk_free_bytes is None else progress.disk_free_bytes,
        clock_off_s=UNSET if progress.clock_off_s is None else progress.clock_off_s,
    )
