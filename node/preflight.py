"""What a node's files must be before it starts: its own agency's, whole, and fitting each other and the genesis document.

A damaged or mistaken file is refused here by its name, before a database is opened or a port bound: found later, it would
be a peer that never connects or evidence that no court accepts. The key file is `node.keys`' own to check.
"""

from ledger.errors import ConfigurationError
from ledger.genesis import Agency, Genesis
from ledger.limits import MAX_POLICY_BYTES
from ledger.policy import NO_QUORUM, Policy
from node.config import NodeConfig
from node.files import read_file
from node.peers.certificates import check_node_certificate
from node.service.ceremony import check_authorities, policy_of, read_identity


def check_files(config: NodeConfig, genesis: Genesis) -> None:
    """Check authorities, identity, policy and TLS certificate.

    Raises:
        ConfigurationError: codes `bad_certificate`, `bad_identity`, `wrong_identity`, `bad_policy`, `bad_vkey`,
            `wrong_policy`, `exposed_secret`, or those of `node.files.read_file`.
    """
    agency = next(agency for agency in genesis.agencies if agency.party == config.party)
    try:
        check_authorities(genesis)
    except ConfigurationError as error:
        raise _in_file(config.genesis, error) from error
    _check_identity(config, agency)
    _check_policy(config, genesis, agency)
    check_node_certificate(config.tls.certificate, config.tls.key, agency)


def _check_identity(config: NodeConfig, agency: Agency) -> None:
    identity = read_identity(config.identity)
    if identity != agency:
        raise ConfigurationError(
            f"{config.identity} is not the identity that stands in the genesis document",
            code="wrong_identity",
            expected=f"{agency.party}, as in {config.genesis}",
            actual=identity.party if identity.party != agency.party else f"another identity of {identity.party}",
            help="Use the identity.json from which the genesis document was assembled.",
        )


def _check_policy(config: NodeConfig, genesis: Genesis, agency: Agency) -> None:
    """The ledger's own policy will do, and so will any other by which this node's checkpoints can be believed."""
    data = read_file(config.policy, limit=MAX_POLICY_BYTES, what="policy")
    try:
        policy = Policy.parse(data)
    except ConfigurationError as error:
        raise _in_file(config.policy, error) from error
    own = policy_of(genesis)
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
