"""Records signed beforehand, for the load that the benchmarks post: deterministic, no real maker, no real weapon."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ledger.codec import encode
from ledger.genesis import Genesis
from ledger.keyfile import unseal
from ledger.records import PartyEnrol, WeaponRegister
from ledger.records.envelope import prove_possession, sign_record
from ledger.records.fields import format_time
from ledger.records.items import Attributes, LotRow, RowAttributes, WeaponRegisterBody
from ledger.records.membership import PartyEnrolBody
from ledger.signing import SigningKey

MAKE = "BEN"


def agency_record_key(folder: Path) -> SigningKey:
    """The record key of the agency whose folder of a throw-away network this is."""
    passphrase = (folder / "passphrase").read_bytes().strip()
    keys = unseal((folder / "keys.sealed").read_bytes(), passphrase)
    return SigningKey(next(seed for name, seed in keys.items() if name.endswith("record")))


def nonce(*parts: object) -> str:
    """16 bytes in base64url, different for different parts."""
    digest = hashlib.sha256(encode([str(part) for part in parts])).digest()[:16]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Maker:
    """A party that registers weapons of one make; its key is derived from its name."""

    def __init__(self, party: str, genesis: Genesis, *, now_ms: int) -> None:
        self.party = party
        self.ledger = genesis.ledger_id
        self.issued_at = format_time(now_ms)
        self.key = SigningKey(hashlib.sha256(b"benchmark/" + party.encode()).digest())

    def enrolment(self, sponsor: str, sponsor_key: SigningKey, *, jurisdiction: str) -> bytes:
        """The entry with which `sponsor` enrols this maker."""
        body = PartyEnrolBody(
            party=self.party,
            name=f"Benchmark {self.party}",
            roles=("maker",),
            jurisdiction=jurisdiction,
            makes=(MAKE,),
            key=prove_possession(self.key, ledger=self.ledger, party=self.party, role="record"),
        )
        record = PartyEnrol(
            body=body,
            issued_at=self.issued_at,
            issuer=sponsor,
            ledger=self.ledger,
            nonce=nonce("enrol", self.party),
            refs=(),
            schema=1,
        )
        return sign_record(record, sponsor_key)

    def lots(self, count: int, *, weapons: int, start: int = 0) -> Iterator[bytes]:
        """`count` signed lots of `weapons` weapons each, serials numbered from `start`."""
        defaults = Attributes(make=MAKE, model="Model 1", type="PI", calibre="9", country="XA", year=2026)
        nothing = RowAttributes()
        for lot in range(count):
            first = start + lot * weapons
            rows = tuple(
                LotRow(f"{self.party.upper().replace('-', '')[:6]}{number:07d}", nothing)
                for number in range(first, first + weapons)
            )
            record = WeaponRegister(
                body=WeaponRegisterBody(defaults=defaults, rows=rows),
                issued_at=self.issued_at,
                issuer=self.party,
                ledger=self.ledger,
                nonce=nonce(self.party, first),
                refs=(),
                schema=1,
            )
            yield sign_record(record, self.key)


def batch_body(entries: list[bytes]) -> bytes:
    """The body of one POST /v1/records."""
    return b'{"envelopes":[' + b",".join(entries) + b"]}"


def api_urls(folder: Path) -> dict[str, str]:
    """Party -> base URL of its API, of a throw-away network."""
    agencies = json.loads((folder / "network.json").read_text())["agencies"]
    return {party: addresses["api"] for party, addresses in agencies.items()}
