"""Authorities and certificates: what is made is what is asked of others, and only that."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from ledger.errors import ConfigurationError, PeerError
from node.peers.certificates import (
    agency_authority,
    authority_key_pem,
    certificate_hash,
    client_context,
    issue_certificate,
    issuer_of,
    new_authority,
    open_authority,
    public_key_hash,
)
from node.service.ceremony import check_authorities
from tests.node.peers.support import NOW_MS, Net, identity

DER = serialization.Encoding.DER
PEM = serialization.Encoding.PEM


def agency_with(certificate: x509.Certificate) -> object:
    """The customs' agency with another authority."""
    return msgspec.structs.replace(
        identity("customs").agency, ca=base64.b64encode(certificate.public_bytes(DER)).decode()
    )


def build(
    *,
    name: str = "customs authority",
    key: ec.EllipticCurvePrivateKey | None = None,
    constraints: x509.BasicConstraints | None = x509.BasicConstraints(ca=True, path_length=0),  # noqa: B008
    critical: bool = True,
    signs: bool = True,
) -> x509.Certificate:
    """A self-signed authority, sound but for what is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.fromtimestamp(NOW_MS // 1000, UTC)
    usage = x509.KeyUsage(not signs, False, False, False, False, signs, signs, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if constraints is not None:
        builder = builder.add_extension(constraints, critical=critical)
    return builder.sign(key, hashes.SHA256())


def test_a_sound_authority_is_accepted_whoever_made_it() -> None:
    certificate = build()
    assert agency_authority(agency_with(certificate)) == certificate  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "certificate",
    [
        build(name="police authority"),
        build(key=ec.generate_private_key(ec.SECP384R1())),
        build(constraints=None),
        build(critical=False),
        build(constraints=x509.BasicConstraints(ca=False, path_length=None)),
        build(constraints=x509.BasicConstraints(ca=True, path_length=None)),
        build(signs=False),
    ],
    ids=["other name", "other curve", "no constraints", "not critical", "no authority", "intermediates", "cannot sign"],
)
def test_other_authorities_are_refused(certificate: x509.Certificate) -> None:
    with pytest.raises(ConfigurationError) as refused:
        agency_authority(agency_with(certificate))  # type: ignore[arg-type]
    assert refused.value.code == "bad_certificate"


def test_two_agencies_do_not_share_an_authoritys_key(tmp_path: Path) -> None:
    genesis = Net(tmp_path, "customs", "police").genesis
    check_authorities(genesis)
    key = ec.generate_private_key(ec.SECP256R1())
    agencies = tuple(
        msgspec.structs.replace(agency, ca=base64.b64encode(certificate.public_bytes(DER)).decode())
        for agency in genesis.agencies
        for certificate in (build(name=f"{agency.party} authority", key=key),)
    )
    with pytest.raises(ConfigurationError, match="one authority's key"):
        check_authorities(msgspec.structs.replace(genesis, agencies=agencies))


def test_an_authority_that_another_signed_is_refused() -> None:
    issued = issue_certificate(new_authority("police", now_ms=NOW_MS), (), now_ms=NOW_MS).certificate
    with pytest.raises(ConfigurationError):
        agency_authority(agency_with(issued))  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "é"])
def test_bytes_that_are_no_certificate_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        agency_authority(msgspec.structs.replace(identity("customs").agency, ca=text))


def test_a_certificate_of_no_known_version_is_refused() -> None:
    """What the library says of such a one is no ValueError."""
    versioned = build().public_bytes(DER).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", 1)
    with pytest.raises(ConfigurationError, match="version"):
        agency_authority(msgspec.structs.replace(identity("customs").agency, ca=base64.b64encode(versioned).decode()))
    with pytest.raises(PeerError) as refused:
        issuer_of(versioned, {})
    assert refused.value.code == "wrong_certificate"


@pytest.mark.parametrize("part", [b"customs authority", b"customs"])
def test_a_certificate_whose_names_are_no_text_is_refused(part: bytes) -> None:
    """It is read only when they are asked for."""
    customs = new_authority("customs", now_ms=NOW_MS)
    der = issue_certificate(customs, (), now_ms=NOW_MS).certificate.public_bytes(DER)
    bent = der.replace(part, b"\xff" + part[1:], 1)
    for read in (lambda: issuer_of(bent, {"customs": customs.certificate}), lambda: public_key_hash(b"")):
        with pytest.raises(PeerError) as refused:
            read()
        assert refused.value.code == "wrong_certificate"


def test_a_certificate_belongs_to_the_authority_that_signed_it() -> None:
    customs, police = (new_authority(party, now_ms=NOW_MS) for party in ("customs", "police"))
    namesake = new_authority("police", now_ms=NOW_MS)
    authorities = {"customs": customs.certificate, "police": police.certificate}
    own = issue_certificate(police, (), now_ms=NOW_MS).certificate.public_bytes(DER)
    assert issuer_of(own, authorities) == "police"
    for data in (
        issue_certificate(namesake, (), now_ms=NOW_MS).certificate.public_bytes(DER),
        ed25519_certificate(),
        b"",
        None,
    ):
        with pytest.raises(PeerError) as refused:
            issuer_of(data, authorities)
        assert refused.value.code == "wrong_certificate"


def ed25519_certificate() -> bytes:
    """A certificate that names the police's authority as its issuer and is signed by another sort of key."""
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "police authority")])
    start = datetime.fromtimestamp(NOW_MS // 1000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, None)
        .public_bytes(DER)
    )


