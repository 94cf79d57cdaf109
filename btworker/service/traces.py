"""Traces by OpenTelemetry, where WORKER_OTLP_ENDPOINT is set: one from a request to the end of its job. Parent.

    POST /v1/jobs          the request, below the caller's own span where it sends traceparent
      downloading          inputs that lie elsewhere
      queued               until a worker has a slot
      attempt              in a child: its GPU
        transcribing, …    what the child reports that it does
      uploading            outputs and callback; their receiver is sent the traceparent

A job keeps its traceparent (https://www.w3.org/TR/trace-context/) in its row: what follows a restart is in that trace.
A child reports its stages in any case, so spans are made of that in spans.py, and no library is loaded beside a model.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from btworker.config import Settings
from btworker.errors import EXIT_BAD_SETTINGS, StartupError

if TYPE_CHECKING:
    from btworker.service.spans import Spans

TRACEPARENT: ContextVar[str] = ContextVar("traceparent", default="")
"""Of the request that is being answered; empty where it is not traced."""


def open_traces(settings: Settings) -> Spans | None:
    """None where no collector is set. Raises StartupError where the library is missing."""
    if not settings.otlp_endpoint:
        return None
    try:
        from btworker.service.spans import open_spans
    except ImportError:
        message = "WORKER_OTLP_ENDPOINT needs OpenTelemetry's packages: pip install 'btworker[traces]'"
        raise StartupError(message, exit_code=EXIT_BAD_SETTINGS) from None
    return open_spans(settings.otlp_endpoint, share=settings.trace_share)


def trace_id_of(traceparent: str) -> str:
    """The trace that a traceparent is of; empty where there is none."""
    return traceparent.split("-")[1] if traceparent else ""
