"""One structlog set-up for parent and children: one event is one line, JSON for machines, text on a terminal.

    get_logger().info("job_started", workerJobId=job.id)
    {"ts": …, "level": "info", "event": "job_started", "message": "job started", "workerJobId": …}

Children write to the same stdout; each line is one write, short enough that lines do not mix.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from btworker.messages import LogSettings

MAX_VALUE_CHARS = 2000
"""Longer values are cut: a client's 1 MB header must not become a 1 MB log line."""
MAX_TRACEBACK_CHARS = 8000
Event = MutableMapping[str, Any]


def set_up(settings: LogSettings) -> None:
    """Configure this process: structlog, the standard library's loggers, and warnings."""
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign_event, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiohttp.access", "asyncio", "numba", "matplotlib", "urllib3"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def wants_json(log_format: str) -> bool:
    """Resolve WORKER_LOG_FORMAT: `auto` is text on a terminal and JSON elsewhere."""
    return log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())


def get_logger() -> Any:
    """A logger whose first argument is the event's name and whose keywords are its fields."""
    return structlog.get_logger()


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _with_message,
        structlog.processors.format_exc_info,
        _bounded,
    ]


def _renderers(settings: LogSettings) -> list[Any]:
    if settings.json:
        return [structlog.processors.JSONRenderer(ensure_ascii=True, default=repr)]
    return [_without_message, structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), timestamp_key="ts")]


def _foreign_event(_logger: Any, _name: str, event: Event) -> Event:
    """A line of the standard library's logging has a text and no name."""
    return {**event, "event": "log", "message": str(event.get("event", ""))}


def _with_message(_logger: Any, _name: str, event: Event) -> Event:
    event.setdefault("message", str(event["event"]).replace("_", " "))
    return event


def _without_message(_logger: Any, _name: str, event: Event) -> Event:
    if event["message"] == str(event["event"]).replace("_", " "):
        del event["message"]
    return event


def _bounded(_logger: Any, _name: str, event: Event) -> Event:
    return {key: _cut(value, key) if isinstance(value, str) else value for key, value in event.items()}


def _cut(value: str, key: str) -> str:
    if key == "exception":
        return value[-MAX_TRACEBACK_CHARS:]
    return value if len(value) <= MAX_VALUE_CHARS else value[:MAX_VALUE_CHARS] + "…"
