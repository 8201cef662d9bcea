"""A session with a ledger's nodes: submit records, ask questions, and believe nothing that is not proven.

Every answer that can carry a proof is verified against the policy, and its checkpoint against the one remembered
(`client.trust`), before it is returned. What no proof can show (search hits, a pending record's status, why a record was
refused) is returned as what it is: the node's word.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar
from urllib.parse import quote

import httpx

from client.answers import (
    Candidate,
    Consistency,
    EvidencePage,
    ListedProposal,
    Page,
    ProposalPage,
    RecordAnswer,
    RecordResult,
    Submitted,
    batches_of,
    checkpoint_of,
    decode_answer,
    envelopes_body,
    pages,
    read_results,
    refusal,
)
from client.errors import AnswerError, NotFoundError, StaleError
from client.following import FollowingPolicy
from client.http import MAX_PATIENCE_S, NodeClient
from client.trust import UNPROVEN, LogSource, TrustStore
from ledger.answer import VerifiedDocument, verify_state_answer
from ledger.bundle import VerifiedTrace, verify_bundle
from ledger.codec import b64decode
from ledger.errors import EncodingError, InputError, OverloadError, VerificationError
from ledger.genesis import Genesis, decode_genesis
from ledger.limits import (
    MAX_ANSWER_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_GENESIS_BYTES,
    MAX_NOTE_BYTES,
    MAX_PROOF_HASHES,
    MAX_REQUEST_BYTES,
    MAX_SUCCESSION_BYTES,
)
from ledger.marks import normalise
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.proof import inclusion_proof
from ledger.merkle.tiles import Tile, TileReader
from ledger.merkle.verify import verify_inclusion
from ledger.policy import Judge, Policy, VerifiedCheckpoint
from ledger.proof import LogProof
from ledger.records.envelope import parse_entry
from ledger.records.evidence import Evidence
from ledger.state.model import VALIDATORS_KEY, KindOfDocument
from ledger.succession import FollowedPolicy, Succession

T = TypeVar("T")

STALE_TRIES: Final = 10
"""Times that a question is put again, to one node after another, before the ledger counts as stale."""
STALE_PAUSE_S: Final = 0.1
FINAL_PATIENCE_S: Final = 120.0
"""How long a record may take to become final and cosigned before `submit` leaves it pending."""
NOTICE_AFTER_S: Final = 4.0
"""How long a submission may take before a word is said: several blocks of a healthy ledger."""
PROGRESS_BATCH_BYTES: Final = 256 * 1024
"""A request's size where somebody watches: a few lots, so that the bar moves, and still a block's worth."""
_MAX_TILE_BYTES: Final = 256 * (2 + 65_535)


class Session:
    """One user's session with the nodes of one ledger. A context manager; not for several threads at once."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        policy: Policy,
        succession: Succession | None = None,
        home: Path,
        ca: Path | None = None,
        token: str | None = None,
        purpose: str | None = None,
        case: str | None = None,
        patience_s: float = MAX_PATIENCE_S,
        first_patience_s: float | None = None,
        tell: Callable[[str], None] | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """See `client.http.NodeClient` for the arguments.

        `home` is where checkpoints and the agencies' successions are remembered; `succession` is one known already, for the
        policy to begin with.

        Raises:
            ConfigurationError: as `NodeClient`.
            VerificationError: the succession does not hold (`ledger.succession.follow`).
            ForkError: it contradicts the remembered one.
        """
        self._nodes = NodeClient(
            urls,
            ca=ca,
            token=token,
            purpose=purpose,
            case=case,
            patience_s=patience_s,
            first_patience_s=first_patience_s,
            tell=tell,
            transport=transport,
            clock=clock,
            sleep=sleep,
        )
        self._tell = tell
        self._policy = FollowingPolicy(policy, home / "successions", fetch=self._fetch_succession, given=succession)
        self._trust = TrustStore(home / "checkpoints")
        self._clock = clock
        self._sleep = sleep
        self._asked = self._nodes.urls[0]
        self._genesis: Genesis | None = None
        self._accepted: tuple[bytes, VerifiedCheckpoint, bool] | None = None

    # --- the ledger itself ------------------------------------------------------------------------------------------

    def checkpoint(self) -> tuple[VerifiedCheckpoint, bytes]:
        """The newest checkpoint: verified against the policy and the remembered one. Also the signed note.

        Raises:
            VerificationError, ForkError, StaleError; those of `NodeClient.get`.
        """

        def ask() -> tuple[tuple[VerifiedCheckpoint, bytes], bool]:
            note = self._ask("/v1/checkpoint", limit=MAX_NOTE_BYTES)
            verified, newest = self._accept(note)
            return (verified, note), newest

        return self._current(ask)

    def genesis(self) -> Genesis:
        """The genesis document, proven to be entry 0 of the log.

        Raises:
            VerificationError: code `wrong_genesis`, or the checkpoint's.
        """
        if self._genesis is None:
            data = self._nodes.get("/v1/genesis", limit=MAX_GENESIS_BYTES).body
            verified, _ = self.checkpoint()
            checkpoint = verified.checkpoint
            proof = inclusion_proof(0, checkpoint.size, TileReader(checkpoint.size, self.tile).node)
            try:
                verify_inclusion(
                    leaf_hash=leaf_hash(data), index=0, size=checkpoint.size, proof=proof, root=checkpoint.root
                )
                genesis = decode_genesis(data)
            except (VerificationError, EncodingError) as error:
                raise VerificationError(
                    f"the node's genesis document is not the log's: {error.message}", code="wrong_genesis"
                ) from error
            self._genesis = genesis
        return self._genesis

    def ledger_id(self) -> str:
        """The ledger id that every record names, from the proven genesis document."""
        return self.genesis().ledger_id

    def network(self) -> dict[str, object]:
        """What the node says of itself and its peers; not proven."""
        return decode_answer(self._nodes.get("/v1/network", limit=MAX_ANSWER_BYTES), dict[str, object])

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """The consistency proof between two sizes as the preferred node tells it; unverified."""
        answer = self._nodes.get("/v1/consistency", {"from": str(older), "to": str(newer)}, limit=MAX_NOTE_BYTES)
        proof = decode_answer(answer, Consistency).proof[: MAX_PROOF_HASHES + 1]
        try:
            return [b64decode(text, size=32, what="hash") for text in proof]
        except EncodingError as error:
            raise AnswerError(f"the consistency proof is malformed: {error.message}", actual=answer.url) from error

    def tile(self, tile: Tile) -> bytes:
        """A hash tile or an entry bundle as the preferred node tells it; unverified."""
        return self._nodes.get(f"/{tile.path}", limit=_MAX_TILE_BYTES).body

    def succession(self) -> tuple[Succession, FollowedPolicy]:
        """The changes of the validators as the preferred node shows them, and what the policy makes of them, verified.

        Raises:
            VerificationError, ForkError: see `client.following`; those of `NodeClient.get`.
        """
        self._policy.update()
        return self._policy.known

    def _fetch_succession(self) -> bytes:
        return self._nodes.get("/v1/succession", limit=MAX_SUCCESSION_BYTES).body

    @property
    def judge(self) -> Judge:
        """Who says which checkpoints are believed: the policy, and its successors as far as they are known or needed."""
        return self._policy

    # --- records ----------------------------------------------------------------------------------------------------

    def submit(
        self,
        entries: Sequence[bytes],
        *,
        wait: bool = True,
        patience_s: float = FINAL_PATIENCE_S,
        progress: Callable[[Submitted], None] | None = None,
    ) -> list[Submitted]:
        """Submit signed records, in order, in as many requests as needed. Submitting a record again is harmless.

        Args:
            entries: entry bytes (`ledger.records.envelope.sign_record`).
            wait: until each is final, with a verified receipt, refused, or out of patience.
            patience_s: for each request's records.
            progress: called once for each record when its fate is known.

        Returns:
            One result for each entry, in order. Refused records are among them, with their errors.

        Raises:
            NodeUnreachableError, NotAllowedError, OverloadError, AnswerError, VerificationError, ForkError.
        """
        done: list[Submitted] = []
        limit = MAX_REQUEST_BYTES if progress is None else PROGRESS_BATCH_BYTES
        for batch in batches_of(entries, limit=limit):
            for submitted in self._submit_batch(batch, wait=wait, patience_s=patience_s):
                done.append(submitted)
                if progress is not None:
                    progress(submitted)
        return done

    def _submit_batch(self, entries: Sequence[bytes], *, wait: bool, patience_s: float) -> list[Submitted]:
        ids = [parse_entry(entry).id for entry in entries]
        done: dict[str, Submitted] = {}
        deadline = self._clock() + patience_s
        waiting = dict(zip(ids, entries, strict=True))
        was_told = False
        while waiting:
            try:
                with self._telling_of_a_wait(deadline):
                    answer = self._nodes.post(
                        "/v1/records", envelopes_body(list(waiting.values())), {"wait": "final" if wait else "none"}
                    )
            except OverloadError:
                if done:
                    break  # what became of the others is known
                raise
            results = read_results(answer, len(waiting))
            for (record_id, entry), result in zip(tuple(waiting.items()), results, strict=True):
                submitted = self._submitted(record_id, entry, result)
                done[record_id] = submitted
                settled = submitted.status in ("refused", "expired") or submitted.receipt is not None
                is_put_off = isinstance(submitted.error, OverloadError)  # there was no room for it: there may be later
                if (settled and not is_put_off) or not wait:
                    del waiting[record_id]
            if waiting:
                left_s = deadline - self._clock()
                if left_s <= 0:
                    break
                if self._tell is not None and not was_told:
                    was_told = True
                    is_taken = any(done[record_id].error is None for record_id in waiting)
                    said = f"admitted by {answer.url}, not final yet" if is_taken else f"no room yet at {answer.url}"
                    self._tell(f"{said}; waiting {left_s:.0f} s more")
                self._sleep(STALE_PAUSE_S)
        return [done[record_id] for record_id in ids]

    @contextmanager
    def _telling_of_a_wait(self, deadline: float) -> Iterator[None]:
        """Say so once, from a thread of its own, while a node takes its time to answer a submission."""
        if self._tell is None:
            yield
            return
        words = f"sent to {self._nodes.urls[0]}, not final yet; waiting up to {deadline - self._clock():.0f} s"
        timer = threading.Timer(NOTICE_AFTER_S, self._tell, [words])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _submitted(self, record_id: str, entry: bytes, result: RecordResult) -> Submitted:
        if result.id is not None and result.id != record_id:
            raise AnswerError("the node answered about another record", expected=record_id, actual=result.id[:80])
        error = None
        if result.status == "refused" or result.error is not None:
            error = refusal(result.error)
        if result.status != "final" or result.receipt is None:
            # Without a receipt the node's word for "final" is not enough.
            status = "pending" if result.status == "final" else result.status
            return Submitted(id=record_id, status=status, index=result.index, height=result.height, error=error)
        receipt = result.receipt.encode()
        index = self._verify_receipt(receipt, entry)
        return Submitted(id=record_id, status="final", index=index, height=result.height, receipt=receipt)

    def _verify_receipt(self, receipt: bytes, entry: bytes) -> int:
        """A receipt under an older checkpoint than the remembered one is as good: what is in the log stays there."""
        proof = LogProof.parse(receipt)
        verified, _ = self._accept(proof.checkpoint)
        proof.head.verify(leaf_hash(entry), verified.checkpoint)
        return proof.head.index

    def record(self, record_id: str) -> tuple[Submitted, bytes | None]:
        """A record's fate and, where the token may read it, its entry bytes; verified once it is final.

        Raises:
            NotFoundError; VerificationError, ForkError; those of `NodeClient.get`.
        """
        answer = decode_answer(self._nodes.get(f"/v1/records/{quote(record_id)}"), RecordAnswer)
        if answer.entry is None:
            error = refusal(answer.error) if answer.status == "refused" else None
            return Submitted(
                id=record_id, status=answer.status, index=answer.index, height=answer.height, error=error
            ), None
        try:
            entry = b64decode(answer.entry, what="entry")
            actual = parse_entry(entry).id
        except EncodingError as error:
            raise AnswerError(f"the node's entry is not a record: {error.message}") from error
        if actual != record_id:
            raise AnswerError("the node answered with another record", expected=record_id, actual=actual)
        result = RecordResult(
            status=answer.status,
            id=record_id,
            index=answer.index,
            height=answer.height,
            error=answer.error,
            receipt=answer.receipt,
        )
        return self._submitted(record_id, entry, result), entry

    # --- the state --------------------------------------------------------------------------------------------------

    def weapon(self, weapon_id: str) -> VerifiedDocument:
        """A weapon's document, or the proof that there is none, as of the newest checkpoint."""
        return self._document("weapon", weapon_id, f"/v1/weapons/{quote(weapon_id)}")

    def party(self, party_id: str) -> VerifiedDocument:
        """A party's document, or the proof that there is none, as of the newest checkpoint."""
        return self._document("party", party_id, f"/v1/parties/{quote(party_id)}")

    def key(self, public: str) -> VerifiedDocument:
        """A key's document, or the proof that there is none, as of the newest checkpoint."""
        return self._document("key", public, f"/v1/keys/{quote(public)}")

    def validators(self) -> VerifiedDocument:
        """The epoch's validators as of the newest checkpoint."""
        return self._document(VALIDATORS_KEY.kind, VALIDATORS_KEY.id, "/v1/validators")

    def proposal(self, proposal_id: str) -> VerifiedDocument:
        """A proposal's document, or the proof that there is none, as of the newest checkpoint."""
        return self._document("proposal", proposal_id, f"/v1/proposals/{quote(proposal_id)}")

    def proposals(self) -> list[ListedProposal]:
        """All proposals ever, in no telling order; the node's word. Raises as `search`."""
        return [each for page in pages(self._nodes, "/v1/proposals", ProposalPage) for each in page.proposals]

    def evidence(self) -> list[Evidence]:
        """What a node holds against agencies' nodes; each is still to be verified. Raises as `search`."""
        return [each for page in pages(self._nodes, "/v1/evidence", EvidencePage) for each in page.evidence]

    def provenance(self, weapon_id: str) -> tuple[VerifiedTrace, bytes]:
        """A weapon's complete history, verified, and the evidence bundle that proves it to others.

        Raises:
            NotFoundError; VerificationError, ForkError, StaleError; those of `NodeClient.get`.
        """

        def ask() -> tuple[tuple[VerifiedTrace, bytes], bool]:
            data = self._ask(f"/v1/weapons/{quote(weapon_id)}/provenance", limit=MAX_BUNDLE_BYTES)
            trace = verify_bundle(data, self._policy)
            if trace.weapon != weapon_id:
                raise VerificationError(
                    "the bundle is another weapon's", code="wrong_answer", expected=weapon_id, actual=trace.weapon
                )
            _, newest = self._accept(checkpoint_of(data))
            return (trace, data), newest

        return self._current(ask)

    def search(self, serial: str, *, make: str | None = None) -> list[Candidate]:
        """All weapons that carry a serial, of any make or of one, that this token may see; the node's word.

        Raises:
            AnswerError; those of `NodeClient.get`.
        """
        found: list[Candidate] = []
        params = {"serial": serial, **({} if make is None else {"make": make})}
        while True:
            page = decode_answer(self._nodes.get("/v1/weapons", params), Page)
            found += page.weapons
            if page.next is None:
                break
            params["cursor"] = page.next
        wrong = [hit for hit in found if hit.serial != normalise(serial) or (make is not None and hit.make != make)]
        if wrong:
            raise AnswerError("the node answered with another serial", expected=serial, actual=wrong[0].serial)
        return found

    def _document(self, kind: KindOfDocument, id: str, path: str) -> VerifiedDocument:  # noqa: A002
        def ask() -> tuple[VerifiedDocument, bool]:
            data = self._ask(path, limit=MAX_ANSWER_BYTES)
            document = verify_state_answer(data, kind=kind, id=id, policy=self._policy)
            _, newest = self._accept(checkpoint_of(data))
            return document, newest

        return self._current(ask)

    # --- what is believed -------------------------------------------------------------------------------------------

    def _accept(self, note: bytes) -> tuple[VerifiedCheckpoint, bool]:
        """Verify a checkpoint against policy and memory. Says also whether it is as new as the remembered one."""
        if self._accepted is not None and self._accepted[0] == note:
            return self._accepted[1], self._accepted[2]
        verified = self._policy.verify_checkpoint(note)
        for last in (*([False] * (len(self._nodes.urls) - 1)), True):
            try:
                newest = self._trust.observe(note, _Growth(self)) == "newest"
                break
            except VerificationError as error:
                if error.code != UNPROVEN or last:
                    raise
                self._nodes.demote(self._nodes.urls[0])
        self._accepted = (note, verified, newest)
        return verified, newest

    def _ask(self, path: str, *, limit: int) -> bytes:
        """One answer, of a node that is remembered as the one that gave it."""
        answer = self._nodes.get(path, limit=limit)
        self._asked = answer.url
        return answer.body

    def _current(self, ask: Callable[[], tuple[T, bool]]) -> T:
        """Ask until the answer is as of the remembered checkpoint or a newer one, of one node after another.

        A node behind the remembered checkpoint cannot show yet that it is on the same log; it counts as stale while there
        are tries left.
        """
        failure: VerificationError = StaleError(
            "every node that answers is behind what was seen before",
            help="Wait until the nodes have caught up, or ask another agency's node.",
        )
        for attempt in range(STALE_TRIES):
            try:
                answer, newest = ask()
                if newest:
                    return answer
            except VerificationError as error:
                if error.code != UNPROVEN:
                    raise
                failure = error
            self._nodes.demote(self._asked)
            self._sleep(STALE_PAUSE_S * (attempt + 1))
        raise failure

    def close(self) -> None:
        """Close the connections."""
        self._nodes.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Growth(LogSource):
    """What a session's preferred node tells of how its log grew; that it tells nothing is a finding, not a failure."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def consistency(self, older: int, newer: int) -> list[bytes]:
        with _telling():
            return self._session.consistency(older, newer)

    def tile(self, tile: Tile) -> bytes:
        with _telling():
            return self._session.tile(tile)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (InputError, NotFoundError, AnswerError) as error:
        raise VerificationError(
            f"the node cannot show how its log grew: {error.message}",
            code=UNPROVEN,
            expected=error.expected,
            actual=error.actual,
            help="It may be behind: try again, or ask another node.",
        ) from error
