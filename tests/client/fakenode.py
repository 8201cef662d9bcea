"""A node's interface over a toy ledger, without a node: what honest ones answer, to be bent by the tests of sessions."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import msgspec

from ledger.codec import b64encode
from ledger.errors import RuleError
from ledger.marks import normalise
from ledger.merkle.tiles import Tile
from ledger.records.envelope import parse_entry
from ledger.records.fields import format_time
from ledger.state.model import KindOfDocument, ProposalDoc, WeaponDoc
from tests.changingledger import Changing
from tests.toyledger import ToyLedger
from tests.world import GENESIS

Bend = Callable[[httpx.Request, httpx.Response], httpx.Response]


class FakeNode:
    """Answers as a node does. `bend` may replace any answer; `requests` are those that came."""

    def __init__(self, ledger: ToyLedger, bend: Bend | None = None) -> None:
        self.ledger = ledger
        self.bend = bend
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        try:
            response = self._answer(request)
        except KeyError:
            response = problem(404, "not_found", "nothing there")
        return response if self.bend is None else self.bend(request, response)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, {key: values[0] for key, values in parse_qs(request.url.query.decode()).items()}
        match path.strip("/").split("/"):
            case ["v1", "checkpoint"]:
                return httpx.Response(200, content=self.ledger.checkpoint())
            case ["v1", "succession"] if isinstance(self.ledger, Changing):
                return httpx.Response(200, content=self.ledger.succession.to_bytes())
            case ["v1", "genesis"]:
                return httpx.Response(200, content=GENESIS.entry)
            case ["v1", "consistency"]:
                return self._consistency(int(query["from"]), int(query["to"]))
            case ["tile", *_]:
                return self._tile(path)
            case ["v1", "records"]:
                return self._submit(json.loads(request.content)["envelopes"])
            case ["v1", "records", record_id]:
                return self._record(record_id)
            case ["v1", "weapons"]:
                return self._search(query)
            case ["v1", "weapons", weapon, "provenance"]:
                _ = self.ledger.history[weapon]
                return httpx.Response(200, content=self.ledger.bundle(weapon).to_bytes())
            case ["v1", "weapons", weapon]:
                return self._state("weapon", weapon)
            case ["v1", "parties", party]:
                return self._state("party", party)
            case ["v1", "keys", public]:
                return self._state("key", public)
            case ["v1", "validators"]:
                return self._state("validators", "current")
            case ["v1", "proposals"]:
                return self._proposals(query)
            case ["v1", "proposals", proposal]:
                return self._state("proposal", proposal)
        raise KeyError(path)

    def _consistency(self, older: int, newer: int) -> httpx.Response:
        if newer > self.ledger.size:
            return problem(400, "out_of_range", "no such size yet")
        proof = [b64encode(node) for node in self.ledger.consistency(older, newer)]
        return httpx.Response(200, json={"from": older, "to": newer, "proof": proof})

    def _proposals(self, query: dict[str, str]) -> httpx.Response:
        """One proposal a page."""
        documents = {key.id: doc for key, doc in self.ledger.state.items() if isinstance(doc, ProposalDoc)}
        names = sorted(name for name in documents if name > query.get("cursor", ""))
        listed = []
        for name in names[:1]:
            doc = documents[name]
            plain: dict[str, Any] = msgspec.to_builtins(doc)
            plain |= {"id": name, "change": plain["change"]["change"], "party": plain["change"].get("party")}
            listed.append({**plain, "votes_against": doc.votes_against, "expires_at": format_time(doc.expires_at)})
        return httpx.Response(200, json={"proposals": listed, **({"next": names[0]} if len(names) > 1 else {})})

    def _tile(self, path: str) -> httpx.Response:
        tile = Tile.parse(path.strip("/"))
        if tile.first + tile.width > self.ledger.size >> (8 * (tile.level or 0)):
            raise KeyError(path)
        return httpx.Response(200, content=self.ledger.tile(tile))

    def _state(self, kind: KindOfDocument, document_id: str) -> httpx.Response:
        return httpx.Response(200, content=self.ledger.answer(kind, document_id).to_bytes())

    def _submit(self, envelopes: list[dict[str, Any]]) -> httpx.Response:
        results, status = [], 200
        for envelope in envelopes:
            entry = json.dumps(envelope, separators=(",", ":"), sort_keys=True).encode()
            parsed = parse_entry(entry)
            try:
                if entry not in self.ledger.entries:
                    self.ledger.submit(parsed.record)
                    self.ledger.seal()
                results.append(self.final(parsed.id))
            except RuleError as error:
                status = 409
                results.append({"id": parsed.id, "status": "refused", "error": error.as_dict()})
        if status != 200:
            return problem(status, "rule_broken", "a record was refused", results=results)
        return httpx.Response(200, json={"results": results})

    def final(self, record_id: str) -> dict[str, Any]:
        index = self.ledger.index_of(record_id)
        receipt = self.ledger.receipt(index).decode()
        return {"id": record_id, "status": "final", "index": index, "height": 1, "receipt": receipt}

    def _record(self, record_id: str) -> httpx.Response:
        final = self.final(record_id)
        return httpx.Response(200, json={**final, "entry": b64encode(self.ledger.entries[final["index"]])})

    def _search(self, query: dict[str, str]) -> httpx.Response:
        hits = [
            {"id": key.id, "make": weapon.make, "serial": weapon.serial, "status": weapon.status, "registered": True}
            for key, weapon in sorted(self.ledger.state.items())
            if isinstance(weapon, WeaponDoc)
            and weapon.serial == normalise(query["serial"])
            and query.get("make") in (None, weapon.make)
        ]
        start = int(query.get("cursor", 0))
        page: dict[str, Any] = {"weapons": hits[start : start + 1], "total": len(hits)}
        if start + 1 < len(hits):
            page["next"] = str(start + 1)
        return httpx.Response(200, json=page)


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    """Problem details."""
    return httpx.Response(
        status, json={"type": "x", "title": "x", "status": status, "code": code, "detail": detail, **more}
    )


def nodes(**by_host: FakeNode | Exception) -> httpx.MockTransport:
    """A network in which each host is a node, or fails with an error."""

    def handle(request: httpx.Request) -> httpx.Response:
        node = by_host[request.url.host]
        if isinstance(node, Exception):
            raise node
        return node.handle(request)

    return httpx.MockTransport(handle)
