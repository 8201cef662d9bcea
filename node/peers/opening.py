"""The opening of a link: each side proves that it holds its agency's transport key, for this link alone (DESIGN 10).

    initiator -> responder   Hello (protocol, chain id, party, nonce)
    responder -> initiator   Hello
    initiator -> responder   Proof (signature)
    responder -> initiator   Proof, sent only after the initiator's has verified

A proof covers the ledger, both parties, both nonces, the public-key hashes of both TLS certificates, and who of the two
signs: it is worth nothing on another connection, in the other direction, or through a man in the middle. That the
certificate is under the CA of the very agency whose transport key signs is checked before.

Pure but for the nonce, which is passed in. The messages are carried by `link`.
"""

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from ledger.codec import encode
from ledger.errors import PeerError, SignatureError
from ledger.limits import MAX_OPENING_BYTES
from ledger.records.fields import PartyId
from ledger.signing import SigningKey, public_from_hex, verify
from node.membership import Contact

PROTOCOL: Final = 2
"""The version of frames and opening; a peer with another one is refused."""
NONCE_BYTES: Final = 32

Side = Literal["initiator", "responder"]

_Shape = TypeVar("_Shape")

_DOMAIN: Final = b"tracemark/link/1\x00"


class Hello(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True, tag=True):
    """Who speaks, of which ledger, with a fresh nonce."""

    protocol: int
    chain: Annotated[bytes, Meta(min_length=32, max_length=32)]
    party: PartyId
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, array_like=True, tag=True):
    """The transport key's signature over `proof_bytes`."""

    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


_ENCODER: Final = msgspec.msgpack.Encoder()
_HELLO: Final = msgspec.msgpack.Decoder(Hello)
_PROOF: Final = msgspec.msgpack.Decoder(Proof)


class Opening:
    """One side of one link's opening, from before its first message to both proofs verified."""

    def __init__(
        self,
        *,
        chain: bytes,
        party: str,
        key: SigningKey,
        side: Side,
        nonce: bytes,
        own_key_hash: bytes,
        peer_key_hash: bytes,
        peer: Contact,
    ) -> None:
        """
        Args:
            chain: the ledger's chain id.
            party: this node's agency.
            key: its transport key.
            side: who dialled.
            nonce: `NONCE_BYTES` fresh random bytes.
            own_key_hash: public-key hash of our TLS certificate.
            peer_key_hash: that of the certificate that the peer presented.
            peer: the agency under whose authority the peer's certificate is.
        """
        self._key = key
        self._side: Side = side
        self._own = Hello(protocol=PROTOCOL, chain=chain, party=party, nonce=nonce)
        self._key_hashes = (own_key_hash, peer_key_hash)
        self._peer = peer
        self._peer_hello: Hello | None = None

    def hello(self) -> bytes:
        """Our Hello."""
        return _ENCODER.encode(self._own)

    def receive_hello(self, data: bytes) -> None:
        """Check the peer's Hello.

        Raises:
            PeerError: codes `bad_opening`, `wrong_protocol`, `wrong_ledger`, `wrong_certificate`.
        """
        hello = _decode(_HELLO, data)
        if hello.protocol != PROTOCOL:
            raise PeerError(
                "another version of the peer protocol",
                code="wrong_protocol",
                expected=PROTOCOL,
                actual=hello.protocol,
                help="Upgrade the older of the two nodes.",
            )
        if hello.chain != self._own.chain:
            raise PeerError(
                "the peer is of another ledger",
                code="wrong_ledger",
                expected=self._own.chain.hex(),
                actual=hello.chain.hex(),
                help="Compare the genesis hashes (`tracemark network show`).",
            )
        if hello.party != self._peer.party:
            raise PeerError(
                "the certificate is another agency's",
                code="wrong_certificate",
                expected=f"one under the authority of {hello.party}",
                actual=f"one under the authority of {self._peer.party}",
            )
        if hello.nonce == self._own.nonce:
            raise PeerError("the peer echoed our nonce", code="bad_opening")
        self._peer_hello = hello

    def proof(self) -> bytes:
        """Our Proof. Requires `receive_hello` before."""
        return _ENCODER.encode(Proof(signature=self._key.sign(self._proof_bytes(self._side))))

    def receive_proof(self, data: bytes) -> None:
        """Verify the peer's Proof with its agency's transport key. Requires `receive_hello` before.

        Raises:
            PeerError: codes `bad_opening`, `bad_proof`.
        """
        proof = _decode(_PROOF, data)
        other: Side = "responder" if self._side == "initiator" else "initiator"
        try:
            verify(public_from_hex(self._peer.transport), self._proof_bytes(other), proof.signature)
        except SignatureError as error:
            raise PeerError(
                "the peer's proof does not verify",
                code="bad_proof",
                expected=f"a signature of this opening by the transport key of {self._peer.party}",
                help="A replay, a man in the middle, or keys other than those that the ledger names.",
            ) from error

    def _proof_bytes(self, signer: Side) -> bytes:
        assert self._peer_hello is not None, "receive_hello comes first"
        ours = (self._own, self._key_hashes[0])
        theirs = (self._peer_hello, self._key_hashes[1])
        initiator, responder = (ours, theirs) if self._side == "initiator" else (theirs, ours)
        return proof_bytes(self._own.chain, signer, initiator, responder)


def proof_bytes(chain: bytes, signer: Side, initiator: tuple[Hello, bytes], responder: tuple[Hello, bytes]) -> bytes:
    """What a Proof signs: a domain and the canonical JSON of chain id, signing side, and of initiator then responder
    party, nonce and certificate public-key hash (bytes in base64)."""
    sides = tuple((hello.party, hello.nonce, key_hash) for hello, key_hash in (initiator, responder))
    return _DOMAIN + encode((chain, signer, *sides))


def _decode(decoder: "msgspec.msgpack.Decoder[_Shape]", data: bytes) -> _Shape:
    if len(data) > MAX_OPENING_BYTES:
        raise PeerError("an opening message is too large", code="bad_opening", expected=f"<= {MAX_OPENING_BYTES}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerError(f"not the expected opening message: {error}", code="bad_opening") from error
