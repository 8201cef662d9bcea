"""Trust policies: parsing, quorums against a brute-force count, and the two verdicts on checkpoints."""

from itertools import combinations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint, SignedCheckpoint
from ledger.codec import b64encode
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_POLICY_BYTES, MAX_POLICY_LINES
from ledger.notes import ED25519, Note, NoteSigner, NoteVerifier, compute_key_id
from ledger.policy import GroupEntry, LogEntry, Policy, WitnessEntry, single_log_policy
from tests.ledger.notebook import AGENCIES, CHECKPOINT, COSIGNERS, LOGS, ORIGIN, TIME_S, key, policy, signed

W = [COSIGNERS[agency].verifier.vkey for agency in AGENCIES]
LOG = LOGS["police"].verifier.vkey
EXTRA = NoteVerifier(name="extra", key_type=4, public=key("extra").public)
EXAMPLE = f"""# Two agencies of three, and the auditor.
log {LOG} https://police.example/log
log {LOGS["north"].verifier.vkey}

witness X1 {W[0]}
witness X2 {W[1]} https://x2.example
\twitness  X3\t{W[2]}
witness auditor {W[3]}
group agencies 2 X1 X2 X3
group both all agencies auditor
  # the end
quorum both
"""


def test_example() -> None:
    parsed = Policy.parse(EXAMPLE)
    assert parsed.logs[0].url == "https://police.example/log"
    assert parsed.is_quorum({"X1", "X3", "auditor"})
    assert not parsed.is_quorum({"X1", "X2", "X3"})
    assert not parsed.is_quorum({"X1", "auditor"})
    assert not parsed.is_quorum({"agencies", "auditor", "both"}), "only witnesses cosign"
    rendered = parsed.render()
    assert Policy.parse(rendered) == parsed
    assert Policy.parse(rendered).render() == rendered


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        f"log {LOG}\n",
        f"log {LOG}\nlog {LOG}\nquorum none\n",
        f"log {W[0]}\nquorum none\n",
        f"witness a {LOG}\nquorum a\n",
        f"witness a {W[0]}\nwitness a {W[1]}\nquorum a\n",
        f"witness a {W[0]}\nwitness b {W[0]}\nquorum a\n",
        f"witness none {W[0]}\nquorum none\n",
        f"witness a {W[0]}\nquorum b\n",
        f"quorum a\nwitness a {W[0]}\n",
        f"witness a {W[0]}\nquorum a\nquorum a\n",
        "quorum none\nquorum none\n",
        f"witness a {W[0]}\ngroup g 0 a\nquorum g\n",
        f"witness a {W[0]}\ngroup g 2 a\nquorum g\n",
        f"witness a {W[0]}\ngroup g 01 a\nquorum g\n",
        f"witness a {W[0]}\ngroup g some a\nquorum g\n",
        f"witness a {W[0]}\ngroup g any\nquorum g\n",
        f"witness a {W[0]}\ngroup g any a a\nquorum g\n",
        f"witness a {W[0]}\ngroup g any a none\nquorum g\n",
        f"witness a {W[0]}\ngroup g any a\ngroup h any a\nquorum h\n",
        f"witness a {W[0]}\ngroup a any a\nquorum a\n",
        f"witness a {W[0]}\ngroup g any g a\nquorum g\n",
        f"group g any a\nwitness a {W[0]}\nquorum g\n",
        f"witness a {W[0]} https://a b\nquorum a\n",
        f"log {LOG} u v\nquorum none\n",
        "log not-a-key\nquorum none\n",
        "trust everybody\nquorum none\n",
        "Quorum none\n",
        "quorum\n",
        "quorum none\r\n",
        "quorum\u00a0none\n",
        "quorum none\x00\n",
        "#" * (MAX_POLICY_BYTES + 1),
        "\n" * (MAX_POLICY_LINES + 1) + "quorum none\n",
    ],
)
def test_texts_that_are_no_policy(text: str) -> None:
    with pytest.raises(ConfigurationError):
        Policy.parse(text)


def test_one_key_under_two_names_is_one_key() -> None:
    again = [NoteVerifier(name=name, key_type=4, public=key("same").public).vkey for name in ("a", "b")]
    with pytest.raises(ConfigurationError, match="listed twice"):
        Policy.parse(f"witness a {again[0]}\nwitness b {again[1]}\nquorum a\n")


