"""A pinned policy that keeps up with the agencies: their successions are fetched when needed, verified, and remembered.

What is remembered is what `ledger.succession` proves, so a damaged file costs a question and nothing else. Two successions
that both hold and differ are as grave as a forked log: a quorum of some epoch appointed two successors.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from client.errors import ForkError, NotFoundError
from client.files import file_stem, locked, read_file, write_file
from ledger.errors import ConfigurationError, VerificationError
from ledger.limits import MAX_SUCCESSION_BYTES
from ledger.policy import Policy, VerifiedCheckpoint
from ledger.succession import SUCCESSION_FORMAT, FollowedPolicy, Succession, decode_succession, follow

_NOTHING: Final = Succession(format=SUCCESSION_FORMAT, steps=())
_UNKNOWN_SIGNERS: Final = frozenset({"no_log_signature", "no_quorum", "not_minimal"})
"""How a checkpoint of validators that are not known yet fails."""


class FollowingPolicy:
    """A `ledger.policy.Judge` that starts at a pinned policy. Not for several threads at once."""

    def __init__(
        self,
        pinned: Policy,
        folder: Path,
        *,
        fetch: Callable[[], bytes] | None = None,
        given: Succession | None = None,
    ) -> None:
        """
        Args:
            pinned: what is believed without proof.
            folder: where successions are remembered, one file an origin.
            fetch: asks a node for its succession file; NotFoundError where it has none.
            given: one more succession to begin with, such as a file.

        Raises:
            VerificationError: the given succession does not hold, or not for this policy.
            ForkError: it contradicts the remembered one.
        """
        self._pinned = pinned
        self._folder = folder
        self._fetch = fetch
        self._followed = follow(pinned, _NOTHING)
        self._succession = _NOTHING
        self._recall()
        if given is not None:
            self._adopt(given.to_bytes(), given)

    @property
    def known(self) -> tuple[Succession, FollowedPolicy]:
        """The succession as far as it is known, and the policies that it makes of the pinned one."""
        return self._succession, self._followed

    def verify_checkpoint(self, data: bytes, *, strict: bool = False) -> VerifiedCheckpoint:
        """See `ledger.policy.Policy.verify_checkpoint`. Signers that are unknown are a reason to ask for the succession.

        Raises:
            VerificationError: as there; `succession_form`, `succession_broken`, `cannot_follow` of what a node showed.
            ForkError: the node's succession contradicts the remembered one.
        """
        try:
            return self._followed.verify_checkpoint(data, strict=strict)
        except VerificationError as error:
            if error.code not in _UNKNOWN_SIGNERS or not self.update():
                raise
            return self._followed.verify_checkpoint(data, strict=strict)

    def update(self) -> bool:
        """Ask for the succession; whether it goes on from what was known.

        Raises:
            As `verify_checkpoint`.
        """
        if self._fetch is None:
            return False
        try:
            data = self._fetch()
        except NotFoundError:
            return False
        return self._adopt(data, decode_succession(data))

    def _adopt(self, data: bytes, succession: Succession) -> bool:
        """Believe a succession that holds and continues the known one. Whether it knows more."""
        if not succession.steps:
            return False
        followed = follow(self._pinned, succession)
        self._refuse_fork(followed, data)
        if len(followed.eras) <= len(self._followed.eras):
            return False
        self._followed, self._succession = followed, succession
        write_file(self._path("json"), data, mode=0o644)
        return True

    def _recall(self) -> None:
        path = self._path("json")
        if not path.exists():
            return
        try:
            data = read_file(path, limit=MAX_SUCCESSION_BYTES, what="remembered succession")
            succession = decode_succession(data)
            followed = follow(self._pinned, succession)
        except (ConfigurationError, VerificationError):
            return  # damaged, or of another pinned policy: a node shows it again
        self._followed, self._succession = followed, succession

    def _refuse_fork(self, shown: FollowedPolicy, data: bytes) -> None:
        for old, new in zip(self._followed.eras, shown.eras, strict=False):
            both_end = None not in (old.last_size, new.last_size)
            if old.policy == new.policy and (not both_end or old.last_size == new.last_size):
                continue
            files = []
            with locked(self._path("lock")):
                for name, content in (("fork-known", self._succession.to_bytes()), ("fork-shown", data)):
                    write_file(self._path(f"{name}.json"), content, mode=0o644)
                    files.append(str(self._path(f"{name}.json")))
            raise ForkError(
                "a quorum of the agencies appointed two different successors",
                files=tuple(files),
                expected=f"the succession known since earlier: closed at size {old.last_size}",
                actual=f"closed at size {new.last_size}",
                help="Stop using the ledger, and give both files to the other agencies and to a witness.",
            )

    def _path(self, suffix: str) -> Path:
        origin = self._pinned.logs[0].verifier.name if self._pinned.logs else "none"
        return self._folder / f"{file_stem(origin)}.{suffix}"
