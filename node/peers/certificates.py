"""Each agency's TLS authority and node certificate, and the contexts made of them (DESIGN 10).

An agency is its own authority: its CA certificate stands in the genesis document, and issues node certificates directly.
A link trusts an agency's authority for that agency only. X.509 is ECDSA P-256 with SHA-256; connections are TLS 1.3 with
certificates on both sides. Which agency a certificate speaks for is proved again by the transport key (`opening`).
"""

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ledger.errors import ConfigurationError, PeerError
from ledger.limits import MAX_PEM_BYTES
from node.files import read_file, read_secret

AUTHORITY_YEARS: Final = 30
"""An authority's life: that of the ledger's epoch, since a new one needs everybody's agreement."""
CERTIFICATE_YEARS: Final = 3
"""A node certificate's life; the agency renews it alone."""

_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for a certificate or key that is none, or of a sort it does not know: now or when a part of it is
first looked at."""
_BACKDATED: Final = timedelta(days=1)  # other machines' clocks may be behind
_DAYS_PER_YEAR: Final = 365
_RENEW: Final = "They are made by `tracemark network identity` and renewed by `tracemark network certificate`."


class HasAuthority(Protocol):
    """Whoever stands for an agency: its name, and its CA certificate (base64 of DER)."""

    @property
    def party(self) -> str: ...

    @property
    def ca(self) -> str: ...


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """An agency's certificate authority with its private key."""

    party: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """The certificate, as it stands (in base64) in the genesis document."""
        return self.certificate.public_bytes(serialization.Encoding.DER)


class NodeCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A node's certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone: peers and clients hold its issuer."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, unencrypted PKCS #8: it is worth a connection, never a signature of the ledger."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def new_authority(party: str, *, now_ms: int) -> Authority:
    """A fresh authority for an agency: subject `CN=<party> authority`, no intermediates."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _authority_name(party)
    start = _moment(now_ms) - _BACKDATED
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=AUTHORITY_YEARS * _DAYS_PER_YEAR))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(party=party, certificate=certificate, key=key)


def issue_certificate(authority: Authority, hosts: Sequence[str], *, now_ms: int) -> NodeCertificate:
    """A node certificate with a fresh key, for the party's name, `hosts` (names or IP addresses) and this machine.

    Raises:
        ConfigurationError: code `bad_host`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    start = _moment(now_ms) - _BACKDATED
    names = [_general_name(host) for host in (authority.party, "localhost", "127.0.0.1", "::1", *hosts)]
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority.party)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=CERTIFICATE_YEARS * _DAYS_PER_YEAR))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(list(dict.fromkeys(names))), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return NodeCertificate(certificate=certificate, key=key)


def authority_key_pem(authority: Authority, passphrase: bytes) -> bytes:
    """The authority's private key as PKCS #8, encrypted under the passphrase."""
    return authority.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )


def open_authority(party: str, certificate_pem: bytes, key_pem: bytes, passphrase: bytes) -> Authority:
    """An agency's authority from its two files.

    Raises:
        ConfigurationError: codes `bad_certificate`, `wrong_passphrase`, `wrong_keys`.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        public = certificate.public_key()
    except _UNREADABLE as error:
        raise _bad_certificate(f"the authority's certificate is not PEM: {error}") from error
    try:
        key = serialization.load_pem_private_key(key_pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            "the passphrase does not open the authority's key", code="wrong_passphrase", actual=error
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != public:
        raise ConfigurationError("the authority's key is not that of its certificate", code="wrong_keys")
    return Authority(party=party, certificate=certificate, key=key)


def agency_authority(agency: HasAuthority) -> x509.Certificate:
    """The CA certificate in an agency's identity, checked: ECDSA P-256, self-signed, an authority (critically) without
    intermediates, named after the party.

    The name and key tell agencies' authorities apart, so that none is mistaken for another's.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(agency.ca.encode("ascii"), validate=True))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        certificate.verify_directly_issued_by(certificate)
        key, subject = certificate.public_key(), certificate.subject
    except InvalidSignature as error:
        raise _bad_certificate(
            f"the authority of {agency.party} cannot be used: it is not signed by its own key"
        ) from error
    except _UNREADABLE as error:
        raise _bad_certificate(
            f"the authority of {agency.party} cannot be used: {str(error) or type(error).__name__}"
        ) from error
    sound = (
        constraints.critical
        and constraints.value.ca
        and constraints.value.path_length == 0
        and usage.key_cert_sign
        and isinstance(key, ec.EllipticCurvePublicKey)
        and isinstance(key.curve, ec.SECP256R1)
        and subject == _authority_name(agency.party)
    )
    if not sound:
        raise _bad_certificate(
            f"the authority of {agency.party} is not of the required form",
            expected=f"ECDSA P-256, critical CA constraint with path length 0, subject CN={agency.party} authority",
            actual=subject.rfc4514_string(),
        )
    return certificate


