"""A validator gone bad: it holds an agency's keys and certificate, opens links as nodes do, and then does what it likes.

    python -m tests.overload.peer FOLDER PARTY SECONDS RECORDS WAY [WAY ...]

FOLDER is that of a throw-away network; PARTY must sort first among its agencies, whose node must not run: who sorts first is
the one who dials. RECORDS holds entries, one on a line, to gossip.
"""

import asyncio
import itertools
import json
import secrets
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import websockets.exceptions
from websockets.asyncio.client import ClientConnection, connect

from ledger.consensus.messages import (
    BlockRequest,
    Certificate,
    CertificateMessage,
    CertificateRequest,
    Evidence,
    EvidenceMessage,
    Message,
    Notarize,
    Nullify,
    Proposal,
    Status,
    Vote,
    VoteMessage,
    signed_bytes,
)
from ledger.limits import MAX_FRAME_BYTES
from node.clock import SystemClock
from node.config import load_config, load_genesis
from node.cosigning import Cosigning, decode_cosignature
from node.keys import load_keys
from node.membership import Members, Roster
from node.peers.certificates import certificate_hash, client_context, public_key_hash
from node.peers.directory import LINK_PATH
from node.peers.opening import NONCE_BYTES, Opening
from node.peers.wire import Cosignatures, Gossip, PeerMessage, encode_frame

PAUSE_S: Final = 0.02
FAR: Final = 2**40


