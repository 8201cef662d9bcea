"""The ceremony in which a ledger begins (DESIGN 12): identities, the genesis document, the policy, a throw-away network.

Each agency makes its own identity on its own machine; what it hands to the others is `identity.json` alone. One of them
assembles the identities, everybody checks the hash. Plain functions; `node.cli.network` calls them.

A node's folder: node.toml, identity.json, keys.sealed, passphrase, tls/{ca.pem, ca.key, node.pem, node.key}, data/. The
authority's key is encrypted under the passphrase; a careful agency moves it to a safe once the certificate is issued.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization

from ledger.codec import b64encode, decode, encode
from ledger.errors import ConfigurationError, EncodingError
from ledger.genesis import Agency, Genesis, Parameters, ValidatorKeys, decode_genesis, keys_of
from ledger.keyfile import DEFAULT_DERIVATION, KeyDerivation
from ledger.limits import MAX_GENESIS_BYTES, MAX_IDENTITY_BYTES
from ledger.records.envelope import prove_possession, verify_possession
from ledger.records.fields import format_time
from ledger.succession import founding_policy
from node.config import Address, read_passphrase_file
from node.files import PUBLIC_MODE, SECRET_MODE, read_file, write_file
from node.keys import NodeKeys, new_keys, new_passphrase, seal_node_keys
from node.peers.certificates import (
    Authority,
    NodeCertificate,
    agency_authority,
    authorities_pem,
    authority_key_pem,
    issue_certificate,
    new_authority,
)
from node.service.profiles import Profile, profile_of, require_fields


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """All of one agency's identity: the public half, and the private halves of it."""

    agency: Agency
    keys: NodeKeys
    authority: Authority
    certificate: NodeCertificate


def new_identity(
    party: str,
    *,
    origin: str,
    name: str,
    jurisdiction: str,
    profile: Profile,
    hosts: Sequence[str],
    now_ms: int,
) -> Identity:
    """A fresh identity for one agency of the ledger that will have this origin.

    Raises:
        ConfigurationError: code `bad_identity` (a name, role, origin or country that cannot be), `bad_host`.
    """
    require_fields(origin=origin, party=party, name=name, jurisdiction=jurisdiction, profile=profile)
    keys = new_keys(party)
    authority = new_authority(party, now_ms=now_ms)

    def proven(role: str) -> dict[str, str]:
        key = prove_possession(getattr(keys, role), ledger=origin, party=party, role=role)  # type: ignore[arg-type]
        return {"public": key.public, "proof": key.proof}

    agency = {
        "party": party,
        "name": name,
        "roles": profile.roles,
        "grants": profile.grants,
        "jurisdiction": jurisdiction,
        "record": proven("record"),
        "node": {role: proven(role) for role in ValidatorKeys.__struct_fields__},
        "ca": b64encode(authority.der),
    }
    checked = _convert_agency(encode(agency), "the identity")
    check_agency(checked, origin=origin)
    certificate = issue_certificate(authority, hosts, now_ms=now_ms)
    return Identity(agency=checked, keys=keys, authority=authority, certificate=certificate)


def write_identity(identity: Identity, folder: Path, *, derivation: KeyDerivation = DEFAULT_DERIVATION) -> None:
    """Write an identity's files into a folder (made if absent). A passphrase file that is there already is used.

    Raises:
        ConfigurationError: a file is in the way (nothing is overwritten), or cannot be written.
    """
    passphrase = _passphrase_of(folder)
    seal_node_keys(identity.keys, passphrase, folder / "keys.sealed", derivation=derivation)
    authority_pem = identity.authority.certificate.public_bytes(serialization.Encoding.PEM)
    tls = folder / "tls"
    write_file(tls / "ca.pem", authority_pem, mode=PUBLIC_MODE)
    write_file(tls / "ca.key", authority_key_pem(identity.authority, passphrase), mode=SECRET_MODE)
    write_file(tls / "node.key", identity.certificate.key_pem, mode=SECRET_MODE)
    write_file(tls / "node.pem", identity.certificate.certificate_pem, mode=PUBLIC_MODE)
    write_file(folder / "identity.json", identity_bytes(identity.agency), mode=PUBLIC_MODE)


def identity_bytes(agency: Agency) -> bytes:
    """The public half of an identity as its file holds it: canonical JSON and a newline."""
    return encode(agency) + b"\n"


