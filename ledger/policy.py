"""Trust policies (c2sp.org/tlog-policy): which logs, and which quorum of witnesses, make a checkpoint believable.

A policy file is what a court pins. `Policy.verify_checkpoint` is the only judge of checkpoints; `strict=True` is its
form for evidence, where one set of signers must have one spelling. What the checkpoint's tree holds is for proofs to
show.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final, Literal, NoReturn, Protocol

import msgspec

from ledger.checkpoint import Checkpoint, SignedCheckpoint, verify_cosignature
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_POLICY_BYTES, MAX_POLICY_LINES
from ledger.notes import COSIGNATURE_V1, ED25519, Note, NoteSignature, NoteVerifier, verify_line

NO_QUORUM: Final = "none"
"""The predefined name with which a policy asks for no cosignatures."""

_THRESHOLD: Final = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_BAD_OCTETS: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")

Threshold = int | Literal["all", "any"]


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted log key; its name is the origin. `url` is where to reach the log, if said."""

    verifier: NoteVerifier
    url: str | None = None


class WitnessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One witness key under the name that groups and the quorum know it by."""

    name: str
    verifier: NoteVerifier
    url: str | None = None


class GroupEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A group cosigned once `threshold` of its members (witnesses or earlier groups) have."""

    name: str
    threshold: Threshold
    members: tuple[str, ...]

    @property
    def needed(self) -> int:
        """The threshold as a number of members."""
        if self.threshold == "all":
            return len(self.members)
        return 1 if self.threshold == "any" else self.threshold


class VerifiedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that a policy accepts: the log key that signed it, and each witness's name and time (seconds,
    1970)."""

    checkpoint: Checkpoint
    log: NoteVerifier
    cosignatures: tuple[tuple[str, int], ...]


class Judge(Protocol):
    """Whoever says which checkpoints are to be believed: one `Policy`, or several in succession (`ledger.succession`)."""

    def verify_checkpoint(self, data: bytes, *, strict: bool = False) -> VerifiedCheckpoint:
        """See `Policy.verify_checkpoint`."""
        ...


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed policy. Several logs may have one name: every node of a ledger signs with its own key under the origin.

    Raises:
        ConfigurationError: code `bad_policy`, where the parts do not make a policy (see `parse`).
    """

    logs: tuple[LogEntry, ...]
    witnesses: tuple[WitnessEntry, ...] = ()
    groups: tuple[GroupEntry, ...] = ()
    quorum: str = NO_QUORUM

    def __post_init__(self) -> None:
        _check_keys([entry.verifier for entry in self.logs], ED25519, "log")
        _check_keys([entry.verifier for entry in self.witnesses], COSIGNATURE_V1, "witness")
        defined = {NO_QUORUM}
        for name in (*(witness.name for witness in self.witnesses), *(group.name for group in self.groups)):
            _check_word(name)
            if name in defined:
                _refuse("a name is defined twice", actual=name)
            defined.add(name)
        for url in (*(log.url for log in self.logs), *(witness.url for witness in self.witnesses)):
            if url is not None:
                _check_word(url)
        _check_groups(self.witnesses, self.groups)
        if self.quorum not in defined:
            _refuse("the quorum is not defined", actual=self.quorum)

    @staticmethod
    def parse(data: bytes | str) -> "Policy":
        """Parse a policy file: UTF-8 lines of `log`, `witness`, `group`, `quorum`, comments and blank lines.

        Bounds: `MAX_POLICY_BYTES`, `MAX_POLICY_LINES`. Names are compared as they are written.

        Raises:
            ConfigurationError: codes `bad_policy`, `bad_vkey`, with the line's number.
        """
        return _Parser().parse(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)

    def render(self) -> str:
        """The policy as a file, without comments: logs, witnesses, groups, quorum. Parses back to an equal policy."""
        lines = [_line("log", entry.verifier.vkey, entry.url) for entry in self.logs]
        lines += [_line("witness", entry.name, entry.verifier.vkey, entry.url) for entry in self.witnesses]
        lines += [_line("group", entry.name, str(entry.threshold), *entry.members) for entry in self.groups]
        return "".join(f"{line}\n" for line in (*lines, _line("quorum", self.quorum)))

    def is_quorum(self, cosigners: Collection[str]) -> bool:
        """Whether these witnesses (by their policy names) suffice."""
        if self.quorum == NO_QUORUM:
            return True
        satisfied = {witness.name for witness in self.witnesses if witness.name in cosigners}
        for group in self.groups:
            if sum(member in satisfied for member in group.members) >= group.needed:
                satisfied.add(group.name)
        return self.quorum in satisfied

    def verify_checkpoint(self, data: bytes, *, strict: bool = False) -> VerifiedCheckpoint:
        """Verify a signed checkpoint: a listed log signed it under its own origin, and the quorum cosigned it.

        Lines of unknown keys are ignored, a known key's line that fails rejects the note, a key's repeated lines count
        once. With `strict` the note must be what `minimal` makes: one log line first, then a minimal quorum of
        cosignatures (dropping any one breaks it) in the order of key name and key id, nothing else.

        Raises:
            VerificationError: codes `bad_note`, `bad_checkpoint`, `bad_signature`, `wrong_origin`, `no_log_signature`,
                `no_quorum`, `not_minimal`.
        """
        lines = self._judge(data)
        if strict:
            self._require_minimal(lines)
        return VerifiedCheckpoint(
            checkpoint=lines.signed.checkpoint,
            log=lines.logs[0][0].verifier,
            cosignatures=tuple((witness.name, time_s) for witness, _, time_s in lines.cosigned),
        )

    def minimal(self, data: bytes) -> bytes:
        """Reduce an accepted checkpoint to the strict form: its first log line and a minimal quorum of its cosignatures.

        Which witnesses stay follows from the lines' names alone: those late in the order are dropped first.

        Raises:
            VerificationError: as `verify_checkpoint`; also `not_minimal` for a checkpoint with extension lines.
        """
        lines = self._judge(data)
        if lines.signed.checkpoint.extensions:
            raise _not_minimal("extension lines")
        kept = sorted(lines.cosigned, key=lambda item: _line_order(item[1]))
        for item in reversed(kept):
            rest = [other for other in kept if other is not item]
            if self.is_quorum({witness.name for witness, _, _ in rest}):
                kept = rest
        signatures = (lines.logs[0][1], *(line for _, line, _ in kept))
        return Note(text=lines.signed.note.text, signatures=signatures).to_bytes()

    def _judge(self, data: bytes) -> "_KnownLines":
        """Parse and verify; what `verify_checkpoint` promises, but for `strict`."""
        lines = self._verify_lines(SignedCheckpoint.parse(data))
        if not lines.logs:
            raise VerificationError(
                "no listed log signed the checkpoint",
                code="no_log_signature",
                expected=[entry.verifier.vkey for entry in self.logs][:10],
                actual=[line.name for line in lines.signed.note.signatures][:10],
            )
        cosigners = {witness.name for witness, _, _ in lines.cosigned}
        if not self.is_quorum(cosigners):
            raise VerificationError(
                "the policy's quorum did not cosign the checkpoint",
                code="no_quorum",
                expected=f"quorum {self.quorum}",
                actual=sorted(cosigners),
            )
        return lines

    def _verify_lines(self, signed: SignedCheckpoint) -> "_KnownLines":
        """Verify every line of a known key; the first line of each, logs and witnesses apart, in the note's order."""
        text = signed.note.text
        known_logs = {(entry.verifier.name, entry.verifier.key_id): entry for entry in self.logs}
        known_witnesses = {(entry.verifier.name, entry.verifier.key_id): entry for entry in self.witnesses}
        logs: dict[NoteVerifier, tuple[LogEntry, NoteSignature]] = {}
        cosigned: dict[str, tuple[WitnessEntry, NoteSignature, int]] = {}
        for line in signed.note.signatures:
            log = known_logs.get((line.name, line.key_id))
            if log is not None:
                verify_line(text, line, log.verifier)
                if log.verifier.name != signed.checkpoint.origin:
                    raise VerificationError(
                        "a log key signed another log's origin",
                        code="wrong_origin",
                        expected=log.verifier.name,
                        actual=signed.checkpoint.origin,
                    )
                logs.setdefault(log.verifier, (log, line))
            witness = known_witnesses.get((line.name, line.key_id))
            if witness is not None:
                time_s = verify_cosignature(text, line, witness.verifier)
                cosigned.setdefault(witness.name, (witness, line, time_s))
        return _KnownLines(signed=signed, logs=tuple(logs.values()), cosigned=tuple(cosigned.values()))

    def _require_minimal(self, lines: "_KnownLines") -> None:
        note = lines.signed.note
        if lines.signed.checkpoint.extensions:
            raise _not_minimal("extension lines")
        expected = (lines.logs[0][1], *sorted((line for _, line, _ in lines.cosigned), key=_line_order))
        if note.signatures != expected:
            raise _not_minimal(f"{len(note.signatures)} lines, repeated, unknown, in another order or of several logs")
        names = {witness.name for witness, _, _ in lines.cosigned}
        needless = sorted(name for name in names if self.is_quorum(names - {name}))
        if needless:
            raise _not_minimal(f"needless cosignatures, of which any one may go: {needless}")


