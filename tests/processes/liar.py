"""A node that lies: `python -m tests.processes.liar node run --config FILE`. The ordinary program, with one thing
changed: beside each of its votes for a block it casts one for another, which does not exist. And it does not stop
when it hears of its own lies.
"""

import sys
from typing import Any

import msgspec

from client.cli.main import main
from ledger.consensus import certifying, voting
from ledger.consensus.messages import Finalize, Notarize, VoteMessage, kind_of, vote_bytes
from ledger.consensus.state import State

_cast = certifying.cast


def cast_two(state: State, vote: Any) -> None:
    """The vote, and one that contradicts it."""
    _cast(state, vote)
    key = state.guard._key
    if key is None or not isinstance(vote, Notarize | Finalize):
        return
    other = msgspec.structs.replace(vote.proposal, digest=bytes(32))
    signature = key.sign(vote_bytes(state.chain, kind_of(vote), vote.epoch, vote.view, other))
    state.broadcast(VoteMessage(vote=msgspec.structs.replace(vote, proposal=other, signature=signature)))


if __name__ == "__main__":
    setattr(voting, "cast", cast_two)  # noqa: B010 - the lie
    setattr(certifying, "_own_vote_shown", lambda state, view: None)  # noqa: B010 - it goes on
    sys.exit(main())
