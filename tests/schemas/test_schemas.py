"""Schema and parser agree: on what is well-formed, and on what was spoilt in one place."""

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from ledger.block import Seal
from ledger.bundle import build_bundle
from ledger.codec import decode, decode_envelope, encode
from ledger.errors import InputError
from ledger.evidence import encode_evidence
from ledger.records import Record
from ledger.records.envelope import sign_record
from ledger.records.evidence import EquivocationReport
from ledger.records.governance import ValidatorAdd, VersionActivate
from ledger.state.model import encode_document
from ledger.statetree import StateProof
from node.service.answers import ErrorDetail, Problem, RecordResult
from tests import strategies
from tests.changingledger import OTHERS, Changing
from tests.ledger.liars import double_root, double_vote
from tests.schemas.generate import SHAPES, generate, text_of
from tests.shared import CHECKOUT
from tests.world import GENESIS, build_agency, trading_world

KINDS: Final = {str(kind.__struct_config__.tag): kind for kind in strategies.BODIES}
LIMIT: Final = 1024 * 1024
SPOILERS: Final = ("null", "float", "string", "empty", "long", "list", "object", "negative", "boolean", "drop", "extra")

agreeing = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_VALIDATORS: dict[str, jsonschema.Draft202012Validator] = {}


def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of a schema, made once."""
    if name not in _VALIDATORS:
        _VALIDATORS[name] = jsonschema.Draft202012Validator(schemas.load(name))
    return _VALIDATORS[name]


def parses(name: str, document: Any) -> bool:
    """Whether the parser takes the document, written canonically."""
    data = msgspec.json.encode(document, order="sorted")
    try:
        if name == "envelope":
            decode_envelope(data)
        elif name == "error":
            msgspec.json.decode(data, type=Problem)
        else:
            decode(data, SHAPES[name], limit=LIMIT)
    except (InputError, msgspec.ValidationError):
        return False
    return True


def agree(name: str, document: Any) -> bool:
    """Asserts that both judge alike; returns the judgement."""
    valid = validator(name).is_valid(document)
    assert parses(name, document) == valid, f"the schema says {valid} of {json.dumps(document)[:2000]}"
    return valid


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to every value within a document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def spoil(document: Any, path: tuple[Any, ...], how: str) -> Any:
    """The document with one place spoilt."""
    changed = copy.deepcopy({"": document})
    parent, key = changed, ""
    for step in path:
        parent, key = parent[key], step
    value = parent[key]
    if how == "drop":
        del parent[key]
    elif how == "extra":
        parent[key] = {**value, "extra": 1} if isinstance(value, dict) else [value, value]
    else:
        parent[key] = {
            "null": None, "float": 1.5, "string": "\n", "empty": "", "long": "A" * 9_000, "list": [], "object": {},
            "negative": -1, "boolean": False,
        }[how]  # fmt: skip
    return changed.get("", None)


@pytest.mark.parametrize("kind", KINDS)
@agreeing
@given(data=st.data())
def test_records(kind: str, data: st.DataObject) -> None:
    record = json.loads(encode(data.draw(strategies.records_of(KINDS[kind]))))
    assert agree(kind, record)
    path = data.draw(st.sampled_from(list(places(record))[1:]))
    agree(kind, spoil(record, path, data.draw(st.sampled_from(SPOILERS))))


@agreeing
@given(record=strategies.records, data=st.data())
def test_records_of_any_kind(record: Record, data: st.DataObject) -> None:
    untyped = json.loads(encode(record))
    assert agree("record", untyped)
    path = data.draw(st.sampled_from(list(places(untyped))[1:]))
    agree("record", spoil(untyped, path, data.draw(st.sampled_from(SPOILERS))))
    other = data.draw(st.sampled_from(list(KINDS)))
    agree("record", {**untyped, "kind": other})
    agree(other, untyped)


def _documents() -> dict[str, list[Any]]:
    world = trading_world()
    lot = world.register("maker", "A1", marked="a-1")
    world.submit(lot)
    weapon = lot.identities[0].id
    world.submit(world.offer("maker", "dealer", weapon))
    world.submit(world.report("station", "seized", weapon))
    world.submit(world.propose("customs", ValidatorAdd(agency=build_agency("coast"))))
    world.submit(world.make(EquivocationReport, "police", evidence=double_vote()))
    world.submit(world.make(EquivocationReport, "police", evidence=double_root()))
    world.decide(VersionActivate(version=world.parameters().version + 1, height=world.height + 50))
    found: dict[str, list[Any]] = {}
    for key, document in world.state.items():
        found.setdefault(f"document.{key.kind}", []).append(json.loads(encode_document(document)))
    signed = sign_record(world.register("maker", "A2"), world.keys["maker"])
    proof = StateProof(siblings=())
    seal = Seal(
        height=1, view=1, epoch=0, prev_seal="0" * 64, time=1, record_count=1, state_root="0" * 64,
        validators="0" * 64, version=1,
    )  # fmt: skip
    bundle = build_bundle(
        ledger=GENESIS.ledger_id,
        weapon=(weapon, b"{}", proof),
        records=[(signed, "c2sp.org/tlog-proof@v1\nindex 1\n")],
        keys=[("0" * 64, b"{}", proof)],
        seal=(seal.to_bytes(), "c2sp.org/tlog-proof@v1\nindex 2\n"),
        checkpoint="note",
    )
    problem = Problem(
        type="about:blank",
        title="Conflict",
        status=409,
        detail="A record breaks a rule.",
        code="offer_pending",
        results=(
            RecordResult(id="0" * 64, status="refused", error=ErrorDetail(code="offer_pending", message="Offered.")),
        ),
    )
    shapes = {
        "envelope": signed,
        "genesis": GENESIS.entry,
        "seal": seal.to_bytes(),
        "bundle": bundle.to_bytes(),
        "error": encode(problem),
        "evidence": encode_evidence(double_root()),
    }
    return {
        **{name: documents[:3] for name, documents in found.items()},
        **{n: [json.loads(d)] for n, d in shapes.items()},
    }


DOCUMENTS: Final = _documents()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(name: str) -> None:
    for document in DOCUMENTS[name]:
        assert agree(name, document)
        refused = 0
        for path in list(places(document))[1:]:
            for how in SPOILERS:
                refused += not agree(name, spoil(document, path, how))
        assert refused


def test_a_default_is_written_by_leaving_it_out() -> None:
    enrolment = json.loads(encode(trading_world().enrol("interior", "shop", "dealer")))
    for name, default in (("makes", []), ("any_make", False)):
        assert not agree("party.enrol", {**enrolment, "body": {**enrolment["body"], name: default}})
    genesis = json.loads(GENESIS.entry)
    assert not agree("genesis", {**genesis, "parameters": {}})


def test_the_files_are_those_that_the_types_make() -> None:
    assert set(schemas.names()) == set(SHAPES)
    for name in SHAPES:
        path = CHECKOUT / "schemas" / f"{name}.json"
        assert path.read_text(encoding="utf-8") == text_of(generate(name)), "run python -m tests.schemas.generate"


@pytest.mark.parametrize("name", SHAPES)
def test_every_schema_is_a_schema(name: str) -> None:
    schema = schemas.load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:tracemark:schema:1:{name}"
    assert '"null"' not in json.dumps(schema)


def test_an_unknown_schema_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        schemas.load("licence.issue")


@agreeing
@given(data=st.data())
def test_successions(data: st.DataObject) -> None:
    ledger = Changing()
    ledger.change(OTHERS)
    document = json.loads(ledger.succession.to_bytes())
    assert agree("succession", document)
    path = data.draw(st.sampled_from(list(places(document))[1:]))
    agree("succession", spoil(document, path, data.draw(st.sampled_from(SPOILERS))))
