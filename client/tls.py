"""TLS towards nodes: exactly the agencies' own certificate authorities are trusted, never the system's."""

import ssl
from pathlib import Path

from ledger.errors import ConfigurationError


def tls_context(authorities: Path) -> ssl.SSLContext:
    """A client context that trusts the CA certificates in a PEM file (`ca.pem` of the ceremony) and no other.

    Raises:
        ConfigurationError: code `bad_ca`, if the file is absent or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the CA file {authorities} cannot be used: {error}",
            code="bad_ca",
            expected="certificates in PEM",
            help="Take ca.pem from the ceremony's folder.",
        ) from error
    return context
