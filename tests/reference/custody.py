"""A naive model of who owns and who holds: plain dicts, written from DESIGN 7 and DOMAIN 2. Shares no code with the rules.

It predicts, for records that are otherwise well made, whether the ledger accepts them and what follows.
"""

from typing import Any


class Custody:
    """Weapons by any name; parties by name. Times in ms. Methods return whether the record is lawful, and then do it."""

    def __init__(self, police: set[str], sponsors: dict[str, str], makers: set[str]) -> None:
        self.police = police
        self.sponsors = sponsors
        self.makers = makers
        self.weapons: dict[str, dict[str, Any]] = {}
        self.offers: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _exists(self, weapon: str) -> bool:
        return weapon in self.weapons and self.weapons[weapon]["status"] != "void"

    def _live(self, transfer: str, now: int) -> bool:
        offer = self.offers.get(transfer)
        return offer is not None and offer["open"] and now < offer["until"]

    def _note(self, weapon: str, record: str) -> None:
        self.weapons[weapon]["trail"].append(record)

    def _remember(self, record: str, issuer: str, weapons: list[str]) -> None:
        before = {weapon: _copy(self.weapons.get(weapon)) for weapon in weapons}
        self.records[record] = {"issuer": issuer, "weapons": set(weapons), "before": before}

    # --- records ----------------------------------------------------------------------------------------------------

    def register(self, record: str, issuer: str, weapons: list[str]) -> bool:
        if issuer not in self.makers or any(self._exists(w) and self.weapons[w]["known"] for w in weapons):
            return False
        self._remember(record, issuer, weapons)
        for weapon in weapons:
            if self._exists(weapon):
                self.weapons[weapon]["known"] = True
            else:
                trail = self.weapons.get(weapon, {"trail": []})["trail"]
                self.weapons[weapon] = {
                    "status": "held",
                    "owner": issuer,
                    "holder": issuer,
                    "known": True,
                    "trail": trail,
                }
            self._note(weapon, record)
        return True

    def offer(self, record: str, issuer: str, to: str, weapons: list[str], *, moves: str, until: int, now: int) -> bool:
        if to == issuer:
            return False
        for weapon in weapons:
            if not self._exists(weapon) or self.weapons[weapon]["status"] in ("lost", "stolen"):
                return False
            if moves in ("title", "both") and self.weapons[weapon]["owner"] != issuer:
                return False
            if moves in ("custody", "both") and self.weapons[weapon]["holder"] != issuer:
                return False
            for transfer, other in self.offers.items():
                shares = moves == "both" or other["moves"] in ("both", moves)
                if weapon in other["weapons"] and shares and self._live(transfer, now):
                    return False
        self.offers[record] = {
            "from": issuer,
            "to": to,
            "weapons": set(weapons),
            "moves": moves,
            "until": until,
            "open": True,
        }
        for weapon in weapons:
            self._note(weapon, record)
        return True

    def answer(self, record: str, issuer: str, transfer: str, weapons: list[str], *, how: str, now: int) -> bool:
        if not self._live(transfer, now):
            return False
        offer = self.offers[transfer]
        if set(weapons) != offer["weapons"] or issuer != (offer["from"] if how == "cancel" else offer["to"]):
            return False
        offer["open"] = False
        for weapon in weapons:
            if how == "accept" and offer["moves"] in ("title", "both"):
                self.weapons[weapon]["owner"] = issuer
            if how == "accept" and offer["moves"] in ("custody", "both"):
                self.weapons[weapon]["holder"] = issuer
                self.weapons[weapon]["status"] = "held"
            self._note(weapon, record)
        return True

    def report(self, record: str, issuer: str, what: str, weapons: list[str], strangers: list[str]) -> bool:
        for weapon in weapons:
            if not self._exists(weapon) or not self._may_report(issuer, what, self.weapons[weapon]):
                return False
        if strangers:
            if what not in ("seized", "found") or issuer not in self.police:
                return False
            if any(self._exists(weapon) for weapon in strangers):
                return False
        if not weapons and not strangers:
            return False
        self._remember(record, issuer, weapons + strangers)
        for weapon in weapons:
            self.weapons[weapon]["status"] = what
            self.weapons[weapon]["holder"] = None if what in ("lost", "stolen") else issuer
            for offer in self.offers.values():
                if weapon in offer["weapons"]:
                    offer["open"] = False
        for weapon in strangers:
            trail = self.weapons.get(weapon, {"trail": []})["trail"]
            self.weapons[weapon] = {"status": what, "owner": None, "holder": issuer, "known": False, "trail": trail}
        for weapon in weapons + strangers:
            self._note(weapon, record)
        return True

    def _may_report(self, issuer: str, what: str, weapon: dict[str, Any]) -> bool:
        if what in ("lost", "stolen"):
            near = {weapon["holder"]} - {None}
            if weapon["status"] not in ("seized", "found", "recovered"):
                near |= {weapon["owner"]} - {None}
            near |= {self.sponsors[party] for party in near if party in self.sponsors}
            if issuer not in near:
                return False
            return weapon["status"] not in ("lost", "stolen") or (what, weapon["status"]) == ("stolen", "lost")
        if issuer not in self.police:
            return False
        if what == "seized":
            return bool(weapon["status"] != "seized")
        return weapon["status"] in ({"found": ("lost",), "recovered": ("lost", "stolen")}[what])

    def correct(self, record: str, issuer: str, wrong: str, weapons: list[str]) -> bool:
        known = self.records.get(wrong)
        if known is None or known["issuer"] != issuer or known["weapons"] != set(weapons):
            return False
        if any(self.weapons[weapon]["trail"][-1] != wrong for weapon in weapons):
            return False
        for weapon in weapons:
            trail = self.weapons[weapon]["trail"]
            before = known["before"][weapon]
            if before is None or before["status"] == "void":
                before = {"status": "void", "owner": None, "holder": None, "known": False}
            self.weapons[weapon] = {**before, "trail": trail}
            self._note(weapon, record)
        return True


def _copy(weapon: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if weapon is None else {**weapon, "trail": []}
