"""The log over HTTP: a checkpoint that holds, tiles that make its root, consistency, and entries for auditors only."""

import httpx
import pytest

from ledger.checkpoint import Checkpoint
from ledger.codec import b64decode
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.tiles import Tile, decode_entries, entry_bundles_of_size, verify_tiles
from ledger.merkle.tree import root_of
from ledger.merkle.verify import verify_consistency
from tests.node.api.support import OneAgency


def _checkpoint(agency: OneAgency) -> Checkpoint:
    response = agency.client().get("/checkpoint")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    return agency.policy.verify_checkpoint(response.content).checkpoint


def _status(response: httpx.Response, status: int) -> httpx.Response:
    assert response.status_code == status, response.text
    return response


def test_tiles_open_to_all_make_the_root_of_the_cosigned_checkpoint(agency: OneAgency) -> None:
    agency.submit_final(*(agency.register("maker-a", f"TILE{number}") for number in range(300)))
    checkpoint = _checkpoint(agency)
    client = agency.client()
    caches = set()

    def fetch(tile: Tile) -> bytes:
        response = _status(client.get(f"/{tile.path}"), 200)
        assert response.headers["content-type"] == "application/octet-stream"
        caches.add(response.headers["cache-control"])
        return response.content

    verify_tiles(checkpoint.size, checkpoint.root, fetch)
    assert caches == {"public, max-age=31536000, immutable"}


def test_entries_are_for_auditors_and_peers_and_begin_with_the_genesis_document(agency: OneAgency) -> None:
    checkpoint = _checkpoint(agency)
    tiles = list(entry_bundles_of_size(checkpoint.size))
    for role in ("auditor", "peer"):
        client = agency.client(role)
        entries = [
            entry
            for tile in tiles
            for entry in decode_entries(_status(client.get(f"/{tile.path}"), 200).content, tile.width)
        ]
        assert entries[0] == agency.genesis.entry
        assert root_of([leaf_hash(entry) for entry in entries]) == checkpoint.root
    assert _status(agency.client().get(f"/{tiles[0].path}"), 401).json()["code"] == "not_authenticated"
    for role in ("holder", "inquirer", "operator"):
        assert _status(agency.client(role).get(f"/{tiles[0].path}"), 403).json()["code"] == "wrong_role"


@pytest.mark.parametrize(
    "path", ["0/x999/999", "7/000", "0/000.p/256", "0/000.p/00", "0/0", "entries/x999/999", "a/000"]
)
def test_a_tile_that_is_not_there_is_a_problem(agency: OneAgency, path: str) -> None:
    response = agency.client("auditor").get(f"/tile/{path}")
    assert response.status_code in (404, 422)
    assert response.headers["content-type"] == "application/problem+json"


def test_consistency_between_remembered_and_newer_checkpoints(agency: OneAgency) -> None:
    older = _checkpoint(agency)
    agency.submit_final(agency.register("maker-a", "CONSIST1"))
    newer = _checkpoint(agency)
    assert newer.size > older.size
    client = agency.client()
    answer = _status(client.get("/v1/consistency", params={"from": older.size, "to": newer.size}), 200).json()
    proof = [b64decode(value) for value in answer["proof"]]
    verify_consistency(size1=older.size, root1=older.root, size2=newer.size, root2=newer.root, proof=proof)
    assert _status(client.get("/v1/consistency", params={"from": newer.size, "to": older.size}), 400)
    assert _status(client.get("/v1/consistency", params={"from": 1, "to": 10**12}), 400)
    assert _status(client.get("/v1/consistency", params={"from": 0}), 422)
