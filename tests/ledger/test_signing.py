"""The one signature rule. Other people's edge cases run in tests/conformance; here RFC 8032's own, and our edges."""

import hashlib

import pytest

from ledger.errors import SignatureError
from ledger.signing import SigningKey, is_valid, key_id, public_from_hex, verify

RFC8032 = [  # section 7.1: TEST 1, TEST 2, TEST 3
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
KEY = SigningKey(hashlib.sha256(b"key").digest())


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC8032)
def test_rfc8032(seed: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(seed))
    assert key.public.hex() == public
    assert key.seed.hex() == seed
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))


def test_no_changed_bit_verifies() -> None:
    message = b"a message"
    signature = KEY.sign(message)
    for at in range(64 * 8):
        changed = bytearray(signature)
        changed[at // 8] ^= 1 << at % 8
        assert not is_valid(KEY.public, message, bytes(changed))
    for at in range(32 * 8):
        public = bytearray(KEY.public)
        public[at // 8] ^= 1 << at % 8
        assert not is_valid(bytes(public), message, signature)
    assert not is_valid(KEY.public, message + b"\x00", signature)
    assert not is_valid(KEY.public, b"", signature)
    assert is_valid(KEY.public, message, signature)


def test_s_plus_the_group_order_is_refused() -> None:
    signature = KEY.sign(b"x")
    malleated = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(SignatureError, match="bad_signature"):
        verify(KEY.public, b"x", signature[:32] + malleated.to_bytes(32, "little"))


def test_the_identity_point_signs_nothing() -> None:
    identity = b"\x01" + bytes(31)
    with pytest.raises(SignatureError, match="bad_signature"):
        verify(identity, b"anything", identity + bytes(32))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_sizes(size: int) -> None:
    with pytest.raises(SignatureError, match="bad_key"):
        SigningKey(bytes(size))
    with pytest.raises(SignatureError, match="bad_key"):
        verify(bytes(size), b"x", KEY.sign(b"x"))
    for signature_size in (0, 63, 65):
        with pytest.raises(SignatureError, match="bad_signature"):
            verify(KEY.public, b"x", bytes(signature_size))


def test_a_signature_with_the_message_attached_is_none() -> None:
    """libsodium's combined form joins both; a byte moved between them must not pass."""
    signature = KEY.sign(b"ab")
    with pytest.raises(SignatureError):
        verify(KEY.public, b"b", signature + b"a")


def test_text_forms_keep_the_secret() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}"):
        assert KEY.public.hex() in text
        assert KEY.seed.hex() not in text
    assert not hasattr(KEY, "__dict__")


def test_key_id_and_hex() -> None:
    assert key_id(KEY.public) == hashlib.sha256(KEY.public).hexdigest()[:16]
    assert public_from_hex(KEY.public.hex()) == KEY.public
    for text in (
        KEY.public.hex().upper(),
        KEY.public.hex()[:-2],
        KEY.public.hex() + "00",
        " " + KEY.public.hex(),
        "zz" * 32,
        "",
    ):
        with pytest.raises(SignatureError, match="bad_key"):
            public_from_hex(text)
