"""Weapons: search by serial, the proven document, the whole provenance."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from ledger.answer import StateAnswer
from ledger.bundle import Bundle
from ledger.limits import MAX_MARKED_CHARS, MAX_PAGE_ITEMS
from node.api.auth import ServicesOf, WeaponInquiry
from node.api.examples import WEAPON_PAGE
from node.api.openapi import BUNDLE_MEDIA, reference, responds
from node.api.responses import NO_STORE, json_response
from node.service.answers import WeaponPage
from node.service.query import DEFAULT_PAGE_ITEMS, search
from node.service.trace import provenance, weapon_answer

router: Final = APIRouter(tags=["weapons"])

WeaponIdPath = Annotated[
    str, Path(pattern="^w[a-z2-7]{32}$", description="Weapon id: `w` and 32 characters of lower-case base32.")
]


@router.get(
    "/v1/weapons",
    summary="Search by serial",
    responses=responds(
        "All weapons that carry the serial and that the caller may see.",
        reference(WeaponPage),
        *(400, 401, 403, 422, 429, 500, 503),
        example=WEAPON_PAGE,
    ),
)
async def find(
    *,
    services: ServicesOf,
    inquiry: WeaponInquiry,
    serial: Annotated[
        str,
        Query(
            min_length=1,
            max_length=MAX_MARKED_CHARS,
            description="As read; case, spaces and hyphens do not matter.",
            examples=["AB-1234"],
        ),
    ],
    make: Annotated[str | None, Query(pattern="^[A-Z0-9]{1,10}$", description="Make code.")] = None,
    cursor: Annotated[str | None, Query(max_length=100, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ITEMS)] = DEFAULT_PAGE_ITEMS,
) -> Response:
    """A serial is unique only within one make, and not always there: all candidates are listed, none is chosen. A search is
    not proven; the provenance of a candidate is."""
    await inquiry.log()
    question = partial(search, serial=serial, make=make, cursor=cursor, limit=limit, caller=inquiry.caller)
    return json_response(await services.read(question))


@router.get(
    "/v1/weapons/{weapon_id}",
    summary="A weapon's document, or its absence, with proof",
    responses=responds(
        "As of the newest quorum-cosigned checkpoint.", reference(StateAnswer), *(401, 403, 404, 422, 429, 500, 503)
    ),
)
async def weapon(services: ServicesOf, inquiry: WeaponInquiry, weapon_id: WeaponIdPath) -> Response:
    """To an inquirer, the absence of a weapon is proven. To others, a weapon that they may not see is not found."""
    await inquiry.log()
    question = partial(weapon_answer, weapon_id=weapon_id, caller=inquiry.caller)
    return json_response(await services.read(question))


@router.get(
    "/v1/weapons/{weapon_id}/provenance",
    summary="A weapon's whole history as an evidence bundle",
    responses=responds(
        "Canonical JSON. The same bytes, kept as a file, verify offline against a policy.",
        reference(Bundle),
        *(401, 403, 404, 422, 429, 500, 503),
        media=BUNDLE_MEDIA,
    ),
)
async def trace(services: ServicesOf, inquiry: WeaponInquiry, weapon_id: WeaponIdPath) -> Response:
    """Every record that touched the weapon, with its proof; the weapon's document, which shows that none is missing; the
    keys that signed; all under one checkpoint."""
    await inquiry.log()
    ledger_id = services.genesis.ledger_id
    data = await services.read(
        lambda view: provenance(view, ledger_id=ledger_id, weapon_id=weapon_id, caller=inquiry.caller).to_bytes()
    )
    return Response(data, media_type=BUNDLE_MEDIA, headers=NO_STORE)
