"""Taking up the state where the store ended: from the genesis document in an empty store, else from the documents.

The state tree is built anew from the stored documents and must have the root that the newest seal names: a node whose
documents are not those of the log would vote for what others refuse.
"""

from ledger.block import Seal
from ledger.errors import ConfigurationError, CorruptionError
from ledger.genesis import Genesis, validators_hash
from ledger.merkle.hashing import leaf_hash
from ledger.merkle.tree import Frontier
from ledger.signing import key_id
from ledger.state.model import encode_document
from ledger.state.transition import genesis_state
from ledger.statetree import StateTree, key_hash, value_hash
from node.execution.documents import hash_tree
from node.execution.executor import Cosign
from node.execution.overlay import Overlay
from node.storage import BlockCommit, Head, LedgerStore


def open_state(genesis: Genesis, store: LedgerStore, cosign: Cosign) -> tuple[Head, Overlay]:
    """The newest block's head, and the committed state after it. `cosign` is asked for the genesis block only.

    Raises:
        ConfigurationError: code `wrong_ledger`: the store holds another ledger.
        CorruptionError: the documents are not those that the newest seal names.
        StoreError: the store failed.
    """
    with store.read() as reader:
        is_empty = reader.head() is None
    if is_empty:
        store.commit(genesis_commit(genesis, cosign))
    with store.read() as reader:
        head, first = reader.head(), reader.entry(0)
    if head is None or first is None:
        raise CorruptionError("the log has no genesis document")
    if first != genesis.entry:
        raise ConfigurationError(
            "the database holds another ledger",
            code="wrong_ledger",
            expected=genesis.chain_id.hex(),
            actual=value_hash(first).hex(),
            help="Give this node a data directory of its own.",
        )
    tree = hash_tree(store)
    if tree.root != head.state_root:
        raise CorruptionError(
            "the stored documents are not the state that the newest seal names",
            expected=head.state_root.hex(),
            actual=tree.root.hex(),
            help="Run `tracemark fsck DIR --repair`: it keeps a copy and mends from the log, or by the peers.",
        )
    base = Overlay(
        parent=None,
        digest=head.digest,
        height=head.height,
        time_ms=head.time_ms,
        seal_hash=head.seal_hash,
        frontier=head.frontier,
        tree=tree,
    )
    return head, base


def genesis_commit(genesis: Genesis, cosign: Cosign) -> BlockCommit:
    """Height 0: the genesis document and its seal (DESIGN 5). Its digest is the chain id (P8.3: view 0)."""
    documents = [
        (key_hash(key.kind, key.id), key.kind, key.id, encode_document(document))
        for key, document in genesis_state(genesis).items()
    ]
    tree = StateTree.empty().update({row[0]: value_hash(row[3]) for row in documents})
    members = tuple((agency.party, agency.node.consensus.public) for agency in genesis.agencies)
    seal = Seal(
        height=0,
        view=0,
        epoch=0,
        prev_seal=genesis.chain_id.hex(),
        time=genesis.time_ms,
        record_count=0,
        state_root=tree.root.hex(),
        validators=validators_hash(members).hex(),
        version=genesis.parameters.version,
    ).to_bytes()
    entries = (genesis.entry, seal)
    frontier, nodes = Frontier().extend(leaf_hash(entry) for entry in entries)
    return BlockCommit(
        height=0,
        epoch=0,
        view=0,
        digest=genesis.chain_id,
        first_index=0,
        entries=entries,
        records=[],
        header=None,
        certificate=None,
        cosignature=cosign(frontier.size, frontier.root),
        frontier=frontier,
        nodes=nodes,
        documents=list(documents),
        history=[],
        serials=[],
        keys=[(key_id(bytes.fromhex(public)), public) for _, kind, public, _ in documents if kind == "key"],
    )