def read_identity(path: Path) -> Agency:
    """The public half of an agency's identity, from its file. Proofs are checked against an origin by `check_agency`.

    Raises:
        ConfigurationError: codes `missing_file`, `bad_identity`.
    """
    data = read_file(path, limit=MAX_IDENTITY_BYTES, what="identity")
    return _convert_agency(data.removesuffix(b"\n"), str(path))


def check_agency(agency: Agency, *, origin: str) -> None:
    """Check one agency's public half: every key proves possession for this origin, the authority is sound.

    Raises:
        SignatureError: code `bad_possession`.
        ConfigurationError: code `bad_certificate`.
    """
    for role, key in keys_of(agency):
        verify_possession(key, ledger=origin, party=agency.party, role=role)
    agency_authority(agency)


def assemble(agencies: Sequence[Agency], *, origin: str, time_ms: int, parameters: Parameters) -> Genesis:
    """The genesis document of these agencies, sorted by party and checked whole.

    Raises:
        ConfigurationError: code `bad_certificate`; `bad_genesis`: a party stands twice.
        EncodingError: code `bad_genesis`: a key stands twice.
        SignatureError: code `bad_possession`: an identity was changed, or made for another origin.
    """
    parties = sorted(agency.party for agency in agencies)
    twice = sorted({party for party, following in pairwise(parties) if party == following})
    if twice:
        raise ConfigurationError(
            f"{', '.join(twice)}: more than one identity",
            code="bad_genesis",
            expected="one identity.json of each agency",
            actual=", ".join(parties),
            help="Give each agency's file once; if they are two agencies, one of them needs another party id.",
        )
    document = Genesis(
        schema=1,
        origin=origin,
        time=format_time(time_ms),
        parameters=parameters,
        agencies=tuple(sorted(agencies, key=lambda agency: agency.party)),
    )
    genesis = decode_genesis(document.entry)
    check_authorities(genesis)
    return genesis


def read_genesis(path: Path) -> Genesis:
    """A genesis document from its file, everything in it checked.

    Raises:
        ConfigurationError: codes `missing_file`, `bad_certificate`.
        EncodingError, SignatureError: as `ledger.genesis.decode_genesis`.
    """
    genesis = decode_genesis(read_file(path, limit=MAX_GENESIS_BYTES, what="genesis document"))
    check_authorities(genesis)
    return genesis


def check_authorities(genesis: Genesis) -> None:
    """Check that every agency has a sound TLS authority of its own.

    Raises:
        ConfigurationError: code `bad_certificate`.
    """
    seen: dict[bytes, str] = {}
    for agency in genesis.agencies:
        key = agency_authority(agency).public_key()
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if spki in seen:
            raise ConfigurationError(
                "two agencies have one authority's key", code="bad_certificate", actual=f"{seen[spki]}, {agency.party}"
            )
        seen[spki] = agency.party


def policy_text(genesis: Genesis) -> str:
    """The policy as a file, saying of which ledger it is."""
    head = f"# The policy of {genesis.ledger_id}\n# Genesis hash (chain id): {genesis.chain_id.hex()}\n"
    return head + founding_policy(genesis).render()


def write_genesis(genesis: Genesis, folder: Path) -> None:
    """Write genesis.json, policy.txt and ca.pem.

    Raises:
        ConfigurationError: a file is in the way, or cannot be written.
    """
    write_file(folder / "genesis.json", genesis.entry, mode=PUBLIC_MODE)
    write_file(folder / "policy.txt", policy_text(genesis).encode(), mode=PUBLIC_MODE)
    write_file(folder / "ca.pem", authorities_pem(genesis.agencies), mode=PUBLIC_MODE)


def render_config(
    party: str,
    *,
    genesis: str,
    policy: str,
    api: Address,
    api_url: str,
    peer: Address,
    peers: Mapping[str, Address],
    urls: Mapping[str, str],
) -> str:
    """A node.toml for the folder layout above. Every value is ASCII without control characters, so JSON strings are
    TOML strings."""
    addresses = "".join(f"{name} = {json.dumps(str(address))}\n" for name, address in sorted(peers.items()))
    known = "".join(f"{name} = {json.dumps(url)}\n" for name, url in sorted(urls.items()))
    return f"""\
# The node of {party}. Relative paths are relative to this file's folder.
party = {json.dumps(party)}
data_dir = "data"
genesis = {json.dumps(genesis)}
policy = {json.dumps(policy)}
identity = "identity.json"
keys = "keys.sealed"
passphrase = "passphrase"

[api]
listen = {json.dumps(str(api))}
url = {json.dumps(api_url)}

[tls]
certificate = "tls/node.pem"
key = "tls/node.key"

[peers]
listen = {json.dumps(str(peer))}

# The other agencies' peer ports, by party.
[peers.addresses]
{addresses}
# Their APIs, for people.
[peers.urls]
{known}"""


