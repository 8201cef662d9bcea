"""The log itself: checkpoint, tiles, consistency (C2SP tlog-tiles). Open, but for the entries."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Response

from ledger.checkpoint import MAX_SIZE
from ledger.errors import EncodingError
from ledger.merkle.tiles import Tile
from node.api.auth import AnyCaller, EntryReader, ServicesOf
from node.api.examples import CONSISTENCY
from node.api.openapi import TEXT_MEDIA, TILE_MEDIA, TOKEN_OPTIONAL, reference, responds
from node.api.responses import json_response
from node.service.answers import ConsistencyAnswer
from node.service.errors import NotFoundError
from node.service.query import consistency, read_tile

router: Final = APIRouter(tags=["log"])

_IMMUTABLE: Final = "max-age=31536000, immutable"
_BYTES: Final = {"type": "string", "format": "binary"}
_CHECKPOINT: Final = responds(
    "The newest checkpoint with a quorum of cosignatures: a signed note.",
    {"type": "string"},
    401,
    429,
    500,
    503,
    media=TEXT_MEDIA,
)

TilePathText = Annotated[
    str,
    Path(
        pattern=r"^(x[0-9]{3}/){0,6}[0-9]{3}(\.p/[1-9][0-9]{0,2})?$",
        description="Tile index in groups of three digits, all but the last after `x`; `.p/W` for a partial tile.",
        examples=["x001/234", "000.p/17"],
    ),
]


@router.get("/checkpoint", summary="The newest checkpoint", responses=_CHECKPOINT, openapi_extra=TOKEN_OPTIONAL)
@router.get("/v1/checkpoint", summary="The newest checkpoint", responses=_CHECKPOINT, openapi_extra=TOKEN_OPTIONAL)
async def checkpoint(services: ServicesOf, caller: AnyCaller) -> Response:
    """This node's log signature and all cosignatures that it knows."""
    note = await services.read(lambda view: view.checkpoint, is_known=caller is not None)
    return Response(note, media_type=TEXT_MEDIA, headers={"Cache-Control": "no-cache"})


@router.get(
    "/tile/entries/{path:path}",
    summary="A bundle of entries",
    responses=responds(
        "Up to 256 entries, each after its length in 16 bits, big-endian.",
        _BYTES,
        *(401, 403, 404, 422, 429, 500, 503),
        media=TILE_MEDIA,
    ),
)
async def entries(services: ServicesOf, _caller: EntryReader, path: TilePathText) -> Response:
    """Entries hold everything: they need the role auditor or peer."""
    data = await services.read(partial(read_tile, tile=_tile("entries", path)))
    return Response(data, media_type=TILE_MEDIA, headers={"Cache-Control": f"private, {_IMMUTABLE}"})


@router.get(
    "/tile/{level}/{path:path}",
    summary="A tile of hashes",
    responses=responds("Up to 256 hashes of 32 bytes.", _BYTES, 401, 404, 422, 429, 500, 503, media=TILE_MEDIA),
    openapi_extra=TOKEN_OPTIONAL,
)
async def hashes(
    services: ServicesOf,
    caller: AnyCaller,
    level: Annotated[str, Path(pattern="^(0|[1-9][0-9]?)$")],
    path: TilePathText,
) -> Response:
    """Node (8 * level, 256 * index) of the log tree and its neighbours to the right."""
    data = await services.read(partial(read_tile, tile=_tile(level, path)), is_known=caller is not None)
    return Response(data, media_type=TILE_MEDIA, headers={"Cache-Control": f"public, {_IMMUTABLE}"})


@router.get(
    "/v1/consistency",
    summary="That one size of the log continues another",
    responses=responds(
        "RFC 6962 section 2.1.2, hashes in base64.",
        reference(ConsistencyAnswer),
        *(400, 401, 422, 429, 500, 503),
        example=CONSISTENCY,
    ),
    openapi_extra=TOKEN_OPTIONAL,
)
async def consistent(
    services: ServicesOf,
    caller: AnyCaller,
    from_size: Annotated[int, Query(alias="from", ge=1, le=MAX_SIZE)],
    to_size: Annotated[
        int | None, Query(alias="to", ge=1, le=MAX_SIZE, description="Default: the newest checkpoint's.")
    ] = None,
) -> Response:
    """A client that remembers a checkpoint asks with it before it believes a newer one."""
    question = partial(consistency, from_size=from_size, to_size=to_size)
    return json_response(await services.read(question, is_known=caller is not None))


def _tile(level: str, path: str) -> Tile:
    try:
        return Tile.parse(f"tile/{level}/{path}")
    except EncodingError as error:
        raise NotFoundError(error.message, code=error.code, expected=error.expected, actual=error.actual) from error
