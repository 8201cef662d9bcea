"""Examples of the OpenAPI document: one network, one weapon, shortened hashes never (they would not fit their schemas)."""

from typing import Any, Final

_RECORD_ID: Final = "5c0f1a3b9d7e42668a1f0c3d5e7b9a2c4d6e8f0a1b3c5d7e9f0a2b4c6d8e0f1a"
_WEAPON_ID: Final = "wmzxw6ytboiqge2lomfrggzdfmztwq2lk"
_ROOT: Final = "9e107d9d372bb6826bd81d3542a419d6e277987be4e5b6c1f0a9d8c7b6a59483"

ENVELOPE: Final[dict[str, Any]] = {
    "payload": "eyJib2R5Ijp7fX0=",
    "payloadType": "application/vnd.tracemark.record+json",
    "signatures": [{"keyid": "8f1b0d4c6a2e9357", "sig": "A" * 86 + "=="}],
}
RECEIPT: Final = "c2sp.org/tlog-proof@v1\nindex 4711\n...\n\ntracemark.example/ledger\n4800\n...\n"
RECORD_RESULT: Final[dict[str, Any]] = {
    "id": _RECORD_ID,
    "status": "final",
    "index": 4711,
    "height": 61,
    "receipt": RECEIPT,
}
SUBMIT_ANSWER: Final[dict[str, Any]] = {"results": [RECORD_RESULT]}
RECORD_ANSWER: Final[dict[str, Any]] = {
    **RECORD_RESULT,
    "kind": "transfer.offer",
    "issuer": "maker-a",
    "entry": "eyJwYXlsb2FkIjoi",
}
WEAPON_PAGE: Final[dict[str, Any]] = {
    "weapons": [
        {
            "id": _WEAPON_ID,
            "make": "GLC",
            "serial": "AB1234",
            "status": "seized",
            "registered": True,
            "history_count": 5,
            "model": "17",
            "owner": "dealer-c",
            "possessor": "police",
        }
    ]
}
PROPOSAL_PAGE: Final[dict[str, Any]] = {
    "proposals": [
        {
            "id": _RECORD_ID,
            "opened_by": "customs",
            "opened": 4711,
            "epoch": 0,
            "change": "validator.remove",
            "party": "neighbour",
            "expires_at": "2026-12-21T10:00:00Z",
            "status": "open",
            "votes_for": ["customs", "police"],
            "votes_against": [],
        }
    ]
}
EVIDENCE_PAGE: Final[dict[str, Any]] = {
    "evidence": [
        {
            "kind": "equivocation",
            "format": "tracemark-evidence/1",
            "ledger": "tracemark.example/ledger#0123456789abcdef",
            "chain": "0123456789abcdef" * 4,
            "party": "customs",
            "public": _ROOT,
            "epoch": 0,
            "view": 4712,
            "first": {"vote": "nullify", "signature": "A" * 86 + "=="},
            "second": {
                "vote": "finalize",
                "proposal": {"parent_view": 4711, "digest": _ROOT},
                "signature": "A" * 86 + "==",
            },
        }
    ]
}
CONSISTENCY: Final[dict[str, Any]] = {"from": 4096, "to": 4800, "proof": ["A" * 43 + "="]}
NETWORK: Final[dict[str, Any]] = {
    "ledger": "tracemark.example/ledger#0123456789abcdef",
    "genesis": _ROOT,
    "agency": "police",
    "software": "0.1.0",
    "protocol": 1,
    "epoch": 0,
    "validator": True,
    "height": 61,
    "size": 4800,
    "root": _ROOT,
    "state_root": _ROOT,
    "ready": True,
    "cosigned": {"height": 61, "size": 4800},
}
PROBLEM: Final[dict[str, Any]] = {
    "type": "urn:tracemark:problem:not_the_possessor",
    "title": "Conflict",
    "status": 409,
    "detail": "the issuer does not hold the weapon",
    "code": "not_the_possessor",
    "expected": "dealer-c",
    "actual": "importer-b",
}
