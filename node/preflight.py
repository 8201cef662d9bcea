"""What a node's files must be before it starts: its own agency's, whole, and fitting each other and the genesis document.

An agency that is not in the genesis document (it joins later, or only observes), or whose keys were changed by a proposal
since (`rotated`), is known by its identity file alone; whether it is a validator is then for the ledger to say.

A damaged or mistaken file is refused here by its name, before a database is opened or a port bound: found later, it would
be a peer that never connects or evidence that no court accepts. The key file is `node.keys`' own to check.
"""

from pathlib import Path

from ledger.errors import ConfigurationError, SignatureError
from ledger.genesis import Agency, Genesis
from ledger.limits import MAX_POLICY_BYTES
from ledger.policy import NO_QUORUM, Policy
from ledger.succession import founding_policy
from node.config import NodeConfig
from node.files import read_file
from node.peers.certificates import check_node_certificate
from node.service.ceremony import check_agency, check_authorities, read_identity


def check_files(config: NodeConfig, genesis: Genesis) -> Agency:
    """Check authorities, identity, policy and TLS certificate; returns this node's agency as its identity shows it.

    Raises:
        ConfigurationError: codes `bad_certificate`, `bad_identity`, `wrong_identity`, `bad_policy`, `bad_vkey`,
            `wrong_policy`, `exposed_secret`, or those of `node.files.read_file`.
    """
    try:
        check_authorities(genesis)
    except ConfigurationError as error:
        raise _in_file(config.genesis, error) from error
    identity = _check_identity(config, genesis)
    _check_policy(config, genesis, identity)
    check_node_certificate(config.tls.certificate, config.tls.key, identity)
    return identity


def read_observers(config: NodeConfig, genesis: Genesis) -> tuple[Agency, ...]:
    """The agencies that the operator lets in as observers.

    Raises:
        ConfigurationError: codes `bad_certificate`, `bad_identity`, or those of `node.files.read_file`.
    """
    return tuple(_read_proven(path, genesis) for path in config.peers.observers)


def _check_identity(config: NodeConfig, genesis: Genesis) -> Agency:
    identity = _read_proven(config.identity, genesis)
    founding = next((agency for agency in genesis.agencies if agency.party == config.party), None)
    if identity.party != config.party:
        raise ConfigurationError(
            f"{config.identity} is another agency's identity",
            code="wrong_identity",
            expected=config.party,
            actual=identity.party,
            help=f"`party` in {config.file} and the identity must be of one agency.",
        )
    if founding is not None and identity != founding and not config.rotated:
        raise ConfigurationError(
            f"{config.identity} is not the identity that stands in the genesis document",
            code="wrong_identity",
            expected=f"{identity.party}, as in {config.genesis}",
            actual=f"another identity of {identity.party}",
            help="Use the identity.json from which the genesis document was assembled; or, if a proposal has changed this "
            f"agency's keys since, say `rotated = true` in {config.file}.",
        )
    return identity


def _read_proven(path: Path, genesis: Genesis) -> Agency:
    """An identity whose keys prove possession for this ledger's origin."""
    identity = read_identity(path)
    try:
        check_agency(identity, origin=genesis.origin)
    except SignatureError as error:
        raise ConfigurationError(
            f"{path}: {error.message}",
            code="bad_identity",
            expected=f"keys that prove possession for {genesis.origin}",
            actual=error.actual,
            help="Make the identity anew for this ledger's origin: `tracemark network identity`.",
        ) from error
    except ConfigurationError as error:
        raise _in_file(path, error) from error
    return identity


def _check_policy(config: NodeConfig, genesis: Genesis, agency: Agency) -> None:
    """The ledger's own policy will do, and so will any other by which this node's checkpoints can be believed. Which that is
    for an agency that is not in the genesis document, the ledger alone can say."""
    data = read_file(config.policy, limit=MAX_POLICY_BYTES, what="policy")
    try:
        policy = Policy.parse(data)
    except ConfigurationError as error:
        raise _in_file(config.policy, error) from error
    if agency not in genesis.agencies:
        return
    own = founding_policy(genesis)
    log = own.logs[genesis.agencies.index(agency)].verifier
    if log not in [entry.verifier for entry in policy.logs]:
        raise _wrong_policy(config, "the log key of this node is not listed", expected=log.vkey)
    cosigners = {entry.verifier for entry in own.witnesses}
    listed = [entry.name for entry in policy.witnesses if entry.verifier in cosigners]
    if policy.quorum == NO_QUORUM or not policy.is_quorum(listed):
        raise _wrong_policy(
            config,
            "the ledger's cosigners cannot make its quorum",
            expected=f"a quorum of the {len(cosigners)} cosigners in the genesis document",
            actual=f"quorum {policy.quorum}, with {len(listed)} of them listed",
        )


def _wrong_policy(config: NodeConfig, what: str, *, expected: str, actual: str | None = None) -> ConfigurationError:
    return ConfigurationError(
        f"{config.policy}: {what}",
        code="wrong_policy",
        expected=expected,
        actual=actual,
        help="Use the policy.txt that was made together with the genesis document.",
    )


def _in_file(path: object, error: ConfigurationError) -> ConfigurationError:
    """The same error, with the file that it is in."""
    return ConfigurationError(
        f"{path}: {error.message}", code=error.code, expected=error.expected, actual=error.actual, help=error.help
    )
