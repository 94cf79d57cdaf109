"""/metrics: the values are right, the names are good, and what clients do cannot make it large."""

import logging
import subprocess
import threading
from concurrent.futures import wait

import aiohttp
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Input, Job, JobStatus, Options, new_job_id
from btworker.metrics import Machine
from btworker.pool import RESTART_REASONS, Phase
from btworker.pool.gpu_watch import GpuWatch
from btworker.receiving.direct_file import DirectFile
from btworker.specs import Device
from btworker.web.routes import ROUTES
from tests import fake_nvml
from tests.http.server import FORM, Running, field, file, finished, request_head, upload
from tests.waiting import eventually

SERIES_LIMIT = 600
"""Two or three for each route and answer: more routes make more, clients and jobs do not."""


async def scraped(client: aiohttp.ClientSession) -> str:
    """The exposition text."""
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        return await response.text()


def series(text: str) -> list[str]:
    """The series of an exposition, with their labels and without their values."""
    return [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]


def labels(text: str, name: str, label: str) -> set[str]:
    """The values that a label of one metric has."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {sample.labels[label] for sample in samples if sample.name == name}


def value(text: str, name: str) -> float | None:
    """The value of one series; None where it is not there."""
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " ")), None)


async def test_metrics_count_what_happened(client: aiohttp.ClientSession, server: Running) -> None:
    """Jobs, uploads and requests, with route patterns and no ids."""
    _, good = await upload(client, file(b"abc"))
    _, bad = await upload(client, file(b"abc"), field("prompt", "fail"))
    for job in (good, bad):
        await finished(client, job["workerJobId"])
    await upload(client, file(b""))
    async with client.get("/v1/nothing/at/all") as response:
        assert response.status == 404
    async with client.request("PROPFIND", "/coffee") as response:
        assert response.status == 404
    text = await scraped(client)
    for line in (
        'btworker_jobs_total{outcome="complete",reason=""} 1.0',
        'btworker_jobs_total{outcome="failed",reason="input"} 1.0',
        'btworker_jobs{state="queued"} 0.0',
        'btworker_uploads_total{outcome="accepted"} 2.0',
        'btworker_uploads_total{outcome="refused"} 1.0',
        "btworker_uploads_in_progress 0.0",
        'btworker_http_requests_total{code="201",method="POST",route="/v1/jobs"} 2.0',
        'btworker_http_requests_total{code="404",method="GET",route="other"} 1.0',
        'btworker_http_requests_total{code="404",method="other",route="other"} 1.0',
        'btworker_worker_up{gpu="cpu"} 1.0',
        'btworker_worker_restarts_total{gpu="cpu",reason="worker_crash"} 0.0',
        'btworker_uploads_total{outcome="aborted"} 0.0',
        'btworker_jobs_total{outcome="failed",reason="gpu_oom"} 0.0',
        "btworker_ready 1.0",
        "btworker_audio_seconds_total 1.5",
        "btworker_draining 0.0",
        "btworker_queue_oldest_timestamp_seconds 0.0",
        'btworker_job_duration_seconds_count{stage="transcribing"} 1.0',
    ):
        assert line in text.splitlines(), line
    for name in (
        "disk_free_bytes",
        "disk_size_bytes",
        "build_info",
        "event_loop_lag_seconds",
        "upload_bytes_total",
        "job_queue_seconds_bucket",
    ):
        assert f"btworker_{name}" in text
    assert "process_resident_memory_bytes" in text
    assert "wk_" not in text
    assert "coffee" not in text


@pytest.mark.system("promtool")
async def test_promtool_has_nothing_to_say(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, units, help texts and types are as Prometheus wants them, those of GPUs as well."""
    fake_nvml.install(monkeypatch, {"GPU-0": fake_nvml.Gpu()})
    server.context.machine.gpu_watch = watch = GpuWatch([Device("cuda", "GPU-0", "H200", 0)])
    watch.start()
    await eventually(watch.readings)
    _, job = await upload(client, file(b"abc"))
    await finished(client, job["workerJobId"])
    text = await scraped(client)
    watch.stop()
    assert "btworker_gpu_temperature_celsius" in text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.timeout(300)
