"""Who asks: the bearer token, its quota, and an inquirer's purpose and case, as dependencies of the routes."""

import ipaddress
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from node.api.responses import services_of
from node.service.access import (
    ENTRY_READERS,
    EVERYONE,
    SUBMITTERS,
    WEAPON_READERS,
    Caller,
    Purpose,
    TokenRole,
    require_purpose,
    require_role,
)
from node.service.services import Services
from node.service.tokens import missing_token

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token of this node, made by its operator with `tracemark token new`; bound to a party and a role.",
)
_STATED: Final = r"^[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*$"
"""Visible ASCII, not blank: what every HTTP client can send and every log can show."""

_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
_Services = Annotated[Services, Depends(services_of)]
_PurposeHeader = Annotated[
    str | None,
    Header(
        alias="Tracemark-Purpose",
        max_length=100,
        pattern=_STATED,
        description="Why an inquirer asks. Stands in the query log.",
        examples=["criminal investigation"],
    ),
]
_CaseHeader = Annotated[
    str | None,
    Header(
        alias="Tracemark-Case",
        max_length=64,
        pattern=_STATED,
        description="The inquirer's case number. Stands in the query log.",
        examples=["26-1178"],
    ),
]


def is_local(request: Request) -> bool:
    """Whether the connection itself comes from this machine: from loopback, or from the very address that it goes to. (No
    header of a proxy is believed.)"""
    if request.client is None:
        return False
    server = request.scope.get("server")
    if server is not None and server[0] == request.client.host:
        return True
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def recognise(services: Services, credentials: HTTPAuthorizationCredentials | None) -> Caller | None:
    """The caller of a request, charged one request; None without a token.

    Raises:
        AuthenticationError: a token that this node does not know.
        OverloadError: the quota of the token or its party is used up.
    """
    if credentials is None:
        return None
    caller = services.tokens.recall(credentials.credentials)
    if caller is None:
        caller = await services.readers.run(partial(services.tokens.authenticate, credentials.credentials))
    services.request_quota.charge(caller, 1)
    return caller


async def any_caller(services: _Services, credentials: _Credentials) -> Caller | None:
    """The caller, where a token is not needed but tells more."""
    return await recognise(services, credentials)


class CallerWith:
    """A dependency: a caller whose role is one of those allowed."""

    def __init__(self, roles: frozenset[TokenRole]) -> None:
        self._roles = roles

    async def __call__(self, services: _Services, credentials: _Credentials) -> Caller:
        """Raises AuthenticationError, AuthorizationError, OverloadError."""
        caller = await recognise(services, credentials)
        if caller is None:
            raise missing_token()
        require_role(caller, self._roles)
        return caller


class Inquiry:
    """A caller with the purpose it stated, whose question is logged before it is answered, where its role asks for that."""

    def __init__(self, request: Request, services: Services, caller: Caller, purpose: Purpose | None) -> None:
        self.caller = caller
        self._request = request
        self._services = services
        self._purpose = purpose

    @property
    def sees_all(self) -> bool:
        """Whether all is open to the caller, which stated its purpose. What is told then must be logged first."""
        return self.caller.sees_all and self._purpose is not None

    async def log(self) -> None:
        """Return once the question is durable in the query log, or at once for roles whose questions are not logged.

        Raises:
            AuthorizationError: code `purpose_required`.
            StoreError: it could not be logged; nothing may be answered.
        """
        require_purpose(self.caller, self._purpose)
        if self.caller.sees_all and self._purpose is not None:
            url = self._request.url
            asked = f"{self._request.method} {url.path}" + (f"?{url.query}" if url.query else "")
            await self._services.query_log.record(self.caller, self._purpose, asked)


class InquiryBy:
    """A dependency: an inquiry by a caller whose role is one of those allowed."""

    def __init__(self, roles: frozenset[TokenRole]) -> None:
        self._caller = CallerWith(roles)

    async def __call__(
        self,
        request: Request,
        services: _Services,
        credentials: _Credentials,
        purpose: _PurposeHeader = None,
        case: _CaseHeader = None,
    ) -> Inquiry:
        """Raises AuthenticationError, AuthorizationError, OverloadError."""
        caller = await self._caller(services, credentials)
        stated = Purpose(purpose=purpose, case=case) if purpose and case else None
        return Inquiry(request, services, caller, stated)


AnyCaller = Annotated[Caller | None, Depends(any_caller)]
KnownCaller = Annotated[Caller, Depends(CallerWith(EVERYONE))]
Submission = Annotated[Inquiry, Depends(InquiryBy(SUBMITTERS))]
EntryReader = Annotated[Caller, Depends(CallerWith(ENTRY_READERS))]
WeaponInquiry = Annotated[Inquiry, Depends(InquiryBy(WEAPON_READERS))]
RecordInquiry = Annotated[Inquiry, Depends(InquiryBy(EVERYONE))]
ServicesOf = Annotated[Services, Depends(services_of)]
