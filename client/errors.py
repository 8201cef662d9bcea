"""What can go wrong on the client's side, beyond the ledger's own errors, and the exit code of each.

TracemarkError
|-- NodeUnreachableError     no node of those given answered
|-- NotFoundError            the node answered: there is nothing of that name
|-- AmbiguousError           more than one weapon answers to what was asked
|-- NotAllowedError          the node does not let this token do that
|-- AnswerError              the node's answer is not what its interface promises
`-- VerificationError        (ledger)
    |-- ForkError            the node's log contradicts the one remembered: keep both, stop, raise the alarm
    |-- CheckFailedError     something that must hold, does not
    `-- StaleError           the node's log is behind the one remembered, and no other node is level
"""

from typing import Any, Final

from ledger.errors import (
    ConfigurationError,
    InputError,
    OverloadError,
    RuleError,
    StoreError,
    TracemarkError,
    VerificationError,
)


class NodeUnreachableError(TracemarkError):
    """No node answered, after all tries at all of them."""

    default_code = "node_unreachable"


class NotFoundError(TracemarkError):
    """A node answered, and what was asked for is not there."""

    default_code = "not_found"


class AmbiguousError(TracemarkError):
    """Several weapons answer to one description. `candidates` are what there is to choose from, JSON-ready."""

    default_code = "ambiguous_serial"

    def __init__(self, message: str, *, candidates: list[dict[str, Any]], **details: Any) -> None:
        super().__init__(message, **details)
        self.candidates = candidates

    def as_dict(self) -> dict[str, Any]:
        """The error with its candidates."""
        return {**super().as_dict(), "candidates": self.candidates}


class NotAllowedError(TracemarkError):
    """The token is unknown, of another role, or purpose and case are missing."""

    default_code = "not_allowed"


class AnswerError(TracemarkError):
    """The node answered with something that its interface does not allow; nothing of it was believed."""

    default_code = "bad_answer"


class ForkError(VerificationError):
    """Two signed checkpoints of one log that no one log can have. Both are kept in `files` as evidence."""

    default_code = "fork"

    def __init__(self, message: str, *, files: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.files = files

    def as_dict(self) -> dict[str, Any]:
        """The error with the files that prove it."""
        return {**super().as_dict(), "files": list(self.files)}


class CheckFailedError(VerificationError):
    """A claim of the demonstration or of an audit that was tried and does not hold."""

    default_code = "check_failed"


class StaleError(VerificationError):
    """All nodes that answered are behind a checkpoint already seen; consistent with it, but not current."""

    default_code = "stale"


EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_NOTHING: Final = 5
EXIT_INTERNAL: Final = 70
EXIT_INTERRUPTED: Final = 130

_EXIT_CODES: Final[tuple[tuple[type[TracemarkError], int], ...]] = (
    (StaleError, EXIT_UNREACHABLE),
    (VerificationError, EXIT_FAILED),
    (AnswerError, EXIT_FAILED),
    (RuleError, EXIT_REFUSED),
    (NotAllowedError, EXIT_REFUSED),
    (NodeUnreachableError, EXIT_UNREACHABLE),
    (OverloadError, EXIT_UNREACHABLE),
    (NotFoundError, EXIT_NOTHING),
    (InputError, EXIT_USAGE),
    (ConfigurationError, EXIT_USAGE),
    (AmbiguousError, EXIT_USAGE),
    (StoreError, EXIT_INTERNAL),
)


def exit_code(error: TracemarkError) -> int:
    """The exit code of a command that ends with this error: 1 verification, 2 usage, 3 refused, 4 no node, 5 nothing."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_INTERNAL)