def test_a_certificate_names_the_party_the_machine_and_the_hosts() -> None:
    authority = new_authority("customs", now_ms=NOW_MS)
    issued = issue_certificate(authority, ("node.customs.example", "192.0.2.7", "localhost"), now_ms=NOW_MS)
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["customs", "localhost", "node.customs.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "192.0.2.7"]


@pytest.mark.parametrize("host", ["", "a b", "https://x", "a:1", "ü.example", "x" * 254])
def test_a_host_that_cannot_be_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        issue_certificate(new_authority("customs", now_ms=NOW_MS), (host,), now_ms=NOW_MS)
    assert refused.value.code == "bad_host"


def test_the_authoritys_key_opens_with_its_passphrase_only() -> None:
    authority = new_authority("customs", now_ms=NOW_MS)
    other = new_authority("customs", now_ms=NOW_MS)
    pem = authority_key_pem(authority, b"right")
    assert b"ENCRYPTED" in pem
    certificate = authority.certificate.public_bytes(PEM)
    assert open_authority("customs", certificate, pem, b"right").certificate == authority.certificate
    for certificate_pem, key_pem, passphrase, code in (
        (certificate, pem, b"wrong", "wrong_passphrase"),
        (certificate, b"garbage", b"right", "wrong_passphrase"),
        (b"garbage", pem, b"right", "bad_certificate"),
        (other.certificate.public_bytes(PEM), pem, b"right", "wrong_keys"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            open_authority("customs", certificate_pem, key_pem, passphrase)
        assert refused.value.code == code


def test_contexts_speak_tls_1_3_and_verify(tmp_path: Path) -> None:
    net = Net(tmp_path, "customs", "police")
    context = net.client_context("customs", "police")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    with pytest.raises(ConfigurationError) as refused:
        client_context(tmp_path / "none.pem", net.tls("customs").key, net.genesis.agencies[1])
    assert refused.value.code == "bad_certificate"


def test_the_public_key_hash_is_of_the_certificates_key(tmp_path: Path) -> None:
    net = Net(tmp_path, "customs")
    issued = net.identities["customs"].certificate.certificate
    assert certificate_hash(net.tls("customs").certificate) == public_key_hash(issued.public_bytes(DER))
    with pytest.raises(ConfigurationError):
        certificate_hash(tmp_path / "absent.pem")
