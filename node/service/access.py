"""Who asks, and what they may see (DESIGN 11). The rules that every reading service applies; no I/O.

| role     | weapons, provenance, records                                 | entries | submits |
| -------- | ------------------------------------------------------------ | ------- | ------- |
| holder   | what its party holds, owns, registered, offers or is offered | no      | yes     |
| operator | the same, for the agency's own party                         | no      | yes     |
| inquirer | all, with purpose and case, each question logged             | no      | yes     |
| auditor  | no: an auditor reads the log itself                          | yes     | no      |
| peer     | no                                                           | yes     | no      |

What a refusal tells of weapons follows the same table (`node.service.refusals`).
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

import msgspec

from ledger.state.model import TransferDoc, WeaponDoc
from node.service.errors import AuthorizationError

TokenRole = Literal["holder", "inquirer", "auditor", "peer", "operator"]
TOKEN_ROLES: Final[tuple[TokenRole, ...]] = get_args(TokenRole)

SUBMITTERS: Final[frozenset[TokenRole]] = frozenset({"holder", "inquirer", "operator"})
"""Roles that may submit records: the record's signature is the authority, the token only says whose quota it costs."""
WEAPON_READERS: Final[frozenset[TokenRole]] = frozenset({"holder", "inquirer", "operator"})
ENTRY_READERS: Final[frozenset[TokenRole]] = frozenset({"auditor", "peer"})
EVERYONE: Final[frozenset[TokenRole]] = frozenset(TOKEN_ROLES)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is. `token` is the token's public id, never the secret."""

    token: str
    party: str
    role: TokenRole

    @property
    def sees_all(self) -> bool:
        """Whether every weapon is open to this caller, against a stated purpose."""
        return self.role == "inquirer"


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """Why an inquirer asks, and in which case: they stand in the query log."""

    purpose: str
    case: str


def require_role(caller: Caller, allowed: frozenset[TokenRole]) -> None:
    """Refuse a caller whose role is not among those allowed.

    Raises:
        AuthorizationError: code `wrong_role`.
    """
    if caller.role not in allowed:
        raise AuthorizationError(
            "this token's role does not entitle to this",
            code="wrong_role",
            expected=" or ".join(sorted(allowed)),
            actual=caller.role,
            help="Ask the operator of this node for a token of that role.",
        )


def require_purpose(caller: Caller, purpose: Purpose | None) -> None:
    """Refuse an inquirer's question without purpose and case.

    Raises:
        AuthorizationError: code `purpose_required`.
    """
    if caller.sees_all and purpose is None:
        raise AuthorizationError(
            "an inquiry states its purpose and its case",
            code="purpose_required",
            expected="headers Tracemark-Purpose and Tracemark-Case",
            actual="at least one of them missing or empty",
            help="Send both headers, for example `Tracemark-Purpose: criminal investigation` and `Tracemark-Case: 26-1178`.",
        )


def sees_weapon(caller: Caller, weapon: WeaponDoc, offers: Iterable[TransferDoc]) -> bool:
    """Whether the caller may see a weapon, given the transfers pending on it."""
    if caller.sees_all:
        return True
    if caller.party in (weapon.owner, weapon.possessor, weapon.registrar):
        return True
    return any(caller.party in (offer.offered_by, offer.to) for offer in offers)
