"""Spans of requests and of what happens to jobs (traces.py says which). Imported only where traces are on. Parent.

Spans have ids, codes, routes and numbers; never a file's name, a text or a token.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from btworker import __version__
from btworker.jobs import Job, JobId, JobStatus, Stage

NS = 1_000_000_000
MOST_WAITING = 4096
"""Spans that may wait for the collector; more are dropped."""
EXPORT_S = 5.0
"""Seconds that the collector has for a batch of spans."""
CLOSE_S = 2.0
"""Seconds for which the last ones are tried again at the end."""
Attributes = dict[str, str | int]
W3C = TraceContextTextMapPropagator()


@dataclass(slots=True)
class Open:
    """Spans of a job at work."""

    number: int
    """Of the attempt."""
    attempt: Span | None
    stage: Span
    name: Stage


@dataclass(slots=True)
class TracedRequest:
    """A request under way."""

    traceparent: str
    """For what follows from it; empty where it is not sampled."""
    status: int = 500
    """Of its answer."""


def open_spans(endpoint: str, *, share: float) -> "Spans":
    """Spans that go to a collector by OTLP over HTTP; `share` of the traces that no caller began, 0 to 1."""
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(share),
        resource=Resource.create({"service.name": "btworker", "service.version": __version__}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=MOST_WAITING))
    return Spans(provider, exporter)


class Spans:
    """Begins and ends them; a thread of the library's sends them."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("btworker", __version__)
        self._open: dict[JobId, Open] = {}

    @contextmanager
    def request(self, method: str, route: str, headers: Mapping[str, str]) -> Iterator["TracedRequest"]:
        """Trace a request; its status is to be noted."""
        given = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._tracer.start_span(f"{method} {route}", W3C.extract(given), kind=SpanKind.SERVER)
        traced = TracedRequest(_traceparent(span))
        try:
            yield traced
        finally:
            status = "http.response.status_code"
            span.set_attributes({"http.request.method": method, "http.route": route, status: traced.status})
            if traced.status >= 500:
                span.set_status(StatusCode.ERROR)
            span.end()

    def moved(self, was: Job | None, job: Job, now: float) -> None:
        """Note what became of a job; `now` is in seconds since the epoch."""
        if not job.trace:
            return
        if was is not None and was.status is JobStatus.QUEUED and was.stage is not job.stage:
            since = was.created_at if was.stage_started_at is None else was.stage_started_at
            self._begin(was.stage.value, job, _above(job), since).end(_ns(now))
        if job.status is JobStatus.RUNNING:
            if was is not None or job.delivers:  # else an earlier run of the worker had it, and it is queued next
                self._work(job, now)
        else:
            self._end(job, now, "queued again")

    def ended(self, job: Job) -> None:
        """Note a job's end."""
        self._end(job, job.finished_at or 0.0, "" if job.error is None else job.error.code.value)

    def close(self) -> None:
        """Send what waits. Blocking, for a moment."""
        no_more_tries = Timer(CLOSE_S, self._exporter.shutdown)
        no_more_tries.start()
        self._provider.shutdown()
        no_more_tries.cancel()

    def _work(self, job: Job, now: float) -> None:
        """The stage of a job that runs; that of a delivery is no part of its attempt."""
        spans = self._open.get(job.id)
        if spans is None or spans.number != job.attempt:
            self._end(job, now, "lost")
            attempt = None if job.delivers else self._begin("attempt", job, _above(job), now)
        elif spans.name is job.stage:
            if spans.attempt is not None and job.gpu:
                spans.attempt.set_attribute("btworker.gpu", job.gpu)
            return
        else:
            attempt = spans.attempt
            spans.stage.end(_ns(now))
        if job.delivers and attempt is not None:
            attempt.end(_ns(now))
            attempt = None
        above = _above(job) if attempt is None else set_span_in_context(attempt)
        self._open[job.id] = Open(job.attempt, attempt, self._begin(job.stage.value, job, above, now), job.stage)

    def _begin(self, name: str, job: Job, above: Context, at: float) -> Span:
        about: Attributes = {
            "btworker.job": job.id,
            "btworker.attempt": job.attempt,
            "btworker.model": job.options.model,
        }
        return self._tracer.start_span(name, above, attributes=about, start_time=_ns(at))

    def _end(self, job: Job, now: float, code: str) -> None:
        if (spans := self._open.pop(job.id, None)) is None:
            return
        for span in (spans.stage, spans.attempt):
            if span is not None:
                if code:
                    span.set_status(StatusCode.ERROR, code)
                span.end(_ns(now))


def _above(job: Job) -> Context:
    """The request that the job came with."""
    return W3C.extract({"traceparent": job.trace})


def _traceparent(span: Span) -> str:
    """The header that names a span; empty where it is not recorded."""
    about = span.get_span_context()
    return f"00-{about.trace_id:032x}-{about.span_id:016x}-01" if about.trace_flags.sampled else ""


def _ns(seconds: float) -> int:
    return int(seconds * NS)
