"""What the node says of itself and of the network."""

from importlib.metadata import version
from typing import Final

from msgspec import UNSET

from node.service.access import Caller
from node.service.answers import CosignedStatus, NetworkAnswer, ValidatorStatus
from node.service.ports import PeerStatus
from node.service.services import Services

SOFTWARE: Final = version("tracemark")


def network(services: Services, caller: Caller | None) -> NetworkAnswer:
    """The network as this node sees it; who is connected and what is pending only to callers with a token."""
    status = services.node.status()
    genesis = services.genesis
    known = caller is not None
    return NetworkAnswer(
        ledger=genesis.ledger_id,
        genesis=genesis.chain_id.hex(),
        agency=services.party,
        software=SOFTWARE,
        protocol=genesis.parameters.version,
        epoch=status.epoch,
        height=status.height,
        size=status.size,
        root=status.log_root.hex(),
        state_root=status.state_root.hex(),
        ready=not status.reasons,
        cosigned=UNSET
        if status.cosigned is None
        else CosignedStatus(height=status.cosigned[0], size=status.cosigned[1]),
        reasons=status.reasons if known else UNSET,
        validators=tuple(map(_validator, status.validators)) if known else UNSET,
        pending=status.pending if known else UNSET,
    )


def _validator(peer: PeerStatus) -> ValidatorStatus:
    return ValidatorStatus(
        party=peer.party, connected=peer.connected, height=UNSET if peer.height is None else peer.height
    )