class _KnownLines(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed checkpoint with the verified lines of known keys, each key once, in the note's order."""

    signed: SignedCheckpoint
    logs: tuple[tuple[LogEntry, NoteSignature], ...]
    cosigned: tuple[tuple[WitnessEntry, NoteSignature, int], ...]


class _Parser:
    """Line by line; definitions must precede their uses."""

    def __init__(self) -> None:
        self._logs: list[LogEntry] = []
        self._witnesses: list[WitnessEntry] = []
        self._groups: list[GroupEntry] = []
        self._names: set[str] = set()
        self._quorum: str | None = None

    def parse(self, data: bytes) -> Policy:
        if len(data) > MAX_POLICY_BYTES:
            _refuse("the policy is too large", expected=f"<= {MAX_POLICY_BYTES} bytes", actual=len(data))
        rows = data.removesuffix(b"\n").split(b"\n")
        if len(rows) > MAX_POLICY_LINES:
            _refuse("the policy has too many lines", expected=f"<= {MAX_POLICY_LINES}", actual=len(rows))
        for number, row in enumerate(rows, start=1):
            try:
                self._parse_row(row)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"policy line {number}: {error.message}",
                    code=error.code,
                    expected=error.expected,
                    actual=error.actual,
                    help=error.help,
                ) from error
        if self._quorum is None:
            _refuse("the policy has no quorum line", expected="one line `quorum NAME` or `quorum none`")
        return Policy(
            logs=tuple(self._logs),
            witnesses=tuple(self._witnesses),
            groups=tuple(self._groups),
            quorum=self._quorum,
        )

    def _parse_row(self, row: bytes) -> None:
        control = _BAD_OCTETS.search(row)
        if control is not None:
            _refuse("a control character", expected="lines that end in LF only", actual=repr(control[0]))
        stripped = row.strip(b" \t")
        if not stripped or stripped.startswith(b"#"):
            return
        try:
            words = [word for word in re.split("[ \t]+", stripped.decode("utf-8")) if word]
        except UnicodeDecodeError:
            _refuse("not UTF-8", actual=repr(row[:80]))
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self._logs.append(LogEntry(verifier=NoteVerifier.parse(vkey), url=url[0] if url else None))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._define(name)
                verifier = NoteVerifier.parse(vkey)
                self._witnesses.append(WitnessEntry(name=name, verifier=verifier, url=url[0] if url else None))
            case ["group", name, threshold, *members] if members:
                for member in members:
                    self._require_defined(member)
                self._define(name)
                self._groups.append(
                    GroupEntry(name=name, threshold=_parse_threshold(threshold), members=tuple(members))
                )
            case ["quorum", name]:
                if self._quorum is not None:
                    _refuse("a second quorum line")
                if name != NO_QUORUM:
                    self._require_defined(name)
                self._quorum = name
            case _:
                _refuse("not a line of a policy", expected="log, witness, group, quorum", actual=repr(words[:4]))

    def _define(self, name: str) -> None:
        if name in self._names or name == NO_QUORUM:
            _refuse("the name is already defined", actual=name)
        self._names.add(name)

    def _require_defined(self, name: str) -> None:
        if name not in self._names:
            _refuse("the name is not defined on an earlier line", actual=name)


def single_log_policy(verifier: NoteVerifier) -> Policy:
    """The policy that trusts one log key and asks for no cosignatures."""
    return Policy(logs=(LogEntry(verifier=verifier),))


def _parse_threshold(text: str) -> Threshold:
    if text == "all":
        return "all"
    if text == "any":
        return "any"
    if _THRESHOLD.fullmatch(text) is None:
        _refuse("not a threshold", expected="all, any, or a decimal number", actual=text)
    return int(text)


def _check_keys(verifiers: list[NoteVerifier], key_type: int, what: str) -> None:
    if any(verifier.key_type != key_type for verifier in verifiers):
        _refuse(f"a {what} key has another signature type", expected=key_type)
    if len({verifier.public for verifier in verifiers}) != len(verifiers):
        _refuse(f"a {what} key is listed twice")
    ids: Mapping[tuple[str, bytes], NoteVerifier] = {(v.name, v.key_id): v for v in verifiers}
    if len(ids) != len(verifiers):
        _refuse(f"two {what} keys have one name and one key id")


def _check_groups(witnesses: tuple[WitnessEntry, ...], groups: tuple[GroupEntry, ...]) -> None:
    defined = {witness.name for witness in witnesses}
    used: set[str] = set()
    for group in groups:
        if isinstance(group.threshold, int) and not 1 <= group.threshold <= len(group.members):
            _refuse(
                "the threshold does not fit the group",
                expected=f"1 to {len(group.members)}",
                actual=f"{group.threshold} of {group.name}",
            )
        if not group.members:
            _refuse("a group has no members", actual=group.name)
        for member in group.members:
            if member not in defined:
                _refuse("a group's member is not defined before it", actual=member)
            if member in used:
                _refuse("a name is a member twice", actual=member)
            used.add(member)
        defined.add(group.name)


def _check_word(word: str) -> None:
    if not word or re.search("[\x00-\x20\x7f]", word):
        _refuse("a word of a policy is empty or has spaces or control characters", actual=repr(word[:80]))


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None)


def _line_order(line: NoteSignature) -> tuple[str, bytes]:
    return line.name, line.key_id


def _refuse(message: str, *, expected: object = None, actual: object = None) -> NoReturn:
    raise ConfigurationError(message, code="bad_policy", expected=expected, actual=actual)


def _not_minimal(actual: str) -> VerificationError:
    return VerificationError(
        "the checkpoint is not in the one form that evidence must have",
        code="not_minimal",
        expected="no extension lines, one log line, then a minimal quorum of cosignatures sorted by name",
        actual=actual,
    )
