"""In words, why a validator that may have lost votes signs nothing, and what brings it back (P7.5)."""

from typing import Final

from ledger.consensus.recovery import RecoveryStatus

NO_WAY_BACK: Final = (
    "With three agencies or fewer nothing is final without this one's key, so the others can neither vouch for it nor vote "
    "for a new key: the ledger can be read and proven, and goes on only in a new one. An older copy of votes.db does not "
    "help."
)
WAIT: Final = (
    "Keep the node running and linked to all the others: it votes again by itself once they have shown where they are and "
    "the ledger has gone on from there. An older copy of votes.db does not help."
)
SILENT_UNTIL_SHOWN: Final = (
    "the node signs nothing until enough of the others have shown where they are, and never where three validators or fewer "
    "keep the ledger."
)
ONE_KEY: Final = (
    "Make sure that no second node runs with this key; if one does, or somebody else may have the key, replace it "
    "(`tracemark proposal open`). Else restart this node: it then goes on as one whose votes are lost."
)


ASKING: Final = (
    "They are asked until enough for a quorum have: do their nodes run, does each [peers.addresses] lead there? If nothing "
    "is final yet, it votes then; else as one that lost its votes."
)


def recovery_reason(status: RecoveryStatus) -> str:
    """Why nothing is signed now, and what is missing."""
    if status.unasked:
        return (
            "votes nothing yet: it began empty, and too few of the other agencies' nodes have shown whether it voted before "
            f"[votes_unasked]. {ASKING}"
        )
    if not status.possible:
        return f"votes nothing: votes of its own may be lost [votes_lost]. {NO_WAY_BACK}"
    if not status.bar:
        missing = f"{status.answers} of {status.needed} other agencies needed have shown where they are"
    else:
        missing = f"a final block above view {status.bar} is needed, the newest here is of view {status.floor_view}"
    return f"votes nothing: votes of its own may be lost [votes_lost]; {missing}. {WAIT}"
