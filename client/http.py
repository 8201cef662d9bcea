"""Requests to nodes: one of several, tried in turn, with bounded patience and bounded answers.

Every request of this interface may be repeated: questions change nothing, and a record's id is its idempotency key. So a
lost connection, an overloaded node (429) or one that is not ready (502, 503, 504) only means another node, or later.
What an answer means, and whether to believe it, is `client.session`'s.
"""

import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

import httpx
import msgspec

from client.errors import AnswerError, NodeUnreachableError, NotAllowedError, NotFoundError
from client.tls import tls_context
from ledger.errors import ConfigurationError, InputError, OverloadError, RuleError, TracemarkError
from ledger.limits import MAX_BUNDLE_BYTES

CONNECT_TIMEOUT_S: Final = 5.0
READ_TIMEOUT_S: Final = 60.0
"""Longer than a node waits for a record to become final."""
MAX_PATIENCE_S: Final = 60.0
"""How long a request is repeated before it fails."""
NOTICE_AFTER_S: Final = 0.5
"""A wait shorter than this is not worth a word."""
FIRST_PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 5.0
"""Where a node does not say when to come again, pauses double from the first to this."""
SPREAD: Final = 0.25
"""A time that a node named is made longer by up to this part of it: those whom it sent away together come one by one."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BUSY: Final = frozenset({429, 502, 503, 504})


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details as nodes send them; unknown members are ignored."""

    detail: str = ""
    code: str = "unknown"
    expected: str | None = None
    actual: str | None = None
    help: str | None = None
    results: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A node's answer: from which node, its HTTP status, its body."""

    url: str
    status: int
    body: bytes