def init_network(
    folder: Path,
    parties: Sequence[str],
    *,
    origin: str,
    profiles: Mapping[str, Profile],
    jurisdictions: Mapping[str, str],
    parameters: Parameters,
    base_port: int | None,
    now_ms: int,
    derivation: KeyDerivation = DEFAULT_DERIVATION,
) -> Genesis:
    """Make a throw-away network on this machine: the whole ceremony for every agency, and addresses on loopback.

    Args:
        folder: where; made if absent.
        parties: the agencies, distinct.
        origin: the log's origin.
        profiles: roles that differ from `profile_of`, by party.
        jurisdictions: country by party.
        parameters: the ledger's.
        base_port: agency i takes ports base + 2i (API) and base + 2i + 1 (peers); None takes free ones.
        now_ms: wall time.
        derivation: Argon2id's costs.

    Raises:
        ConfigurationError: a name or role cannot be, or a file is in the way.
    """
    if len(set(parties)) != len(parties) or not parties:
        raise ConfigurationError(
            "agencies must be named, and once each",
            code="bad_identity",
            expected="party ids, such as interior,customs,police",
            actual=", ".join(parties) or "none",
        )
    identities = [
        new_identity(
            party,
            origin=origin,
            name=party.replace("-", " ").title(),
            jurisdiction=jurisdictions[party],
            profile=profiles.get(party, profile_of(party)),
            hosts=(),
            now_ms=now_ms,
        )
        for party in parties
    ]
    genesis = assemble(
        [identity.agency for identity in identities], origin=origin, time_ms=now_ms, parameters=parameters
    )
    write_genesis(genesis, folder)
    for identity in identities:
        write_identity(identity, folder / identity.agency.party, derivation=derivation)
    ports = free_ports(2 * len(parties)) if base_port is None else list(range(base_port, base_port + 2 * len(parties)))
    _write_addresses(folder, parties, genesis, ports)
    return genesis


def _write_addresses(folder: Path, parties: Sequence[str], genesis: Genesis, ports: Sequence[int]) -> None:
    """Every agency's node.toml, and network.json: agency i has ports 2i (API) and 2i + 1 (peers) of `ports`."""
    api = {party: Address(host="127.0.0.1", port=ports[2 * at]) for at, party in enumerate(parties)}
    peer = {party: Address(host="127.0.0.1", port=ports[2 * at + 1]) for at, party in enumerate(parties)}
    urls = {party: f"https://{address}" for party, address in api.items()}
    for party in parties:
        text = render_config(
            party,
            genesis="../genesis.json",
            policy="../policy.txt",
            api=api[party],
            api_url=urls[party],
            peer=peer[party],
            peers={other: address for other, address in peer.items() if other != party},
            urls={other: url for other, url in urls.items() if other != party},
        )
        write_file(folder / party / "node.toml", text.encode(), mode=PUBLIC_MODE)
    network = {
        "ledger": genesis.ledger_id,
        "origin": genesis.origin,
        "agencies": {party: {"api": urls[party], "peer": str(peer[party])} for party in parties},
    }
    write_file(folder / "network.json", json.dumps(network, indent=2).encode() + b"\n", mode=PUBLIC_MODE)


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that were free a moment ago. Another program may take one before its node does."""
    with ExitStack() as open_sockets:
        sockets = [open_sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _passphrase_of(folder: Path) -> bytes:
    path = folder / "passphrase"
    if not path.exists():
        write_file(path, new_passphrase() + b"\n", mode=SECRET_MODE)
    return read_passphrase_file(path)


def _convert_agency(data: bytes, what: str) -> Agency:
    try:
        agency: Agency = decode(data, Agency, limit=MAX_IDENTITY_BYTES)
    except EncodingError as error:
        raise ConfigurationError(
            f"{what} is not an agency's identity: {error.message}",
            code="bad_identity",
            expected=error.expected,
            actual=error.actual,
        ) from error
    return agency
