"""Getting what is missing: blocks by digest over the links, certificates by view (P5.4, P7.4). One peer at a time."""

from ledger.consensus.effects import Timer
from ledger.consensus.messages import BlockRequest, CertificateRequest
from ledger.consensus.state import State, Want
from ledger.limits import MAX_REQUESTED_VIEWS


def want_block(state: State, digest: bytes, sources: tuple[int, ...], view: int) -> None:
    """Ask for a block until it is held: first `sources`, then everybody. Asking for it again changes nothing.

    `view` is that of the certificate or proposal that needs it; the want lapses when the floor reaches it.
    """
    if digest not in state.wants and digest not in state.blocks:
        want = state.wants[digest] = Want(sources, view)
        _ask_for_block(state, digest, want)
        _arm(state)


def block_refused(state: State, digest: bytes) -> None:
    """A peer does not hold the block: ask the next at once, but go round only once before the timer."""
    want = state.wants.get(digest)
    if want is not None and want.asked < len(_order(state, want.sources)):
        _ask_for_block(state, digest, want)


def want_certificates(state: State, views: list[int], source: int | None) -> None:
    """Ask for the certificates of these views (P7.4): of `source`, if given, then of everybody in turn.

    They replace what was wanted before; no views end the asking.
    """
    wanted = tuple(views[:MAX_REQUESTED_VIEWS])
    if wanted == state.wanted_views:
        return
    state.wanted_views = wanted
    if wanted and state.now_ms >= state.wanted_views_next_ms:
        _ask_for_certificates(state, source)
    _arm(state)


def on_fetch_timer(state: State) -> None:
    """Ask the next peer for everything whose turn it is."""
    for digest, want in state.wants.items():
        if state.now_ms >= want.next_ms:
            _ask_for_block(state, digest, want)
    state.wanted_views = tuple(view for view in state.wanted_views if view > state.floor.view)
    if state.wanted_views and state.now_ms >= state.wanted_views_next_ms:
        _ask_for_certificates(state, None)
    _arm(state)


def prune_wants(state: State) -> None:
    """Forget blocks wanted for views that are at or below the floor."""
    for digest in [digest for digest, want in state.wants.items() if want.view <= state.floor.view]:
        del state.wants[digest]


def _ask_for_block(state: State, digest: bytes, want: Want) -> None:
    order = _order(state, want.sources)
    if order:
        state.send(order[want.asked % len(order)], BlockRequest(digest=digest))
    want.asked += 1
    want.next_ms = state.now_ms + state.parameters.fetch_ms


def _ask_for_certificates(state: State, source: int | None) -> None:
    order = _order(state, () if source is None else (source,))
    if order:
        to = order[0] if source is not None else order[state.wanted_views_asked % len(order)]
        state.send(to, CertificateRequest(epoch=state.epoch.number, views=state.wanted_views))
    state.wanted_views_asked += 1
    state.wanted_views_next_ms = state.now_ms + state.parameters.fetch_ms


def _order(state: State, sources: tuple[int, ...]) -> list[int]:
    """`sources`, then the other validators, starting after ourselves so that not everybody asks the same one."""
    size, own = state.epoch.size, state.own
    start = 0 if own is None else own + 1
    everybody = [(start + step) % size for step in range(size)]
    first = [source for source in sources if source != own]
    return first + [index for index in everybody if index not in first and index != own]


def _arm(state: State) -> None:
    due = [want.next_ms for want in state.wants.values()]
    if state.wanted_views:
        due.append(state.wanted_views_next_ms)
    if due:
        state.set_timer(Timer.FETCH, min(due))
    else:
        state.cancel_timer(Timer.FETCH)
