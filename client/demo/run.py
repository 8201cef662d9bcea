"""What happens in the demonstration, chapter by chapter. See `client.demo` for how it is split."""

import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from client.audit import audit_node
from client.author import Author
from client.cli.layout import trace_story
from client.demo.cast import AGENCIES, CASE, CUSTOMS, DEALER, IMPORTER, INTERIOR, MAKER, NEIGHBOUR, POLICE, Cast
from client.demo.story import Story
from client.localnet import LocalNetwork
from client.lots import split_into_lots
from client.manifest import ManifestRow, read_codes, read_manifest
from client.sample import sample_codes, sample_manifest
from client.session import Session
from ledger.bundle import Bundle, VerifiedTrace, verify_bundle
from ledger.codec import decode
from ledger.errors import VerificationError
from ledger.limits import MAX_BUNDLE_BYTES
from ledger.records import IncidentReport, TransferAccept, TransferOffer, WeaponRegister
from ledger.records.custody import TransferOfferBody, TransferStepBody
from ledger.records.envelope import parse_entry
from ledger.records.fields import format_time
from ledger.records.incidents import IncidentReportBody
from ledger.state.model import WeaponDoc

WEAPONS: Final = 5_000
MOVED: Final = 20
SAMPLE_SEED: Final = 2026
OFFER_LIFE_S: Final = 14 * 24 * 3600
LEVEL_TIMEOUT_S: Final = 30.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, in the order of the demonstration's last line."""

    weapons: int
    records: int
    height: int
    size: int
    root: str
    finality_p50_ms: int
    trace_ms: int
    audit_records_per_s: int

    def line(self) -> str:
        """`demo: ok weapons=... ...`"""
        values = " ".join(f"{name}={getattr(self, name)}" for name in self.__struct_fields__)
        return f"demo: ok {values}"


