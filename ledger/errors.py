"""Every error of Tracemark, in one tree split by blame.

    TracemarkError
    |-- InternalError            ours: an invariant of the program does not hold
    |-- InputError               the bytes somebody handed us
    |   |-- EncodingError        not the one canonical form, too large, wrong type, unknown field
    |   `-- SignatureError       a signature, key or signer set that is not what it must be
    |-- RuleError                a well-formed record that the ledger's rules refuse (a stable rule code)
    |-- VerificationError        a proof, note, checkpoint or bundle that does not hold
    |-- PeerError                a peer broke the protocol or sent garbage
    |-- StoreError               the disk or database failed us
    |   `-- CorruptionError      what was read back is not what was written
    |-- ConfigurationError       a file or option of the operator
    `-- OverloadError            we are full; try again later

An error is for the person who gets it: `message` says what happened, `expected` and `actual` say it exactly, `help` says
what to do. `code` is stable and may be matched by programs; the other texts may change.
"""

from typing import Any


class TracemarkError(Exception):
    """Base of all errors; never raised itself."""

    default_code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        expected: object = None,
        actual: object = None,
        help: str | None = None,  # noqa: A002 - the field's public name
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.expected = None if expected is None else str(expected)
        self.actual = None if actual is None else str(actual)
        self.help = help

    def __str__(self) -> str:
        text = f"{self.message} [{self.code}]"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.actual is not None:
            text += f", got {self.actual}"
        if self.help is not None:
            text += f". {self.help}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """The error as a JSON-ready object: code, message, and those of expected, actual, help that are present."""
        fields: dict[str, Any] = {"code": self.code, "message": self.message}
        for name in ("expected", "actual", "help"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        return fields


class InternalError(TracemarkError):
    """The program broke one of its own invariants. Nothing the caller did; report it."""

    default_code = "internal"


class InputError(TracemarkError):
    """Bytes from outside that cannot be what they claim to be."""

    default_code = "malformed"


class EncodingError(InputError):
    """Not canonical, not of the schema, or over a limit (DESIGN 4.2)."""

    default_code = "malformed"


class SignatureError(InputError):
    """A signature that fails, a key that is not acceptable, or signers that are not the required ones (DESIGN 4.4)."""

    default_code = "bad_signature"


class RuleError(TracemarkError):
    """A record that breaks a rule of the ledger's state. `code` names the rule (see ledger/state/rules)."""

    default_code = "rule_broken"


class VerificationError(TracemarkError):
    """A proof, signed note, checkpoint or bundle that does not verify. `code` names the check that failed."""

    default_code = "verification_failed"


class PeerError(TracemarkError):
    """A peer sent what no honest peer sends."""

    default_code = "peer_misbehaved"


class StoreError(TracemarkError):
    """The store did not do what it was asked; the node must stop voting."""

    default_code = "store_failed"


class CorruptionError(StoreError):
    """The store returned something other than what was written to it."""

    default_code = "store_corrupt"


class ConfigurationError(TracemarkError):
    """A configuration, key or policy file that cannot be used as it is."""

    default_code = "bad_configuration"


class OverloadError(TracemarkError):
    """A bound was reached. `retry_after_s` says when another try makes sense."""

    default_code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: int = 1, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s
