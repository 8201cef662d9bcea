"""An epoch: the validators that decide, and the arithmetic that follows from them (P1.1, P1.2)."""

import msgspec

from ledger import quorum
from ledger.consensus.leader import leader, leader_offset
from ledger.errors import ConfigurationError
from ledger.limits import MAX_VALIDATORS
from ledger.signing import PUBLIC_KEY_BYTES


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """The ordered consensus keys of one epoch, and the digest that opened it.

    `opening_digest` is the genesis document's hash for epoch 0, else the digest of the block that closed the epoch before.
    """

    number: int
    validators: tuple[bytes, ...]
    opening_digest: bytes

    def __post_init__(self) -> None:
        keys = self.validators
        if not 1 <= len(keys) <= MAX_VALIDATORS or len(set(keys)) != len(keys):
            raise ConfigurationError(
                "an epoch needs distinct validators", expected=f"1 to {MAX_VALIDATORS} keys", actual=len(keys)
            )
        if any(len(key) != PUBLIC_KEY_BYTES for key in keys) or len(self.opening_digest) != 32 or self.number < 0:
            raise ConfigurationError("an epoch's keys and opening digest have 32 bytes, its number is not negative")

    @property
    def size(self) -> int:
        """n."""
        return len(self.validators)

    @property
    def quorum(self) -> int:
        """q = n - f."""
        return quorum.quorum(len(self.validators))

    @property
    def one_honest(self) -> int:
        """f + 1."""
        return quorum.one_honest(len(self.validators))

    def leader(self, view: int) -> int:
        """The index of the validator that leads `view`. Requires view >= 1."""
        return leader(len(self.validators), leader_offset(self.opening_digest), view)

    def index_of(self, public: bytes) -> int | None:
        """The place of a key, or None if it is no member."""
        return self.validators.index(public) if public in self.validators else None