class Demonstration:
    """One run over a folder. Every chapter leaves what the next ones need in its attributes."""

    def __init__(self, folder: Path, story: Story, *, manifest: Path | None, codes: Path | None) -> None:
        self._folder = folder
        self._story = story
        self._manifest = manifest
        self._codes = codes
        self._finality_ms: list[float] = []

    def run(self) -> Figures:
        """All of it.

        Raises:
            CheckFailedError: something that must hold does not.
            TracemarkError: something failed on the way.
        """
        story = self._story
        story.say("Four agencies keep one ledger of weapons. None of them can rewrite it alone.")
        rows = self._read_manifest()
        story.chapter("The ceremony: four agencies, four nodes")
        with LocalNetwork.create(self._folder, AGENCIES) as network:
            self._start(network)
            with Cast(network, home=self._folder / "home") as cast:
                self._enrol(cast, rows)
                weapons = self._register(cast, rows)
                moved = self._pick(weapons)
                self._move(network, cast, moved)
                seized = moved[0]
                self._theft_and_seizure(cast, seized)
                trace, bundle, trace_ms = self._trace(cast, seized, weapons[seized])
                self._evidence(network, cast, trace, bundle)
                return self._audit(network, cast, weapons=len(weapons), trace_ms=trace_ms)

    # --- chapters ---------------------------------------------------------------------------------------------------

    def _read_manifest(self) -> list[ManifestRow]:
        this_year = datetime.now(UTC).year
        codes: bytes | None
        if self._manifest is None:
            data, codes = sample_manifest(WEAPONS, seed=SAMPLE_SEED, last_year=this_year), sample_codes()
        else:
            data = self._manifest.read_bytes()
            codes = self._codes.read_bytes() if self._codes is not None else None
        checked = read_manifest(
            data, today=datetime.now(UTC).date(), codes=None if codes is None else read_codes(codes)
        )
        self._story.check("every line of the manifest is in order", expected=0, actual=len(checked.problems))
        return list(checked.rows)

    def _start(self, network: LocalNetwork) -> None:
        story = self._story
        story.say("Each agency made its keys and its TLS authority; one put the genesis document together.")
        network.start()
        network.wait_ready()
        states = {agency: network.network_status(agency) for agency in AGENCIES}
        story.say(f"The ledger is {states[INTERIOR]['ledger']}: its origin, and the hash of that document.")
        story.table(
            "agency",
            "process",
            "API",
            rows=[(agency, str(network.pid(agency)), network.url(agency)) for agency in AGENCIES],
        )
        story.check("four processes, one ledger", expected=1, actual=len({s["ledger"] for s in states.values()}))

    def _enrol(self, cast: Cast, rows: Sequence[ManifestRow]) -> None:
        story = self._story
        makes = tuple(sorted({row.make for row in rows}))
        story.chapter("The parties: enrolled by the agencies")
        story.say(f"Interior enrols a maker (for the make codes {', '.join(makes)}) and a dealer; customs an importer.")
        entries = {
            INTERIOR: [
                cast.enrolment(MAKER, sponsor=INTERIOR, name="Aldane Arms", role="maker", makes=makes),
                cast.enrolment(DEALER, sponsor=INTERIOR, name="Harbour Dealer", role="dealer"),
            ],
            CUSTOMS: [cast.enrolment(IMPORTER, sponsor=CUSTOMS, name="Meridian Import", role="importer")],
        }
        for agency, signed in entries.items():
            for submitted in cast.session(agency, party=agency, role="inquirer").submit(signed):
                submitted.require_final()
        for party in (MAKER, IMPORTER, DEALER):
            document = cast.session(INTERIOR, party=INTERIOR, role="inquirer").party(party)
            story.check(f"{party} is proven to be on the ledger", expected=True, actual=document.document is not None)

    def _register(self, cast: Cast, rows: Sequence[ManifestRow]) -> dict[str, ManifestRow]:
        story = self._story
        story.chapter("The manifest: a maker registers its weapons")
        lots = split_into_lots(rows)
        maker = cast.author(MAKER)
        entries = [maker.issue(WeaponRegister, lot.body) for lot in lots]
        sizes = dict(zip((parse_entry(entry).id for entry in entries), (len(lot.lines) for lot in lots), strict=True))
        session = cast.session(INTERIOR, party=MAKER)
        started = time.perf_counter()
        with story.progress("weapons registered", len(rows)) as bar:
            for submitted in session.submit(entries, progress=lambda done: bar.advance(sizes[done.id])):
                submitted.require_final()
        seconds = time.perf_counter() - started
        story.say(
            f"  {len(rows):,} weapons in {len(lots)} signed lots: final on four nodes after {seconds:.1f} s "
            f"({len(rows) / seconds:,.0f} weapons/s), each lot with a receipt that was verified."
        )
        by_line = {row.line: row for row in rows}
        return {weapon: by_line[line] for lot in lots for weapon, line in zip(lot.weapons, lot.lines, strict=True)}

    def _pick(self, weapons: dict[str, ManifestRow]) -> list[str]:
        """Twenty weapons from all over the manifest, or all of a smaller one."""
        return list(weapons)[:: max(1, len(weapons) // MOVED)][:MOVED]

    def _move(self, network: LocalNetwork, cast: Cast, moved: Sequence[str]) -> None:
        story = self._story
        story.chapter(f"Custody: {len(moved)} weapons change hands twice, and a node is killed")
        steps = 4 * len(moved)
        with story.progress("steps signed and final", steps) as bar:
            for number, weapon in enumerate(moved):
                if number == len(moved) // 3:
                    pid = network.pid(NEIGHBOUR)
                    network.kill(NEIGHBOUR)
                    story.say(f"  SIGKILL to the node of {NEIGHBOUR} (process {pid}); the other three go on.")
                if number == 2 * len(moved) // 3:
                    network.start(NEIGHBOUR)
                    story.say(f"  The node of {NEIGHBOUR} is started again (process {network.pid(NEIGHBOUR)}).")
                for giver, taker, agency in ((MAKER, IMPORTER, CUSTOMS), (IMPORTER, DEALER, INTERIOR)):
                    offer = self._offer(cast.author(giver), weapon, to=taker)
                    self._submit(cast.session(agency, party=giver), offer)
                    accept = self._accept(cast.author(taker), weapon, offer=offer)
                    self._submit(cast.session(agency, party=taker), accept)
                    bar.advance(2)
        level_s = self._wait_level(network)
        states = {agency: network.network_status(agency) for agency in AGENCIES}
        story.table(
            "agency",
            "height",
            "size",
            "root",
            rows=[
                (agency, str(state["height"]), str(state["size"]), f"{str(state['root'])[:32]}...")
                for agency, state in states.items()
            ],
        )
        story.check(
            f"the killed node is level again ({level_s:.1f} s after the last step)",
            expected=1,
            actual=len({(state["height"], state["root"]) for state in states.values()}),
        )

    def _theft_and_seizure(self, cast: Cast, weapon: str) -> None:
        story = self._story
        story.chapter("The crime: reported stolen, later seized")
        now = format_time(int(time.time() * 1000))
        stolen = cast.author(DEALER).issue(
            IncidentReport, IncidentReportBody(incident="stolen", occurred_at=now, weapons=(weapon,))
        )
        self._submit(cast.session(INTERIOR, party=DEALER), stolen)
        story.say(f"  {DEALER} reports weapon {weapon} stolen: from now on nobody holds it.")
        seized = cast.author(POLICE).issue(
            IncidentReport, IncidentReportBody(incident="seized", occurred_at=now, weapons=(weapon,), case=CASE)
        )
        self._submit(cast.session(POLICE, party=POLICE, role="inquirer"), seized)
        story.say(f"  The police seize it in case {CASE}.")

    def _trace(self, cast: Cast, weapon: str, row: ManifestRow) -> tuple[VerifiedTrace, bytes, int]:
        story = self._story
        story.chapter(f"The trace: {row.make} serial {row.serial}, asked of the node of {NEIGHBOUR}")
        session = cast.session(NEIGHBOUR, party=NEIGHBOUR, role="inquirer")
        self._wait_seen(session, weapon)
        started = time.perf_counter()
        candidates = session.search(row.serial, make=row.make)
        trace, bundle = session.provenance(candidates[0].id)
        trace_ms = round((time.perf_counter() - started) * 1000)
        story.check("exactly one weapon of this make carries this serial", expected=1, actual=len(candidates))
        story.show(*trace_story(trace))
        story.say(f"Found, answered, proven and verified in {trace_ms} ms; {NEIGHBOUR} wrote none of these records.")
        chain = [(hop.after.owner, hop.after.possessor, hop.after.status) for hop in trace.hops]
        story.check(
            "the chain is maker, importer, dealer, nobody, police",
            expected=[
                (MAKER, MAKER, "held"),
                (MAKER, MAKER, "held"),
                (IMPORTER, IMPORTER, "held"),
                (IMPORTER, IMPORTER, "held"),
                (DEALER, DEALER, "held"),
                (DEALER, None, "stolen"),
                (DEALER, POLICE, "seized"),
            ],
            actual=chain,
        )
        return trace, bundle, trace_ms

    def _evidence(self, network: LocalNetwork, cast: Cast, trace: VerifiedTrace, data: bytes) -> None:
        story = self._story
        story.chapter("The evidence: one file, verified offline against a pinned policy")
        folder = self._folder / "evidence"
        folder.mkdir()
        (folder / "trace.bundle").write_bytes(data)
        (folder / "policy.txt").write_bytes(network.policy.read_bytes())
        again = verify_bundle((folder / "trace.bundle").read_bytes(), cast.policy)
        story.check(f"the bundle ({len(data):,} bytes) verifies with no node asked", expected=trace, actual=again)
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self._refused(cast, "one changed byte", changed)
        bundle: Bundle = decode(data, Bundle, limit=MAX_BUNDLE_BYTES)
        shorter = msgspec.structs.replace(bundle, records=bundle.records[:-1])
        self._refused(cast, "a bundle without its last hop", shorter.to_bytes())

    def _refused(self, cast: Cast, what: str, data: bytes) -> None:
        failed = None
        try:
            verify_bundle(data, cast.policy)
        except VerificationError as error:
            failed = error.code
        self._story.check(f"{what} is refused (failed check: {failed})", expected=True, actual=failed is not None)

    def _audit(self, network: LocalNetwork, cast: Cast, *, weapons: int, trace_ms: int) -> Figures:
        story = self._story
        story.chapter("The audit: every node's log replayed from entry 0")
        self._wait_level(network)
        audits = {}
        for agency in AGENCIES:
            token = network.new_token(agency, party=agency, role="auditor")
            with story.progress(f"{agency:<10} entries", network.network_status(agency)["size"]) as bar:
                audits[agency] = audit_node(
                    network.url(agency),
                    policy=cast.policy,
                    ca=network.authorities,
                    token=token.read_text().strip(),
                    progress=bar.advance,
                )
        first = audits[INTERIOR]
        story.table(
            "agency",
            "entries",
            "root recomputed from entry 0",
            rows=[(agency, str(audited.size), audited.root) for agency, audited in audits.items()],
        )
        for agency, audited in audits.items():
            story.check(
                f"{agency}: {audited.records:,} records ({audited.weapons:,} weapons) hold, and the root is the same",
                expected=(first.size, first.root),
                actual=(audited.size, audited.root),
            )
        return Figures(
            weapons=weapons,
            records=first.records,
            height=first.height,
            size=first.size,
            root=first.root,
            finality_p50_ms=round(statistics.median(self._finality_ms)),
            trace_ms=trace_ms,
            audit_records_per_s=round(statistics.median(audited.records_per_s for audited in audits.values())),
        )

    # --- steps ------------------------------------------------------------------------------------------------------

    def _offer(self, author: Author, weapon: str, *, to: str) -> bytes:
        expires_at = format_time(int((time.time() + OFFER_LIFE_S) * 1000))
        body = TransferOfferBody(weapons=(weapon,), to=to, moves="both", expires_at=expires_at)
        return author.issue(TransferOffer, body)

    def _accept(self, author: Author, weapon: str, *, offer: bytes) -> bytes:
        return author.issue(TransferAccept, TransferStepBody(transfer=parse_entry(offer).id, weapons=(weapon,)))

    def _submit(self, session: Session, entry: bytes) -> None:
        started = time.perf_counter()
        session.submit([entry])[0].require_final()
        self._finality_ms.append((time.perf_counter() - started) * 1000)

    def _wait_level(self, network: LocalNetwork) -> float:
        """Wait until all nodes stand at one size; the seconds that it took."""
        started = time.perf_counter()
        while time.perf_counter() - started < LEVEL_TIMEOUT_S:
            states = [network.network_status(agency) for agency in AGENCIES]
            if len({(state["size"], state["root"]) for state in states}) == 1:
                break
            time.sleep(0.05)
        return time.perf_counter() - started

    def _wait_seen(self, session: Session, weapon: str) -> None:
        """Wait until the seizure, final at the police's node, is cosigned at this one too: it may be a block later."""
        deadline = time.monotonic() + LEVEL_TIMEOUT_S
        while time.monotonic() < deadline:
            document = session.weapon(weapon).document
            if isinstance(document, WeaponDoc) and document.status == "seized":
                return
            time.sleep(0.02)
