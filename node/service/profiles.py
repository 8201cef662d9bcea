"""What an agency is and may make of others: by what it is asked to be, or, of the usual agencies, by its name.

Names decide only where somebody sees what comes of it: in throw-away networks, and for the agencies that every consortium
has. An agency of another name says its roles itself: what it can grant, it grants to whomever it likes.
"""

from typing import Any, Final, get_args

import msgspec

from ledger.errors import ConfigurationError
from ledger.limits import MAX_NAME_CHARS, MAX_ROLES
from ledger.records.fields import Country, Name, Origin, PartyId, PartyRole
from ledger.records.membership import Roles

_GOODS: Final = ("carrier", "dealer", "forces", "importer", "maker", "museum", "police", "proof-house")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What an agency is and may make of others: sorted, distinct role names."""

    roles: tuple[str, ...]
    grants: tuple[str, ...]


_REGISTRY: Final = Profile(roles=("registry",), grants=_GOODS)
_CUSTOMS: Final = Profile(roles=("customs",), grants=("carrier", "customs", "importer"))
_POLICE: Final = Profile(roles=("police",), grants=("police",))
_BY_NAME: Final[dict[str, Profile]] = {
    "interior": _REGISTRY,
    "customs": _CUSTOMS,
    "police": _POLICE,
    "neighbour": _REGISTRY,
}
_USUAL_GRANTS: Final = {profile.roles[0]: profile.grants for profile in (_REGISTRY, _CUSTOMS, _POLICE)}
_ROLES: Final = f"1 to {MAX_ROLES} of {', '.join(get_args(PartyRole))}"
_FIELDS: Final[dict[str, tuple[str, Any, str]]] = {
    "origin": (
        "an origin",
        Origin,
        "lower-case letters, digits, dots, slashes and hyphens, such as registry.example/weapons",
    ),
    "party": ("an agency's party id", PartyId, "2 to 40 lower-case letters, digits and hyphens, first a letter"),
    "name": ("a name", Name, f"1 to {MAX_NAME_CHARS} characters on one line"),
    "jurisdiction": ("a country", Country, "an ISO 3166 alpha-2 code in capitals, such as XA"),
    "roles": ("an agency's roles", Roles, _ROLES),
    "grants": ("roles that an agency may grant", Roles, _ROLES),
}
"""What each field of an identity is called, its type, and that in words."""


def profile_of(party: str) -> Profile:
    """The roles that an agency of this name has in a throw-away network: a registry's for unknown names."""
    return _BY_NAME.get(party, _REGISTRY)


def asked_profile(party: str, roles: tuple[str, ...], grants: tuple[str, ...]) -> Profile:
    """What an agency that says so much of itself is: what is left out follows from its name, if that is a usual one, or from
    its roles.

    Raises:
        ConfigurationError: code `bad_roles`: it does not; `bad_identity`: there is no such name.
    """
    _require("party", party)
    if not roles:
        usual = _BY_NAME.get(party)
        if usual is None:
            raise ConfigurationError(
                f"nothing says which roles {party!r} has",
                code="bad_roles",
                expected=f"--roles with {_ROLES}",
                actual="no --roles, and no name that has usual ones",
                help=f"Usual ones have {', '.join(_BY_NAME)}. A registry: --roles registry, which may grant "
                f"{', '.join(_GOODS)} unless --grants says otherwise.",
            )
        return Profile(roles=usual.roles, grants=grants or usual.grants)
    usual_grants = tuple(sorted({each for role in roles for each in _USUAL_GRANTS.get(role, ())}))
    if not (grants or usual_grants):
        raise ConfigurationError(
            f"nothing says which roles {party!r} may grant",
            code="bad_roles",
            expected=f"--grants with {_ROLES}",
            actual=f"--roles {','.join(roles)}",
        )
    return Profile(roles=roles, grants=grants or usual_grants)


def parse_profile(text: str) -> tuple[str, Profile]:
    """`PARTY=ROLE[,ROLE...]:GRANT[,GRANT...]` as party and profile; whether they are roles is checked with the identity.

    Raises:
        ConfigurationError: code `bad_roles`.
    """
    party, equals, rest = text.partition("=")
    roles, colon, grants = rest.partition(":")
    if not (equals and colon and party and roles and grants):
        raise ConfigurationError(
            "not an agency's roles",
            code="bad_roles",
            expected="PARTY=ROLE[,ROLE]:GRANT[,GRANT], such as customs=customs:importer,carrier",
            actual=repr(text[:200]),
        )
    return party, Profile(roles=tuple(sorted(roles.split(","))), grants=tuple(sorted(grants.split(","))))


def require_fields(*, origin: str, party: str, name: str, jurisdiction: str, profile: Profile) -> None:
    """Check what somebody types of an identity, field by field.

    Raises:
        ConfigurationError: code `bad_identity`, saying in words what the field may hold.
    """
    _require("origin", origin)
    _require("party", party)
    _require("name", name)
    _require("jurisdiction", jurisdiction)
    _require("roles", profile.roles)
    _require("grants", profile.grants)


def _require(field: str, value: str | tuple[str, ...]) -> None:
    what, kind, expected = _FIELDS[field]
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        shown = value if isinstance(value, str) else ",".join(value)
        raise ConfigurationError(
            f"not {what}", code="bad_identity", expected=expected, actual=repr(shown[:100])
        ) from error