def authorities_pem(agencies: Iterable[HasAuthority]) -> bytes:
    """All agencies' CA certificates, concatenated: what a client of their APIs trusts.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    return b"".join(agency_authority(agency).public_bytes(serialization.Encoding.PEM) for agency in agencies)


def server_context(certificate: Path, key: Path, agencies: Iterable[HasAuthority]) -> ssl.SSLContext:
    """TLS 1.3 for the peer port: asks for a certificate under any agency's authority. No session tickets.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, agencies)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    _present(context, certificate, key)
    return context


def client_context(certificate: Path, key: Path, agency: HasAuthority) -> ssl.SSLContext:
    """TLS 1.3 for connecting to one agency: only its own authority, and a certificate in the party's name, will do.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    context = trusting_context(agency)
    _present(context, certificate, key)
    return context


def trusting_context(agency: HasAuthority) -> ssl.SSLContext:
    """As `client_context`, without a certificate of one's own: for the agency's API.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, (agency,))


def _context(protocol: int, agencies: Iterable[HasAuthority]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    trust(context, agencies)
    return context


def trust(context: ssl.SSLContext, agencies: Iterable[HasAuthority]) -> None:
    """Let these agencies' certificates through TLS from the next handshake on. Whom a context once trusted it goes on
    trusting: whose connection it is, and whether it is still wanted, `issuer_of` tells.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    pem = authorities_pem(agencies)
    if pem:
        context.load_verify_locations(cadata=pem.decode("ascii"))


def _present(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise _bad_certificate(
            f"the certificate {certificate} and key {key} cannot be used: {error}",
            help=_RENEW,
        ) from error


def check_node_certificate(certificate: Path, key: Path, agency: HasAuthority) -> None:
    """Check a node's certificate and private key files: whole, of each other, and under the agency's authority. Whether the
    certificate is still valid is for the other side's clock to say.

    Raises:
        ConfigurationError: code `bad_certificate`, naming the file; `exposed_secret` if others may read the key; or those
            of `node.files.read_file`.
    """
    certificate_pem = read_file(certificate, limit=MAX_PEM_BYTES, what="TLS certificate")
    key_pem = read_secret(key, limit=MAX_PEM_BYTES, what="TLS key")
    try:
        parsed = x509.load_pem_x509_certificate(certificate_pem)
        public = parsed.public_key()
        parsed.verify_directly_issued_by(agency_authority(agency))
    except InvalidSignature as error:
        raise _bad_certificate(
            f"{certificate} is not signed by the authority of {agency.party}", help=_RENEW
        ) from error
    except _UNREADABLE as error:
        raise _bad_certificate(f"{certificate} is no certificate of {agency.party}: {error}", help=_RENEW) from error
    try:
        private = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad_certificate(f"{key} is not a private key: {error}", help=_RENEW) from error
    # Derived anew: the file also holds a public half, which damage to the private half would leave as it was.
    is_own = isinstance(private, ec.EllipticCurvePrivateKey) and public == (
        ec.derive_private_key(private.private_numbers().private_value, private.curve).public_key()
    )
    if not is_own:
        raise _bad_certificate(f"{key} is not the key of {certificate}", help=_RENEW)


def issuer_of(certificate_der: bytes | None, authorities: Mapping[str, x509.Certificate]) -> str:
    """Which agency's authority directly issued a certificate that a TLS handshake has accepted.

    Raises:
        PeerError: code `wrong_certificate`.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der or b"")
        issuer = certificate.issuer
    except _UNREADABLE as error:
        raise _unreadable_peer() from error
    for party, authority in authorities.items():
        if issuer != authority.subject:
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (*_UNREADABLE, InvalidSignature):
            continue
        return party
    raise PeerError(
        "the peer's certificate is not directly under an agency's authority",
        code="wrong_certificate",
        actual=issuer.rfc4514_string(),
    )


def public_key_hash(certificate_der: bytes) -> bytes:
    """SHA-256 of a certificate's SubjectPublicKeyInfo (DER): what an opening is bound to.

    Raises:
        PeerError: code `wrong_certificate`, for a certificate or key that cannot be read.
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except _UNREADABLE as error:
        raise _unreadable_peer() from error
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def certificate_hash(path: Path) -> bytes:
    """`public_key_hash` of the certificate in a PEM file.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return public_key_hash(certificate.public_bytes(serialization.Encoding.DER))
    except (OSError, PeerError, *_UNREADABLE) as error:
        raise _bad_certificate(f"{path} is not a certificate: {error}") from error


def _unreadable_peer() -> PeerError:
    return PeerError("the peer's certificate cannot be read", code="wrong_certificate")


def _authority_name(party: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{party} authority")])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        if not host or len(host) > 253 or any(char.isspace() or char in "/:@" for char in host):
            raise ValueError(host)
        return x509.DNSName(host)
    except ValueError as error:
        raise ConfigurationError(
            "not a host", code="bad_host", expected="a DNS name or an IP address", actual=repr(host[:100])
        ) from error


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 1000, UTC)


def _bad_certificate(
    message: str,
    *,
    expected: object = None,
    actual: object = None,
    help: str | None = None,  # noqa: A002 - the error's public name
) -> ConfigurationError:
    return ConfigurationError(message, code="bad_certificate", expected=expected, actual=actual, help=help)
