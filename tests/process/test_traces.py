"""Traces, as a collector gets them by OTLP over HTTP, from a real server with the scripted engine."""

import gzip
import http.server
import json
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.process.prometheus_of import scraping
from tests.process.server_of import TOKEN, Server, serving
from tests.waiting import until

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Milliseconds that the library waits before it sends."""


@dataclass
class Collector:
    """What came, and the address to send it to. Callbacks may be sent to it as well."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    callbacks: list[dict[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Span]:
        """Spans by their name."""
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One on a port of its own."""
    found = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                request = ExportTraceServiceRequest.FromString(body)
                found.spans += [
                    span
                    for resource in request.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
            else:
                found.callbacks.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    server.shutdown()
    server.server_close()


def submit(server: Server, *steps: list[object], **headers: str) -> str:
    """Upload a file whose name nobody should read in a trace; the job's id."""
    boundary, prompt = "b", json.dumps({"steps": list(steps)})
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    fields = {"prompt": prompt, **{name: value for name, value in headers.items() if name == "callbackUrl"}}
    plain = "".join(f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    body = f'{plain}{head}file"; filename="secret.wav"\r\n\r\nhello\r\n--{boundary}--\r\n'.encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    sent = {name: value for name, value in headers.items() if name != "callbackUrl"}
    status, job = server.request("POST", "/v1/jobs", body, **kind, **sent)
    assert status == 201, job
    return str(job["workerJobId"])


def test_one_trace_from_the_request_to_the_end(collector: Collector, tmp_path: Path) -> None:
    """Below the caller's span; what the child does is below its attempt, in order; a callback gets the trace."""
    host = collector.url.removeprefix("http://")
    settings = {"WORKER_OTLP_ENDPOINT": collector.url, "WORKER_ALLOWED_HOSTS": host}
    with serving(tmp_path, **settings) as server:
        job_id = submit(server, ["sleep", 0.1], ["say", "private"], callbackUrl=f"{collector.url}/hook", **SENT)
        assert server.ended(job_id)["status"] == "complete"
        until(lambda: collector.callbacks)
        assert server.stop() == 0
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    (request,), (queued,), (attempt,) = (collector.named(name) for name in ("POST /v1/jobs", "queued", "attempt"))
    assert request.parent_span_id.hex() == CALLER
    assert queued.parent_span_id == attempt.parent_span_id == request.span_id
    stages = sorted((span for span in collector.spans if span.parent_span_id == attempt.span_id), key=started)
    assert [span.name for span in stages] == ["initializing", "transcribing"]
    assert request.start_time_unix_nano <= queued.start_time_unix_nano <= queued.end_time_unix_nano
    assert queued.end_time_unix_nano <= attempt.start_time_unix_nano == stages[0].start_time_unix_nano
    assert stages[0].end_time_unix_nano == stages[1].start_time_unix_nano
    assert stages[-1].end_time_unix_nano == attempt.end_time_unix_nano
    assert stages[-1].end_time_unix_nano - stages[-1].start_time_unix_nano >= 1e8
    assert collector.callbacks[0]["traceparent"] == f"00-{TRACE}-{request.span_id.hex()}-01"
    everything = "".join(map(str, collector.spans))
    assert job_id in everything
    assert not any(secret in everything for secret in ("secret.wav", "private", TOKEN))


def started(span: Span) -> int:
    """When it began, in nanoseconds."""
    return span.start_time_unix_nano


def test_a_trace_goes_on_over_a_kill(collector: Collector, tmp_path: Path) -> None:
    """The attempt after kill -9 is in the trace of the request."""
    gate = tmp_path / "gate"
    with serving(tmp_path, WORKER_OTLP_ENDPOINT=collector.url, **QUICK) as server:
        job_id = submit(server, ["wait_file", str(gate)], **SENT)
        until(lambda: server.job(job_id)["status"] == "running")
        until(lambda: collector.named("POST /v1/jobs"))
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        gate.touch()
        server.start()
        assert server.ended(job_id)["status"] == "complete"
        assert server.stop() == 0
    (attempt,) = collector.named("attempt")
    assert attempt.trace_id.hex() == TRACE
    assert {one.key: one.value.int_value for one in attempt.attributes}["btworker.attempt"] == 2


def test_a_failure_is_seen(collector: Collector, tmp_path: Path) -> None:
    """The attempt has the code of the job's error, and no sentence, which may quote names."""
    with serving(tmp_path, WORKER_OTLP_ENDPOINT=collector.url) as server:
        job_id = submit(server, ["fail", "CORRUPT_AUDIO", "secret.wav is broken"])
        assert server.ended(job_id)["status"] == "failed"
        server.stop()
    (attempt,) = collector.named("attempt")
    assert (attempt.status.code, attempt.status.message) == (2, "CORRUPT_AUDIO")
    assert attempt.trace_id.hex() != TRACE


def test_a_collector_that_is_away_costs_no_job(tmp_path: Path) -> None:
    """Nor does its absence hold the end of the server up for long."""
    with serving(tmp_path, WORKER_OTLP_ENDPOINT="http://127.0.0.1:9", **QUICK) as server:
        job_id = submit(server, ["say", "hello"])
        assert server.ended(job_id)["status"] == "complete"
        assert server.stop() == 0


def test_a_caller_that_does_not_sample_is_not_traced(collector: Collector, tmp_path: Path) -> None:
    """Its flag 00 says so; and WORKER_TRACE_SHARE=0 traces whom nobody asked for."""
    with serving(tmp_path, WORKER_OTLP_ENDPOINT=collector.url, WORKER_TRACE_SHARE="0") as server:
        for headers in ({"traceparent": f"00-{TRACE}-{CALLER}-00"}, {}, {"traceparent": "not a traceparent"}):
            server.ended(submit(server, ["say", "hello"], **headers))
        assert server.stop() == 0
    assert collector.spans == []


@pytest.mark.serial
@pytest.mark.system("prometheus")
@pytest.mark.timeout(120)
def test_durations_name_a_trace(collector: Collector, tmp_path: Path) -> None:
    """Exemplars, which a real Prometheus stores beside all that it had without them."""
    with (
        serving(tmp_path, WORKER_OTLP_ENDPOINT=collector.url) as server,
        scraping(tmp_path, server.url, "--enable-feature=exemplar-storage") as prometheus,
    ):
        server.ended(submit(server, ["say", "hello"], **SENT))
        for name in ("btworker_job_queue_seconds", "btworker_job_duration_seconds"):
            query = {"query": f"{name}_bucket", "start": "0", "end": "1e11"}
            [found] = until(lambda query=query: prometheus.get("query_exemplars", **query), name)  # type: ignore[misc]
            assert {one["labels"]["trace_id"] for one in found["exemplars"]} == {TRACE}
        assert prometheus.value('btworker_jobs_total{outcome="complete"}') == 1
        assert prometheus.value('btworker_jobs{state="running"}') == 0
        with urllib.request.urlopen(f"{server.url}/metrics") as answer:  # a scraper of the text format alone
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert TRACE not in answer.read().decode()


def test_nothing_is_loaded_where_traces_are_off(tmp_path: Path) -> None:
    """The front end without a collector imports nothing of OpenTelemetry."""
    with serving(tmp_path) as server:
        assert server.ended(submit(server, ["say", "hello"], **SENT))["status"] == "complete"
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "google/_upb" not in maps, "protobuf's library came with OpenTelemetry's"


def test_without_the_packages_the_start_says_what_to_install(tmp_path: Path) -> None:
    """Exit code 64 and the command."""
    blocked = "import sys; sys.modules['opentelemetry'] = None; from btworker.cli.main import main; sys.exit(main())"
    program = ("-c", blocked, "serve")
    with serving(tmp_path, wait=False, program=program, WORKER_OTLP_ENDPOINT="http://127.0.0.1:4318") as server:
        assert server.process.wait(60) == 64
        assert "pip install 'btworker[traces]'" in server.log.read_text()
    assert sys.modules.get("opentelemetry") is not None