class NodeClient:
    """The nodes of one ledger, by base URL. A context manager; not for several threads at once."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        ca: Path | None = None,
        token: str | None = None,
        purpose: str | None = None,
        case: str | None = None,
        patience_s: float = MAX_PATIENCE_S,
        first_patience_s: float | None = None,
        tell: Callable[[str], None] | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            urls: `https://host:port` of each node, in the order of preference.
            ca: PEM file with the agencies' CA certificates; None trusts the system's.
            token: the bearer token, if any.
            purpose: an inquirer's purpose, sent with every question.
            case: its case number.
            patience_s: how long one request is repeated.
            first_patience_s: how long a question is repeated while no node has ever answered, if not as long: somebody
                waits, and the address is likelier wrong than the network slow.
            tell: called with one line for people when a request has to wait.
            transport: for tests.
            clock: monotonic seconds; for tests.
            sleep: for tests.
            chance: numbers in [0, 1) that spread the pauses; for tests.

        Raises:
            ConfigurationError: codes `no_node`, `bad_url`, `bad_ca`, `bad_header`.
        """
        if not urls:
            raise ConfigurationError("no node is given", code="no_node", help="Give --node, or `node` in the profile.")
        self._urls = [_checked_url(url) for url in urls]
        self._patience_s = patience_s
        self._first_patience_s = patience_s if first_patience_s is None else min(first_patience_s, patience_s)
        self._has_answered = False
        self._tell = tell
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._client = httpx.Client(
            verify=tls_context(ca) if ca is not None else True,
            headers=_headers(token=token, purpose=purpose, case=case),
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=False,
            transport=transport,
            trust_env=False,
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """The nodes, the one that answered last first."""
        return tuple(self._urls)

    def demote(self, url: str) -> None:
        """Put a node last: it was stale, or could not show what it must."""
        self._urls.remove(url)
        self._urls.append(url)

    def get(self, path: str, params: Mapping[str, str] | None = None, *, limit: int = MAX_BUNDLE_BYTES) -> Answer:
        """GET `path`; the answer of the first node that gives one with status 200 or 202.

        Raises:
            NodeUnreachableError, NotFoundError, NotAllowedError, OverloadError, RuleError, InputError, AnswerError: by the
                node's problem; see `raise_problem`.
        """
        answer = self._request("GET", path, params=params, content=None, limit=limit)
        if answer.status not in (200, 202):
            raise_problem(answer)
        return answer

    def post(self, path: str, body: bytes, params: Mapping[str, str] | None = None) -> Answer:
        """POST JSON; the answer of the first node that gives one, whatever its status (but not busy ones).

        Raises:
            NodeUnreachableError, OverloadError: no node took it within the patience.
        """
        return self._request("POST", path, params=params, content=body, limit=MAX_BUNDLE_BYTES)

    def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None, content: bytes | None, limit: int
    ) -> Answer:
        started = self._clock()
        patience_s = self._patience_s if method != "GET" or self._has_answered else self._first_patience_s
        pause_s = FIRST_PAUSE_S
        busy: Answer | None = None
        was_told = False
        while True:
            wait_s = 0.0
            failures: dict[str, httpx.RequestError] = {}
            for url in tuple(self._urls):
                try:
                    answer, retry_after_s = self._once(method, url, path, params=params, content=content, limit=limit)
                except httpx.RequestError as error:
                    failures[url] = error
                    continue
                self._has_answered = True
                if answer.status not in _BUSY:
                    self._urls.remove(url)
                    self._urls.insert(0, url)
                    return answer
                busy, patience_s = answer, self._patience_s
                wait_s = max(wait_s, retry_after_s)
            spread_pause_s = pause_s * (1 + self._chance()) / 2
            wait_s = max(wait_s * (1 + SPREAD * self._chance()), spread_pause_s)
            left_s = started + patience_s - self._clock()
            if wait_s > left_s or (len(failures) == len(self._urls) and all(map(_is_untrusted, failures.values()))):
                break
            if not was_told and self._tell is not None and self._clock() + wait_s - started >= NOTICE_AFTER_S:
                why = "no node answers yet" if busy is None else f"not yet: {read_problem(busy).detail}"
                self._tell(f"{why}, trying for {left_s:.0f} s more")
                was_told = True
            self._sleep(wait_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
        if busy is not None:
            raise_problem(busy)
        raise _unreachable(failures, patience_s)

    def _once(
        self, method: str, url: str, path: str, *, params: Mapping[str, str] | None, content: bytes | None, limit: int
    ) -> tuple[Answer, float]:
        headers = {"Content-Type": "application/json"} if content is not None else None
        with self._client.stream(method, url + path, params=params, content=content, headers=headers) as response:
            chunks: list[bytes] = []
            size = 0
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > limit:
                    raise AnswerError(
                        "the node's answer is too large", code="too_large", expected=f"<= {limit} bytes", actual=path
                    )
                chunks.append(chunk)
            retry_after = response.headers.get("Retry-After", "")
            retry_after_s = float(retry_after[:6]) if retry_after.isascii() and retry_after.isdigit() else 0.0
            return Answer(url=url, status=response.status_code, body=b"".join(chunks)), retry_after_s

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> "NodeClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_untrusted(error: BaseException) -> bool:
    """Whether a connection failed because the node's certificate is not one of the trusted authorities': time heals that
    not."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _unreachable(failures: Mapping[str, httpx.RequestError], patience_s: float) -> NodeUnreachableError:
    """What to say where no node answered: that none is trusted, if that is it."""
    actual = "; ".join(f"{url}: {type(error).__name__} {error}".strip() for url, error in failures.items())[:400]
    if any(map(_is_untrusted, failures.values())):
        return NodeUnreachableError(
            "the node's certificate is not trusted",
            code="tls_untrusted",
            expected="a certificate of the agencies' CAs for this very address",
            actual=actual,
            help="Give --ca with the ledger's ca.pem (or `ca` in the profile), and the address as the agency tells it.",
        )
    return NodeUnreachableError(
        "no node answered",
        expected=f"an answer within {patience_s:g} s",
        actual=actual,
        help="Check the address and the network.",
    )


def read_problem(answer: Answer) -> Problem:
    """The problem details of an answer; its bare status where there are none."""
    try:
        return msgspec.json.decode(answer.body, type=Problem)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Problem(detail=f"the node answered {answer.status}", code=f"http_{answer.status}")


def raise_problem(answer: Answer) -> NoReturn:
    """Raise the error that an answer's status and problem details mean.

    Raises:
        RuleError: 409. NotFoundError: 404. NotAllowedError: 401, 403. OverloadError: 429, 502, 503, 504.
        InputError: other 4xx. AnswerError: everything else.
    """
    problem = read_problem(answer)
    details: dict[str, Any] = {
        "code": problem.code,
        "expected": problem.expected,
        "actual": problem.actual,
        "help": problem.help,
    }
    kinds: dict[int, type[TracemarkError]] = {
        401: NotAllowedError,
        403: NotAllowedError,
        404: NotFoundError,
        409: RuleError,
        **dict.fromkeys(_BUSY, OverloadError),
    }
    kind = kinds.get(answer.status, InputError if 400 <= answer.status < 500 else AnswerError)
    raise kind(problem.detail or f"the node answered {answer.status}", **details)


def _checked_url(text: str) -> str:
    """A base URL. In the clear only to this machine: a token must not cross a network unprotected."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        raise _bad_url(text) from error
    is_safe = url.scheme == "https" or (url.scheme == "http" and url.host in _LOOPBACK)
    if not is_safe or not url.host or url.query or url.fragment or url.userinfo:
        raise _bad_url(text)
    return text.rstrip("/")


def _bad_url(text: str) -> ConfigurationError:
    return ConfigurationError("not a node's address", code="bad_url", expected="https://host:port", actual=text[:200])


def _headers(*, token: str | None, purpose: str | None, case: str | None) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "tracemark"}
    for name, value in (
        ("Authorization", None if token is None else f"Bearer {token}"),
        ("Tracemark-Purpose", purpose),
        ("Tracemark-Case", case),
    ):
        if value is None:
            continue
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(
                "a token, purpose or case has characters that no header may have",
                code="bad_header",
                expected="visible ASCII characters and spaces",
            )
        headers[name] = value
    return headers