def test_two_keys_under_one_name_and_key_id_are_told_apart_by_nothing() -> None:
    seen: dict[bytes, bytes] = {}
    for number in range(1_000_000):  # a birthday's worth of key ids of 32 bits
        public = number.to_bytes(32)
        other = seen.setdefault(compute_key_id("w", 4, public), public)
        if other != public:
            break
    keys = [NoteVerifier(name="w", key_type=4, public=value) for value in (public, other)]
    assert keys[0].key_id == keys[1].key_id
    with pytest.raises(ConfigurationError, match="one key id"):
        Policy.parse(f"witness a {keys[0].vkey}\nwitness b {keys[1].vkey}\nquorum a\n")


def test_a_policy_built_in_code_is_held_to_the_same_rules() -> None:
    good = policy()
    for changes in (
        {"witnesses": (*good.witnesses, msgspec.structs.replace(good.witnesses[0], verifier=EXTRA))},
        {"witnesses": (*good.witnesses, WitnessEntry(name="a b", verifier=EXTRA))},
        {"witnesses": (*good.witnesses, WitnessEntry(name="x", verifier=EXTRA, url=""))},
        {"groups": (*good.groups, GroupEntry(name="agencies", threshold="any", members=("late",)))},
        {"groups": (GroupEntry(name="agencies", threshold="all", members=()),)},
        {"groups": (GroupEntry(name="agencies", threshold=0, members=AGENCIES),)},
        {"groups": (GroupEntry(name="agencies", threshold="any", members=("nobody",)),)},
        {"logs": tuple(LogEntry(verifier=witness.verifier) for witness in good.witnesses)},
        {"quorum": "nobody"},
    ):
        with pytest.raises(ConfigurationError, match="bad_policy"):
            msgspec.structs.replace(good, **changes)


def test_an_error_names_its_line() -> None:
    with pytest.raises(ConfigurationError, match="policy line 3: "):
        Policy.parse("# one\n\nwitness a b\n")


def test_octets_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="bad_policy"):
        Policy.parse(b"# caf\xe9\nwitness caf\xe9 " + W[0].encode() + b"\nquorum none\n")
    assert Policy.parse(b"# caf\xe9\nquorum none\n").quorum == "none", "in a comment they mean nothing"


@given(st.integers(1, 4), st.integers(1, 2), st.sets(st.sampled_from("abcdef")))
def test_nested_thresholds_count_as_a_brute_force_count_does(outer: int, inner: int, cosigners: set[str]) -> None:
    names = "abcdef"
    keys = [NoteVerifier(name=name, key_type=4, public=key(name).public).vkey for name in names]
    lines = [f"witness {name} {vkey}" for name, vkey in zip(names, keys, strict=True)]
    lines += [f"group pair {inner} e f", f"group all-of-us {outer} a b c d pair", "quorum all-of-us"]
    parsed = Policy.parse("\n".join(lines))
    pair = len(cosigners & {"e", "f"}) >= inner
    assert parsed.is_quorum(cosigners) == (len(cosigners & set("abcd")) + pair >= outer)


def test_verify_names_log_witnesses_and_times() -> None:
    verified = policy().verify_checkpoint(signed(("police", "customs", "north")))
    assert verified.checkpoint == CHECKPOINT
    assert verified.log == LOGS["interior"].verifier
    assert verified.cosignatures == (("police", TIME_S), ("customs", TIME_S + 1), ("north", TIME_S + 2))


def test_every_subset_of_cosigners_by_threshold() -> None:
    for threshold in (1, 2, 3, 4):
        for count in range(len(AGENCIES) + 1):
            for subset in combinations(AGENCIES, count):
                data = signed(subset)
                if count >= threshold:
                    policy(threshold).verify_checkpoint(data)
                else:
                    with pytest.raises(VerificationError, match="no_quorum"):
                        policy(threshold).verify_checkpoint(data)


def test_a_log_signature_is_required() -> None:
    with pytest.raises(VerificationError, match="no_log_signature"):
        policy().verify_checkpoint(signed(logs=()))
    with pytest.raises(VerificationError, match="no_log_signature"):
        single_log_policy(LOGS["customs"].verifier).verify_checkpoint(signed())
    verified = single_log_policy(LOGS["interior"].verifier).verify_checkpoint(signed(()))
    assert verified.cosignatures == ()


def test_repeated_cosignatures_count_once() -> None:
    with pytest.raises(VerificationError, match="no_quorum"):
        policy().verify_checkpoint(signed(("police", "customs", "police", "customs")))
    verified = policy(2).verify_checkpoint(signed(("police", "customs", "police", "customs")))
    assert verified.cosignatures == (("police", TIME_S), ("customs", TIME_S + 1))


