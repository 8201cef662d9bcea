"""New keys for an agency's node: an identity that differs from an earlier one in these alone (`validator.rotate`).

After a vote table was lost, a key leaked, or for good measure. The record key, and unless it is asked for the TLS
authority, stay; what the others then decide is between `proposal open rotate` and their votes. Until that is enacted the
node runs with the old folder, from then on with the new one.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ledger.codec import b64encode
from ledger.genesis import Agency, ValidatorKeys
from ledger.keyfile import DEFAULT_DERIVATION, KeyDerivation
from ledger.limits import MAX_PEM_BYTES
from ledger.records.envelope import prove_possession
from ledger.signing import Role
from node.config import read_passphrase_file
from node.files import PUBLIC_MODE, SECRET_MODE, read_file, write_file
from node.keys import NodeKeys, new_keys, open_node_keys, seal_node_keys
from node.peers.certificates import issue_certificate, new_authority
from node.service.ceremony import Identity, check_agency, identity_bytes, read_identity, write_identity

NODE_ROLES: Final[tuple[Role, ...]] = ("consensus", "cosigner", "governance", "log", "transport")
_TLS_FILES: Final = {"ca.pem": PUBLIC_MODE, "ca.key": SECRET_MODE, "node.key": SECRET_MODE, "node.pem": PUBLIC_MODE}


def renew_identity(
    old: Path,
    new: Path,
    *,
    origin: str,
    roles: Collection[Role] = NODE_ROLES,
    hosts: Sequence[str] | None = None,
    passphrase_file: Path | None = None,
    now_ms: int,
    derivation: KeyDerivation = DEFAULT_DERIVATION,
) -> Agency:
    """Write a folder like an identity's, with new keys in some roles, under the same passphrase.

    Args:
        old: the identity's folder as `network identity` made it.
        new: the folder to write; nothing in it is overwritten.
        origin: the ledger's, for the proofs of possession.
        roles: whose keys are new; the others are those of the old identity.
        hosts: a new TLS authority, too, with a certificate for these; None to keep the authority and its files.
        passphrase_file: opens the old keys; `passphrase` in the old folder if not given.
        now_ms: wall clock time.
        derivation: the costs of sealing; tests take less than the default.

    Raises:
        ConfigurationError: a file is missing, malformed or in the way, the passphrase is wrong.
        SignatureError: code `bad_possession`: the identity was made for another origin.
    """
    known = read_identity(old / "identity.json")
    check_agency(known, origin=origin)
    passphrase = read_passphrase_file(passphrase_file or old / "passphrase")
    keys = _renewed(open_node_keys(old / "keys.sealed", passphrase, party=known.party), roles)
    agency = msgspec.structs.replace(known, node=_proven(known, keys, roles, origin=origin))
    write_file(new / "passphrase", passphrase + b"\n", mode=SECRET_MODE)
    if hosts is not None:
        authority = new_authority(known.party, now_ms=now_ms)
        agency = msgspec.structs.replace(agency, ca=b64encode(authority.der))
        certificate = issue_certificate(authority, hosts, now_ms=now_ms)
        identity = Identity(agency=agency, keys=keys, authority=authority, certificate=certificate)
        write_identity(identity, new, derivation=derivation)
        return agency
    seal_node_keys(keys, passphrase, new / "keys.sealed", derivation=derivation)
    for name, mode in _TLS_FILES.items():
        if (old / "tls" / name).exists():  # the authority's key may lie in a safe
            write_file(new / "tls" / name, read_file(old / "tls" / name, limit=MAX_PEM_BYTES, what=name), mode=mode)
    write_file(new / "identity.json", identity_bytes(agency), mode=PUBLIC_MODE)
    return agency


def _renewed(keys: NodeKeys, roles: Collection[Role]) -> NodeKeys:
    fresh = new_keys(keys.party)
    return msgspec.structs.replace(keys, **{role: fresh.of(role) for role in roles})


def _proven(known: Agency, keys: NodeKeys, roles: Collection[Role], *, origin: str) -> ValidatorKeys:
    proofs = {role: prove_possession(keys.of(role), ledger=origin, party=known.party, role=role) for role in roles}
    return msgspec.structs.replace(known.node, **proofs)