class HostilePeer:
    """One agency's node, as its enemy would run it."""

    def __init__(self, folder: Path, party: str, records: list[bytes]) -> None:
        self.config = load_config(folder / party / "node.toml")
        self.genesis = load_genesis(self.config)
        self.party = party
        agencies = {agency.party: agency for agency in self.genesis.agencies}
        assert party == min(agencies), "who sorts first dials"
        self.keys = load_keys(self.config, agencies[party])
        self.members = Members.of_genesis(self.genesis)
        self.own = self.members.index_of(party)
        assert self.own is not None
        self.victims = {other: self.config.peers.addresses[other] for other in agencies if other != party}
        self.contexts = {
            other: client_context(self.config.tls.certificate, self.config.tls.key, agencies[other])
            for other in self.victims
        }
        self.contacts = Roster(party, [self.members]).contacts()
        self.records = records
        self.counts: Counter[str] = Counter()

    # --- links ------------------------------------------------------------------------------------------------------

    async def link(self, victim: str) -> ClientConnection:
        """An open link."""
        connection = await connect(
            f"wss://{self.victims[victim]}{LINK_PATH}",
            ssl=self.contexts[victim],
            server_hostname=victim,
            proxy=None,
            compression=None,
            max_size=None,
            ping_interval=None,
        )
        tls = connection.transport.get_extra_info("ssl_object")
        opening = Opening(
            chain=self.genesis.chain_id,
            party=self.party,
            key=self.keys.transport,
            side="initiator",
            nonce=secrets.token_bytes(NONCE_BYTES),
            own_key_hash=certificate_hash(self.config.tls.certificate),
            peer_key_hash=public_key_hash(tls.getpeercert(binary_form=True)),
            peer=self.contacts[victim],
        )
        await connection.send(opening.hello())
        opening.receive_hello(await connection.recv(decode=False))
        await connection.send(opening.proof())
        opening.receive_proof(await connection.recv(decode=False))
        self.counts["links"] += 1
        return connection

    async def pour(self, victim: str, what: str, frames: Iterator[bytes]) -> None:
        """Send frames over a link as fast as they are taken; again on a new link when it is cut."""
        connection = await self.link(victim)
        reading = asyncio.create_task(_swallow(connection))
        try:
            for frame in frames:
                await connection.send(frame)
                self.counts[what] += 1
                await asyncio.sleep(0)  # let it be noticed that the link was cut
        finally:
            reading.cancel()
            connection.transport.abort()

    # --- what it says -----------------------------------------------------------------------------------------------

    def _forged(self) -> Iterator[Message]:
        """Votes, certificates and evidence that others never signed, each of which must be verified to be seen through."""
        for view in itertools.count(1):
            proposal = Proposal(epoch=0, view=view % 60 + 1, parent_view=0, digest=secrets.token_bytes(32))
            other = (self.own or 0) + 1
            votes: list[Vote] = [
                Notarize(proposal=proposal, signer=other, signature=secrets.token_bytes(64)),
                Nullify(epoch=0, view=view % 60 + 1, signer=other, signature=secrets.token_bytes(64)),
            ]
            yield from (VoteMessage(vote=vote) for vote in votes)
            signatures = tuple((signer, secrets.token_bytes(64)) for signer in range(3))
            yield CertificateMessage(
                certificate=Certificate(
                    kind="finalization", epoch=0, view=proposal.view, proposal=proposal, signatures=signatures
                )
            )
            another = Proposal(epoch=0, view=proposal.view, parent_view=0, digest=bytes(32))
            second = Notarize(proposal=another, signer=other, signature=bytes(64))
            yield EvidenceMessage(evidence=Evidence(first=votes[0], second=second))

    def _own(self) -> Iterator[PeerMessage]:
        """Lawful in form and truly signed: votes for far views, cosignatures of far sizes, status, questions."""
        cosigning = Cosigning(self.genesis.origin, self.keys, SystemClock(), self.members)
        for number in itertools.count(1):
            bare = Nullify(epoch=0, view=FAR + number, signer=self.own or 0, signature=bytes(64))
            signature = self.keys.consensus.sign(signed_bytes(self.genesis.chain_id, bare))
            far = Nullify(epoch=0, view=FAR + number, signer=self.own or 0, signature=signature)
            yield VoteMessage(vote=far)
            cosigned = cosigning.cosign(10**6 + number, secrets.token_bytes(32))
            assert cosigned is not None
            yield Cosignatures(items=(decode_cosignature(cosigned),))
            yield Status(
                epoch=0, view=FAR, entry=None, finalized_view=FAR, height=number, digest=secrets.token_bytes(32)
            )
            yield CertificateRequest(epoch=0, views=tuple(range(64)))
            yield BlockRequest(digest=secrets.token_bytes(32))

    def _gossip(self, *, spoilt: bool) -> Iterator[bytes]:
        """Records, well signed or not, each seldom sent twice."""
        pages = [self.records[at : at + 200] for at in range(0, len(self.records), 200)]
        for number in itertools.count():
            page = pages[number % len(pages)]
            if spoilt:
                mark = b"%06d" % (number % 10**6)
                page = [
                    entry.replace(b'"sig":"' + entry.partition(b'"sig":"')[2][:6], b'"sig":"' + mark) for entry in page
                ]
            yield encode_frame(Gossip(entries=tuple(page)))

    # --- ways -------------------------------------------------------------------------------------------------------

    async def forge(self, victim: str) -> None:
        """Forged votes, certificates and evidence without end."""
        await self.pour(victim, "forged", map(encode_frame, self._forged()))

    async def talk(self, victim: str) -> None:
        """Votes for far views, cosignatures of far sizes, status and questions without end."""
        await self.pour(victim, "own", map(encode_frame, self._own()))

    async def gossip(self, victim: str) -> None:
        """Valid records without end."""
        await self.pour(victim, "gossiped", self._gossip(spoilt=False))

    async def spoil(self, victim: str) -> None:
        """Records with wrong signatures without end."""
        await self.pour(victim, "spoilt", self._gossip(spoilt=True))

    async def garbage(self, victim: str) -> None:
        """A frame that is none, or too large; then a new link."""
        frame = secrets.choice(
            (b"\xc1" * 100, secrets.token_bytes(10_000), bytes(MAX_FRAME_BYTES + 1), b"\x91" * 5_000)
        )
        await self.pour(victim, "garbage", iter([frame]))

    async def stare(self, victim: str) -> None:
        """A link that is never read."""
        connection = await self.link(victim)
        connection.transport.pause_reading()
        self.counts["unread"] += 1
        await asyncio.sleep(3600)

    async def ask(self, victim: str) -> None:
        """Pages of blocks, one after the other."""
        extensions = {"sni_hostname": victim}
        async with httpx.AsyncClient(verify=self.contexts[victim], trust_env=False, timeout=30) as http:
            url = f"https://{self.victims[victim]}/blocks?from=1&count=64"
            answer = await http.get(url, extensions=extensions)
            self.counts[f"pages {answer.status_code}"] += 1

    async def knock(self, victim: str) -> None:
        """A connection that says nothing, before the handshake or after it."""
        address = self.victims[victim]
        context = secrets.choice((None, self.contexts[victim]))
        name = victim if context is not None else None
        _, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname=name)
        self.counts["knocks"] += 1
        try:
            await asyncio.sleep(5)
        finally:
            writer.transport.abort()

    async def run(self, ways: list[str], seconds: float) -> None:
        """All these ways at once against every victim, each begun again whenever it ends."""
        many = {"ask": 8, "knock": 50, "garbage": 2}
        work = [
            self._again(getattr(self, way), victim)
            for way in ways
            for victim in self.victims
            for _ in range(many.get(way, 1))
        ]
        tasks = [asyncio.create_task(each) for each in work]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _again(self, way: Callable[[str], Awaitable[None]], victim: str) -> None:
        while True:
            try:
                await way(victim)
            except (
                OSError,
                EOFError,
                ssl.SSLError,
                websockets.exceptions.WebSocketException,
                httpx.HTTPError,
            ) as error:
                self.counts[f"{way.__name__}: {type(error).__name__}"] += 1
            await asyncio.sleep(PAUSE_S)


async def _swallow(connection: ClientConnection) -> None:
    try:
        while True:
            await connection.recv(decode=False)
    except websockets.exceptions.ConnectionClosed:
        return


def main() -> None:
    """The command."""
    folder, party, seconds, records, *ways = sys.argv[1:]
    entries = Path(records).read_bytes().split(b"\n")
    peer = HostilePeer(Path(folder), party, entries)
    started_s = time.monotonic()
    asyncio.run(peer.run(ways, float(seconds)))
    print(json.dumps({"seconds": round(time.monotonic() - started_s, 1), "counts": dict(peer.counts)}), flush=True)


if __name__ == "__main__":
    main()
