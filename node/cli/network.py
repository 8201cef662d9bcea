"""`tracemark network`: the ceremony in which a ledger begins (DESIGN 12). What it does is `node.service.ceremony`'s."""

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.errors import ConfigurationError
from ledger.genesis import Agency, Genesis, Parameters, keys_of
from ledger.limits import MAX_PEM_BYTES
from ledger.quorum import faults_tolerated, quorum
from node.cli.output import JsonOption, emit, reporting
from node.clock import SystemClock
from node.config import Address, load_config, read_passphrase, read_passphrase_file
from node.files import PUBLIC_MODE, SECRET_MODE, read_file, write_file
from node.peers.certificates import agency_authority, issue_certificate, open_authority
from node.service import ceremony, renewal
from node.service.profiles import asked_profile, parse_profile

app = typer.Typer(no_args_is_help=True, help="The ceremony in which a ledger begins: identities, genesis, policy.")

_HOME_COUNTRY = "XA"  # a country code that ISO 3166 leaves to its users: these networks are nobody's
_NEIGHBOUR_COUNTRY = "XB"

OriginOption = Annotated[
    str, typer.Option(help="The log's origin: a name like a URL without scheme, the same in all agencies' identities.")
]
HeartbeatOption = Annotated[
    int, typer.Option(min=1, max=86_400, help="An idle ledger makes a block this often, in seconds.")
]
OutOption = Annotated[Path, typer.Option("--out", help="The folder to write to; nothing in it is overwritten.")]


def _trial_origin() -> str:
    """An origin for one throw-away network. Were it the same for all, a client that remembers the checkpoints of an
    earlier one would rightly take the next for a fork of it."""
    return f"tracemark.example/trial-{secrets.token_hex(4)}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))


