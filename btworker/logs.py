"""One structlog set-up for parent and children: one event is one line, JSON for machines, text on a terminal.

    get_logger().info("job_started", workerJobId=job.id)
    {"ts": …, "level": "info", "event": "job_started", "message": "job started", "workerJobId": …}

Warnings, other packages' log lines and exceptions that nobody caught are events as well. Names and texts come from
strangers: whatever is in them, it stays inside its value. Children write to the same stdout; each line is one write.
"""

import logging
import math
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from btworker.specs import LogSettings

MAX_VALUE_CHARS = 2000
"""Longer values are cut: a client's 1 MB header must not become a 1 MB log line."""
MAX_TRACEBACK_CHARS = 8000
MAX_ITEMS = 50
"""Of a list or a mapping as a value."""
Event = MutableMapping[str, Any]


def set_up(settings: LogSettings) -> None:
    """Configure this process: structlog, the standard library's loggers, warnings, and what nobody catches."""
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[*_shared(), *_renderers(settings)],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = _OneWrite(sys.stdout)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[_foreign_event, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(settings)],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiohttp.access", "asyncio", "numba", "matplotlib", "urllib3"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)
    sys.excepthook = last_words
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed


def wants_json(log_format: str) -> bool:
    """Resolve WORKER_LOG_FORMAT: `auto` is text on a terminal and JSON elsewhere."""
    return log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())


def get_logger() -> Any:
    """A logger whose first argument is the event's name and whose keywords are its fields."""
    return structlog.get_logger()


def last_words(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Log the exception that ends this process; has the signature of sys.excepthook and of ExitStack.push."""
    if isinstance(error, Exception):
        get_logger().critical("uncaught_exception", exc_info=(kind, error, trace))


def _unraisable(problem: "sys.UnraisableHookArgs") -> None:
    where = f"{problem.err_msg or 'exception ignored in'} {problem.object!r}"
    exc_info = (problem.exc_type, problem.exc_value, problem.exc_traceback)
    get_logger().error("ignored_exception", detail=where, exc_info=exc_info)


def _thread_failed(problem: threading.ExceptHookArgs) -> None:
    if isinstance(problem.exc_value, Exception):
        name = problem.thread.name if problem.thread else "?"
        exc_info = (problem.exc_type, problem.exc_value, problem.exc_traceback)
        get_logger().critical("uncaught_exception", thread=name, exc_info=exc_info)


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[Any]
else:  # which is no generic class before Python 3.11
    _StreamHandler = logging.StreamHandler


class _Line(logging.LogRecord):
    """One of our own lines, rendered."""

    def __init__(self, level: int, text: str) -> None:
        super().__init__("btworker", level, "", 0, text, (), None)


class _Lines:
    """What structlog gives rendered lines to: they pass the root logger's handlers as all others do. Its own way there,
    by a logger that looks for the caller's place and a formatter that takes copies, takes three times as long."""

    def debug(self, text: str) -> None:
        logging.root.handle(_Line(logging.DEBUG, text))

    def info(self, text: str) -> None:
        logging.root.handle(_Line(logging.INFO, text))

    def warning(self, text: str) -> None:
        logging.root.handle(_Line(logging.WARNING, text))

    def error(self, text: str) -> None:
        logging.root.handle(_Line(logging.ERROR, text))

    def critical(self, text: str) -> None:
        logging.root.handle(_Line(logging.CRITICAL, text))


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders what is not ours."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if isinstance(record, _Line) else super().format(record)


class _OneWrite(_StreamHandler):
    """Each line is one system call where the stream is a file: lines of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            descriptor = self.stream.fileno()
            self.stream.flush()
            while data:
                data = data[os.write(descriptor, data) :]
        except (OSError, ValueError):  # no file at all, or closed, or nobody reads it any more
            self.handleError(record)


def _shared() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _with_message,
        structlog.processors.format_exc_info,
        _plain,
    ]


def _renderers(settings: LogSettings) -> list[Any]:
    if settings.json:
        return [structlog.processors.JSONRenderer(ensure_ascii=True, default=repr)]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback
    )
    return [_for_people, console]


def _foreign_event(_logger: Any, _name: str, event: Event) -> Event:
    """A line of the standard library's logging has a text and no name; warnings come this way, too."""
    record: logging.LogRecord = event["_record"]
    name = "warning" if record.name == "py.warnings" else "log"
    return {**event, "event": name, "message": str(event.get("event", "")).strip(), "logger": record.name}


def _with_message(_logger: Any, _name: str, event: Event) -> Event:
    event.setdefault("message", str(event["event"]).replace("_", " "))
    return event


def _for_people(_logger: Any, _name: str, event: Event) -> Event:
    """No message that only repeats the event; nothing that moves a cursor; a traceback that looks like no event."""
    seen = {key: _escaped(value) if isinstance(value, str) else value for key, value in event.items()}
    if seen["event"] in ("log", "warning"):
        seen["event"] = seen.pop("message")
    elif seen["message"] == seen["event"].replace("_", " "):
        del seen["message"]
    if "exception" in event:
        seen["exception"] = "\n".join(f"    {_escaped(line)}" for line in event["exception"].splitlines())
    return seen


def _escaped(text: str) -> str:
    """Control and direction characters as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _plain(_logger: Any, _name: str, event: Event) -> Event:
    """Values of bounded size that every reader of JSON takes."""
    # those with an underscore are structlog's own, removed later
    return {key: value if key.startswith("_") else _value(value, key) for key, value in event.items()}


def _value(value: Any, key: str = "") -> Any:
    if isinstance(value, str):  # nearly always: asked first, since Mapping takes ten times as long to say no
        return _cut(value, MAX_TRACEBACK_CHARS if key == "exception" else MAX_VALUE_CHARS)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(name)[:MAX_VALUE_CHARS]: _value(item) for name, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item) for item in list(value)[:MAX_ITEMS]]
    return _cut(repr(value), MAX_VALUE_CHARS)


def _cut(text: str, most: int) -> str:
    """At most so many characters, beginning and end; half characters (lone surrogates) become escapes."""
    if len(text) > most:
        text = f"{text[: most // 2]} … {text[-most // 2 :]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