async def test_neither_clients_nor_jobs_make_series(client: aiohttp.ClientSession, server: Running) -> None:
    """Under 600 series after all routes, 1,000 random paths, and 10,000 jobs with every end and odd stages."""
    for number in range(1000):
        async with client.get(f"/{number:x}/{new_job_id()}?q={number}") as response:
            assert response.status == 404
    for route in ROUTES:
        for method in ("GET", "HEAD", "POST", "DELETE", "BREW"):
            async with client.request(method, route.path.replace("{job_id}", "wk_0")) as response:
                await response.read()
    for number in range(10_000):
        server.service.counters.ended(ended_job(number))
    found = series(await scraped(client))
    assert len(found) == len(set(found)) < SERIES_LIMIT
    assert not [one for one in found if "wk_" in one or "talk" in one]


def ended_job(number: int) -> Job:
    """One of many jobs that ended: complete, canceled, or failed with one code after the other."""
    code = list(ErrorCode)[number % len(ErrorCode)]
    status = (JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELED)[number % 3]
    return Job(
        id=new_job_id(),
        options=Options(model="tiny"),
        inputs=(Input("0", f"talk {number}.wav", "talk", 3, "0" * 64, 60.0),),
        created_at=0.0,
        status=status,
        error=None if status is JobStatus.COMPLETE else ErrorInfo(code, "for a reason"),
        timings=(("transcribe", number / 10), (f"stage-{number}", 1.0)),
    )


async def test_labels_are_closed_lists(client: aiohttp.ClientSession, server: Running) -> None:
    """Every outcome and reason is there from the start, at 0: rate() cannot see the 1 with which a series begins."""
    text = await scraped(client)
    failures = {"input", "worker_crash", "gpu_oom", "gpu_error", "timeout", "disk_full", "delivery", "internal"}
    assert labels(text, "btworker_jobs_total", "reason") == {"", "canceled", *failures}
    assert labels(text, "btworker_worker_restarts_total", "reason") == set(RESTART_REASONS)
    assert labels(text, "btworker_log_messages_total", "level") == {"debug", "info", "warning", "error", "critical"}


async def test_readiness_is_that_of_the_probe(client: aiohttp.ClientSession, server: Running) -> None:
    """What /health/ready says, as a number; a scrape works while nothing else does."""
    server.pool.phase = Phase.WAITING
    text = await scraped(client)
    assert (value(text, "btworker_ready"), value(text, 'btworker_worker_up{gpu="cpu"}')) == (0, 0)
    server.service.begin_drain()
    assert value(await scraped(client), "btworker_draining") == 1


async def test_a_scrape_does_not_wait_for_the_disk(client: aiohttp.ClientSession, server: Running) -> None:
    """While uploads keep every thread that does file work, or a commit the job table, a scrape shows what was seen
    last; once neither has answered for a second, it says so, and then that all is well again."""
    assert value(await scraped(client), "btworker_ready") == 1
    gate = threading.Event()
    store, files = server.service._store._executor, server.service.data.executor
    stuck = [files.submit(gate.wait, 30) for _ in range(server.settings.file_threads)]
    stuck.append(store.submit(gate.wait, 30))
    try:
        text = await scraped(client)
        assert value(text, "btworker_disk_free_bytes") and value(text, "btworker_ready") == 1
        text = await eventually(lambda: when_not_ready(client))
        assert value(text, "btworker_disk_free_bytes") is None
        async with client.get("/health/ready") as response:
            reasons = (await response.json())["reasons"]
        assert reasons == ["the data disk does not answer", "the job table does not answer"]
    finally:
        gate.set()
    wait(stuck)

    async def is_ready() -> bool:
        return value(await scraped(client), "btworker_ready") == 1

    await eventually(is_ready)


async def when_not_ready(client: aiohttp.ClientSession) -> str:
    """A scrape that says so; empty where it says otherwise."""
    text = await scraped(client)
    return "" if value(text, "btworker_ready") else text


async def test_the_queue_is_seen(client: aiohttp.ClientSession, server: Running) -> None:
    """Waiting and running jobs, and since when the oldest one waits."""
    for _ in range(3):
        _, job = await upload(client, file(b"abc"), field("prompt", "hold"))
    await eventually(lambda: server.service.running() == 1)
    text = await scraped(client)
    assert value(text, 'btworker_jobs{state="running"}') == 1
    assert value(text, 'btworker_jobs{state="queued"}') == 2
    oldest = value(text, "btworker_queue_oldest_timestamp_seconds")
    assert oldest is not None
    assert 0 < oldest <= (await server.service.get(job["workerJobId"])).created_at


