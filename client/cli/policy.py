"""`tracemark policy`: whose signatures count, and who succeeded them."""

import ssl
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from client.cli.common import Context, command
from client.cli.layout import columns
from client.files import write_file
from ledger.codec import b64decode
from ledger.errors import ConfigurationError, EncodingError
from ledger.succession import Era, FollowedPolicy, Succession

app = typer.Typer(no_args_is_help=True, help="Policies: whose signatures count, and who succeeded them.")

_PUBLIC_MODE = 0o644


@command(app, "policy", name="show")
def show(context: Context) -> None:
    """Show whose signatures a policy asks for; with --succession also in each era after it. Offline.

    Example: tracemark policy show --policy policy.txt
    """
    _emit(context, context.settings.require_judge(), {})


@command(app, "policy", "node", name="follow")
def follow(
    context: Context,
    *,
    out: Annotated[Path | None, typer.Option(help="Write the newest policy to this file.", show_default=False)] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep the succession in this file, for --succession offline.", show_default=False),
    ] = None,
    authorities: Annotated[
        Path | None,
        typer.Option(help="Write the newest agencies' CA certificates to this file, for --ca.", show_default=False),
    ] = None,
) -> None:
    """Follow a policy through every change of the agencies' nodes, each vouched for by the quorum before it.

    The kept succession lets the pinned policy verify, offline, what was cosigned in any era; the newest policy is to be
    pinned by those who begin now. A change that does not hold is refused, and the exit code is 1.

    Example: tracemark policy follow --policy policy.txt --node https://registry.example:8443 --keep succession.json
    """
    if context.settings.node:
        succession, followed = context.session().succession()
    else:
        succession, followed = _given(context)
    written: dict[str, Any] = {}
    if keep is not None:
        write_file(keep, succession.to_bytes(), mode=_PUBLIC_MODE)
        written["succession"] = str(keep)
    if out is not None:
        write_file(out, _policy_text(followed).encode(), mode=_PUBLIC_MODE)
        written["policy"] = str(out)
    if authorities is not None:
        readable, others = _authorities(followed)
        write_file(authorities, readable, mode=_PUBLIC_MODE)
        written["authorities"] = str(authorities)
        if others:
            context.tell(f"Not in it, for it cannot be read: the CA certificate of {', '.join(others)}.")
    _emit(context, followed, written)


def _authorities(followed: FollowedPolicy) -> tuple[bytes, list[str]]:
    """The newest validators' CA certificates in PEM, and whose cannot be read: no rule of the ledger asks for that, and one
    would spoil the file for all."""
    validators = followed.eras[-1].validators
    if validators is None:
        raise ConfigurationError(
            "no change of the agencies is shown, so neither are their CA certificates",
            code="no_succession",
            help="Use ca.pem of the ceremony: it lists all agencies there are.",
        )
    found: dict[str, str | None] = {member.party: _certificate(member.ca) for member in validators.members}
    pem = "".join(certificate for certificate in found.values() if certificate is not None)
    return pem.encode(), [party for party, certificate in found.items() if certificate is None]


def _certificate(ca: str) -> str | None:
    """A CA certificate in PEM, from base64 of its DER; None if that cannot be read."""
    try:
        der = b64decode(ca, what="certificate")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (EncodingError, ssl.SSLError, ValueError):
        return None
    return ssl.DER_cert_to_PEM_cert(der)


def _given(context: Context) -> tuple[Succession, FollowedPolicy]:
    succession = context.settings.read_succession()
    if succession is None:
        raise typer.BadParameter("give --node URL to ask, or --succession FILE")
    return succession, context.settings.require_judge()


def _policy_text(followed: FollowedPolicy) -> str:
    era = followed.eras[-1]
    epoch = "the epoch it was pinned in" if era.epoch is None else f"epoch {era.epoch}"
    return f"# The policy of {followed.origin}, {epoch}: sizes above {era.after_size}\n{era.policy.render()}"


def _emit(context: Context, followed: FollowedPolicy, written: dict[str, Any]) -> None:
    values = {
        "verified": True,
        "origin": followed.origin,
        "eras": [_era_json(era) for era in followed.eras],
        **({"written": written} if written else {}),
    }
    rows = [
        (
            "?" if era.epoch is None else str(era.epoch),
            _sizes(era),
            _threshold(era),
            ", ".join(witness.name for witness in era.policy.witnesses),
        )
        for era in followed.eras
    ]
    changes = len(followed.eras) - 1
    said = (
        "No change of the agencies is shown."
        if changes == 0
        else f"{changes} change{'' if changes == 1 else 's'}, each vouched for before it."
    )
    context.emit(
        values,
        columns(("epoch", "sizes", "quorum", "cosigners"), rows),
        Text(said),
        *(Text(f"Written: {what} to {path}.") for what, path in written.items()),
    )


def _sizes(era: Era) -> str:
    return f"{era.after_size + 1:,} to {'now' if era.last_size is None else f'{era.last_size:,}'}"


def _threshold(era: Era) -> str:
    group = next((group for group in era.policy.groups if group.name == era.policy.quorum), None)
    return era.policy.quorum if group is None else f"{group.needed} of {len(group.members)}"


def _era_json(era: Era) -> dict[str, Any]:
    policy = era.policy
    return {
        "epoch": era.epoch,
        "after_size": era.after_size,
        "last_size": era.last_size,
        "quorum": policy.quorum,
        "groups": [{"name": g.name, "needed": g.needed, "members": list(g.members)} for g in policy.groups],
        "cosigners": [{"name": w.name, "vkey": w.verifier.vkey} for w in policy.witnesses],
        "logs": [log.verifier.vkey for log in policy.logs],
    }