def test_a_known_line_that_fails_rejects_the_checkpoint() -> None:
    parsed = SignedCheckpoint.parse(signed())
    stranger = COSIGNERS["police"].sign(b"another text\n", time_s=TIME_S)
    for broken in (stranger, LOGS["north"].sign(b"another text\n")):
        data = Note(text=CHECKPOINT.text, signatures=(*parsed.note.signatures, broken)).to_bytes()
        with pytest.raises(VerificationError, match="bad_signature"):
            policy().verify_checkpoint(data)


def test_a_log_key_of_another_origin() -> None:
    other = NoteSigner("other.example/log", key("other"))
    line = f"log {other.verifier.vkey}\nquorum none\n"
    data = Note(text=CHECKPOINT.text, signatures=(other.sign(CHECKPOINT.text),)).to_bytes()
    with pytest.raises(VerificationError, match="wrong_origin"):
        Policy.parse(line).verify_checkpoint(data)


def test_minimal_is_strict_and_smallest() -> None:
    data = policy().minimal(signed(("police", "north", "customs", "interior"), logs=("north", "interior")))
    verified = policy().verify_checkpoint(data, strict=True)
    assert verified.log == LOGS["north"].verifier
    assert [name for name, _ in verified.cosignatures] == ["customs", "interior", "north"]
    assert policy().minimal(data) == data
    with pytest.raises(VerificationError, match="no_quorum"):
        policy().minimal(signed(("police", "north")))


def test_minimal_under_a_nested_policy_keeps_the_auditor() -> None:
    parsed = Policy.parse(EXAMPLE)
    data = parsed.minimal(signed(logs=("police",)))
    names = {name for name, _ in parsed.verify_checkpoint(data, strict=True).cosignatures}
    assert names == {"X1", "X2", "auditor"}


def lines_of(data: bytes) -> tuple[bytes, list[bytes]]:
    parsed = SignedCheckpoint.parse(data)
    return parsed.note.text, [line.to_bytes() for line in parsed.note.signatures]


def test_strict_admits_one_spelling_only() -> None:
    accepted = policy()
    text, (log, *cosignatures) = lines_of(accepted.minimal(signed()))
    other_log = LOGS["north"].sign(CHECKPOINT.text).to_bytes()
    fourth = COSIGNERS["police"].sign(CHECKPOINT.text, time_s=TIME_S).to_bytes()
    unknown = NoteSigner("stranger.example", key("stranger")).sign(CHECKPOINT.text).to_bytes()
    for lines in (
        [*cosignatures, log],
        [log, *reversed(cosignatures)],
        [log, *cosignatures, fourth],
        [log, *cosignatures, unknown],
        [unknown, log, *cosignatures],
        [log, other_log, *cosignatures],
        [log, log, *cosignatures],
        [log, *cosignatures, cosignatures[-1]],
    ):
        data = text + b"\n" + b"".join(lines)
        accepted.verify_checkpoint(data)
        with pytest.raises(VerificationError, match="not_minimal"):
            accepted.verify_checkpoint(data, strict=True)


def test_strict_refuses_extension_lines() -> None:
    extended = Checkpoint(origin=ORIGIN, size=1, root=CHECKPOINT.root, extensions=("more",))
    data = signed(("customs", "interior", "north"), checkpoint=extended)
    policy().verify_checkpoint(data)
    with pytest.raises(VerificationError, match="not_minimal"):
        policy().verify_checkpoint(data, strict=True)
    with pytest.raises(VerificationError, match="not_minimal"):
        policy().minimal(data)


def test_no_changed_byte_of_a_strict_checkpoint_verifies() -> None:
    accepted = policy()
    data = accepted.minimal(signed())
    for at in range(len(data)):
        for changed in {data[at] ^ 1, data[at] ^ 0x20, 0x0A} - {data[at]}:
            mutated = data[:at] + bytes([changed]) + data[at + 1 :]
            with pytest.raises(VerificationError):
                accepted.verify_checkpoint(mutated, strict=True)
    for at in range(len(data)):
        with pytest.raises(VerificationError):
            accepted.verify_checkpoint(data[:at], strict=True)
        with pytest.raises(VerificationError):
            accepted.verify_checkpoint(data[:at] + data[at + 1 :], strict=True)
    with pytest.raises(VerificationError):
        accepted.verify_checkpoint(data + b"\n", strict=True)


def test_small_order_log_key_signs_nothing() -> None:
    identity = NoteVerifier(name=ORIGIN, key_type=ED25519, public=b"\x01" + bytes(31))
    blob = identity.key_id + b"\x01" + bytes(63)
    data = CHECKPOINT.text + f"\n— {ORIGIN} {b64encode(blob)}\n".encode()
    with pytest.raises(VerificationError, match="bad_signature"):
        single_log_policy(identity).verify_checkpoint(data)
