"""The node's log: one JSON object a line on standard error, for whoever collects it.

Everything goes through one pipeline, other libraries' logging included. Secrets are never handed to it; a field whose name
says that it holds one is blanked all the same.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog

SECRET_FIELDS: Final = frozenset({"authorization", "passphrase", "password", "private_key", "secret", "seed", "token"})
BLANK: Final = "[not logged]"

_QUIET: Final = ("alembic", "httpcore", "httpx", "uvicorn.access", "websockets")
"""Loggers of libraries that say at info what is nobody's business."""


def configure_logs(level: str, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging, once, at the start.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        stream: where to, standard error if not given.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        blank_secrets,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_colours,
                structlog.processors.JSONRenderer(sort_keys=True, default=repr),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def _drop_colours(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """uvicorn says everything a second time, for terminals."""
    event.pop("color_message", None)
    return event


def blank_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field that is named like a secret."""
    for name in event:
        if name.lower() in SECRET_FIELDS:
            event[name] = BLANK
    return event