@app.command()
def identity(
    party: Annotated[str, typer.Argument(help="The agency's party id, such as customs.")],
    *,
    origin: OriginOption,
    out: OutOption,
    jurisdiction: Annotated[str, typer.Option(help="ISO 3166-1 alpha-2 country code.")],
    name: Annotated[str | None, typer.Option(help="The agency's full name; the party id if not given.")] = None,
    roles: Annotated[
        str | None, typer.Option(help="Its roles, comma-separated; interior, customs and police have usual ones.")
    ] = None,
    grants: Annotated[
        str | None, typer.Option(help="The roles it may grant to parties, comma-separated; by its roles if not given.")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host name or address of its node (repeatable).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make this agency's keys, TLS authority and certificate. Only identity.json is for the others.

    Its roles, and those it may grant, count where the others accept them: in the genesis document, or in the proposal that
    adds an agency to a ledger that exists. One that the ledger knows already keeps the roles that it has there.

    Example: tracemark network identity customs --origin registry.example/weapons --jurisdiction XA
    --roles customs --host customs-node.example --out customs
    """
    with reporting(as_json):
        profile = asked_profile(party, _names(roles or ""), _names(grants or ""))
        made = ceremony.new_identity(
            party,
            origin=origin,
            name=party if name is None else name,
            jurisdiction=jurisdiction,
            profile=profile,
            hosts=host or [],
            now_ms=SystemClock().wall_ms(),
        )
        ceremony.write_identity(made, out)
        example = ceremony.render_config(
            party,
            genesis="genesis.json",
            policy="policy.txt",
            api=Address(host="127.0.0.1", port=8443),
            api_url=f"https://{host[0] if host else '127.0.0.1'}:8443",
            peer=Address(host="127.0.0.1", port=7443),
            peers={},
            urls={},
        )
        write_file(out / "node.toml", example.encode(), mode=PUBLIC_MODE)
        values = {
            "party": party,
            "origin": origin,
            "identity": str(out / "identity.json"),
            "roles": profile.roles,
            "grants": profile.grants,
        }
        emit(
            as_json,
            values,
            f"The identity of {party} is in {out}.\n"
            f"It claims the roles {', '.join(profile.roles)}, and to grant {', '.join(profile.grants)}.\n"
            f"Hand {out / 'identity.json'} to the other agencies. The claim counts when they accept it:\n"
            "  a new ledger    whoever assembles the genesis document takes it in, and everybody compares the hash;\n"
            "  one that exists  they list it in [peers] observers, and vote for it: tracemark proposal open add\n"
            "Keep everything else here:\n"
            "  keys.sealed and passphrase (back them up, apart), tls/ca.key (move it to a safe), node.toml (edit it).",
        )


@app.command()
def renew(
    folder: Annotated[Path, typer.Argument(help="The folder of the agency's present identity.")],
    *,
    origin: OriginOption,
    out: OutOption,
    roles: Annotated[
        list[str] | None,
        typer.Option("--role", help=f"Only a new key for this (repeatable): {', '.join(renewal.NODE_ROLES)}."),
    ] = None,
    new_ca: Annotated[bool, typer.Option("--new-ca", help="A new TLS authority and certificate, too.")] = False,
    host: Annotated[list[str] | None, typer.Option(help="A host name of the node, for --new-ca (repeatable).")] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Opens the present keys (0600); `passphrase` in the folder if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make new keys for an agency's node, to be proposed with `proposal open rotate`. Record key and authority stay.

    Example: tracemark network renew customs --origin registry.example/weapons --role consensus --out customs-new
    """
    with reporting(as_json):
        chosen = [role for role in renewal.NODE_ROLES if role in (roles or renewal.NODE_ROLES)]
        if unknown := sorted(set(roles or ()) - set(renewal.NODE_ROLES)):
            raise ConfigurationError(
                "a role that no node's key has",
                code="bad_roles",
                expected=", ".join(renewal.NODE_ROLES),
                actual=", ".join(unknown),
            )
        agency = renewal.renew_identity(
            folder,
            out,
            origin=origin,
            roles=chosen,
            hosts=(host or []) if new_ca else None,
            passphrase_file=passphrase_file,
            now_ms=SystemClock().wall_ms(),
        )
        values = {"party": agency.party, "origin": origin, "identity": str(out / "identity.json"), "roles": chosen}
        emit(
            as_json,
            values,
            f"New keys of {agency.party} ({', '.join(chosen)}) are in {out}.\n"
            f"Have {out / 'identity.json'} proposed: tracemark proposal open rotate. The node runs with the present folder\n"
            "until that is enacted, and with the new one from then on.",
        )


@app.command()
def genesis(
    files: Annotated[list[Path], typer.Argument(help="The agencies' identity.json files.")],
    origin: OriginOption,
    out: OutOption,
    heartbeat_s: HeartbeatOption = 3_600,
    as_json: JsonOption = False,
) -> None:
    """Assemble the genesis document from all agencies' identities. Also writes policy.txt and ca.pem.

    Example: tracemark network genesis customs/identity.json police/identity.json --origin registry.example/weapons
    --out ceremony
    """
    with reporting(as_json):
        agencies = [ceremony.read_identity(path) for path in files]
        document = ceremony.assemble(
            agencies, origin=origin, time_ms=SystemClock().wall_ms(), parameters=Parameters(heartbeat_s=heartbeat_s)
        )
        ceremony.write_genesis(document, out)
        emit(
            as_json,
            _describe(document),
            f"{_as_text(document)}\n\nWritten to {out}: genesis.json, policy.txt, ca.pem.\n"
            "Every agency runs `tracemark network show` on its copy and compares the hash by another channel.",
        )


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="genesis.json, or the folder it is in.")] = Path("genesis.json"),
    as_json: JsonOption = False,
) -> None:
    """Check a genesis document whole and print its hash, agencies, keys and quorum.

    Example: tracemark network show ceremony/genesis.json
    """
    with reporting(as_json):
        document = ceremony.read_genesis(path / "genesis.json" if path.is_dir() else path)
        emit(as_json, _describe(document), _as_text(document))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where; made if absent.")],
    *,
    agencies: Annotated[str, typer.Option(help="Party ids, comma-separated.")],
    origin: Annotated[
        str | None, typer.Option(help="The log's origin; one of its own if not given.", show_default=False)
    ] = None,
    roles: Annotated[
        list[str] | None, typer.Option(help="Roles of one agency: PARTY=ROLE,ROLE:GRANT,GRANT (repeatable).")
    ] = None,
    base_port: Annotated[
        int | None, typer.Option(min=1024, max=65_000, help="First of 2n ports; free ones if not given.")
    ] = None,
    heartbeat_s: HeartbeatOption = 3_600,
    as_json: JsonOption = False,
) -> None:
    """Make a throw-away network on this machine: all agencies' identities, the genesis document, configurations.

    Example: tracemark network init trial --agencies interior,customs,police,neighbour
    """
    with reporting(as_json):
        parties = [party.strip() for party in agencies.split(",")] if agencies.strip() else []
        profiles = dict(parse_profile(text) for text in roles or [])
        unknown = sorted(set(profiles) - set(parties))
        if unknown:
            raise ConfigurationError(
                "--roles names no agency of this network",
                code="bad_roles",
                expected=agencies,
                actual=", ".join(unknown),
            )
        document = ceremony.init_network(
            folder,
            parties,
            origin=origin or _trial_origin(),
            profiles=profiles,
            jurisdictions={
                party: _NEIGHBOUR_COUNTRY if party.startswith("neighbour") else _HOME_COUNTRY for party in parties
            },
            parameters=Parameters(heartbeat_s=heartbeat_s),
            base_port=base_port,
            now_ms=SystemClock().wall_ms(),
        )
        first = folder / parties[0] / "node.toml"
        emit(
            as_json,
            {**_describe(document), "folder": str(folder)},
            f"{_as_text(document)}\n\nThe network is in {folder}. Start a node: tracemark node run --config {first}",
        )