async def test_two_scrapes_see_the_same_lag(client: aiohttp.ClientSession, server: Running) -> None:
    """A second Prometheus does not take from the first what it should have seen."""
    server.metrics.loop_lag(7.5)
    for _ in range(2):
        assert value(await scraped(client), "btworker_event_loop_lag_seconds") == 7.5


async def test_log_lines_are_counted_by_level(client: aiohttp.ClientSession, server: Running) -> None:
    """structlog's lines as well, which pass the standard library on their way."""
    logger = structlog.wrap_logger(logging.getLogger("counted"), processors=[structlog.stdlib.render_to_log_kwargs])
    before = await scraped(client)
    logger.warning("odd")
    logger.error("bad")
    logging.getLogger("foreign").log(logging.ERROR + 5, "in between")
    after = await scraped(client)
    for level, count in (("warning", 1), ("error", 2)):
        name = f'btworker_log_messages_total{{level="{level}"}}'
        assert (value(after, name) or 0) - (value(before, name) or 0) == count


def counted(server: Running, outcome: str) -> float:
    """Uploads that ended like this."""
    text = server.metrics.scrape(Machine(ready=True))[0].decode()
    return value(text, f'btworker_uploads_total{{outcome="{outcome}"}}') or 0


async def test_an_upload_that_breaks_off_is_counted(client: aiohttp.ClientSession, server: Running) -> None:
    """aborted, not refused: nobody was there any more to be refused."""
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": "100000"}) + b"--")
        await eventually(lambda: server.context.budget.promised_bytes)
    await eventually(lambda: not server.context.budget.promised_bytes)
    await eventually(lambda: counted(server, "aborted"))
    assert value(await scraped(client), "btworker_uploads_in_progress") == 0


async def test_an_upload_that_the_disk_refuses_is_counted(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """failed: it was our disk, not the client."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DirectFile, "writelines", full)
    status, _ = await upload(client, file(b"abc" * 40_000))
    assert status == 507
    assert value(await scraped(client), 'btworker_uploads_total{outcome="failed"}') == 1


async def test_without_a_gpu_there_is_no_gpu_metric(client: aiohttp.ClientSession) -> None:
    """No series, and no error."""
    assert "btworker_gpu" not in await scraped(client)


async def test_gpus_are_read_from_the_driver(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their workers' labels; a value that a GPU does not have is left out; one that fell off the bus is down."""
    gpus = {"GPU-0": fake_nvml.Gpu(used=3, total=80), "MIG-1": fake_nvml.Gpu(whole=False)}
    fake_nvml.install(monkeypatch, gpus)
    devices = [
        Device("cpu"),
        Device("cuda", "GPU-0", "H200", 0),
        Device("cuda", "MIG-1"),
        Device("cuda", "GPU-9", "", 9),
    ]
    server.context.machine.gpu_watch = watch = GpuWatch([*devices, *devices])
    watch.start()
    await eventually(watch.readings)
    text = await scraped(client)
    async with client.get("/v1/ping") as response:
        pinged = (await response.json())["gpus"]
    watch.stop()
    assert [(gpu["label"], gpu["up"], gpu["utilization"]) for gpu in pinged] == [
        ("0", True, 0.5),
        ("MIG-1", True, None),
        ("9", False, None),
    ]
    assert (pinged[0]["memoryUsedBytes"], pinged[0]["memoryTotalBytes"], pinged[0]["temperatureC"]) == (3, 80, 40)
    assert [value(text, f'btworker_gpu_up{{gpu="{gpu}"}}') for gpu in ("0", "MIG-1", "9")] == [1, 1, 0]
    assert value(text, 'btworker_gpu_memory_used_bytes{gpu="0"}') == 3
    assert value(text, 'btworker_gpu_memory_total_bytes{gpu="0"}') == 80
    assert value(text, 'btworker_gpu_utilization_ratio{gpu="0"}') == 0.5
    assert value(text, 'btworker_gpu_temperature_celsius{gpu="0"}') == 40
    assert 'btworker_gpu_utilization_ratio{gpu="MIG-1"}' not in text
    assert 'btworker_gpu_memory_used_bytes{gpu="9"}' not in text