@app.command()
def certificate(
    *,
    config: Annotated[Path, typer.Option(help="The node's configuration file.")] = Path("node.toml"),
    authority: Annotated[
        Path | None, typer.Option(help="The folder of ca.pem and ca.key; the certificate's if not given.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Opens ca.key (0600); the configuration's if not given.")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host name or address of the node (repeatable).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Renew the node's TLS certificate under its agency's authority. Restart the node afterwards.

    Example: tracemark network certificate --config node.toml --host customs-node.example
    """
    with reporting(as_json):
        settings = load_config(config)
        folder = authority or settings.tls.certificate.parent
        opened = open_authority(
            settings.party,
            read_file(folder / "ca.pem", limit=MAX_PEM_BYTES, what="authority's certificate"),
            read_file(folder / "ca.key", limit=MAX_PEM_BYTES, what="authority's key"),
            read_passphrase_file(passphrase_file) if passphrase_file else read_passphrase(settings),
        )
        issued = issue_certificate(opened, host or [], now_ms=SystemClock().wall_ms())
        # The key first: a crash in between leaves a pair that does not fit, which the node says, and a rerun mends.
        write_file(settings.tls.key, issued.key_pem, mode=SECRET_MODE, replace=True)
        write_file(settings.tls.certificate, issued.certificate_pem, mode=PUBLIC_MODE, replace=True)
        until = issued.certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
        emit(
            as_json,
            {"certificate": str(settings.tls.certificate), "valid_until": until},
            f"{settings.tls.certificate} is valid until {until}. Restart the node.",
        )


def _describe(document: Genesis) -> dict[str, Any]:
    size = len(document.agencies)
    return {
        "hash": document.chain_id.hex(),
        "ledger": document.ledger_id,
        "origin": document.origin,
        "time": document.time,
        "quorum": quorum(size),
        "faults_tolerated": faults_tolerated(size),
        "agencies": [_describe_agency(agency) for agency in document.agencies],
    }


def _describe_agency(agency: Agency) -> dict[str, Any]:
    authority = agency_authority(agency)
    return {
        "party": agency.party,
        "name": agency.name,
        "jurisdiction": agency.jurisdiction,
        "roles": list(agency.roles),
        "grants": list(agency.grants),
        "keys": {role: key.public for role, key in keys_of(agency)},
        "authority_valid_until": authority.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _as_text(document: Genesis) -> str:
    described = _describe(document)
    lines = [
        f"genesis hash   {described['hash']}",
        f"ledger         {described['ledger']}",
        f"time           {described['time']}",
        f"quorum         {described['quorum']} of {len(document.agencies)}, "
        f"{described['faults_tolerated']} faulty tolerated",
    ]
    for agency in described["agencies"]:
        lines += [
            "",
            f"{agency['party']}: {agency['name']} ({agency['jurisdiction']})",
            f"  roles      {', '.join(agency['roles'])}; may grant {', '.join(agency['grants'])}",
            *(f"  {role:<10} {public}" for role, public in agency["keys"].items()),
        ]
    return "\n".join(lines)
