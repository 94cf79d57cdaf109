"""Health, ping, preflight, metrics: right in every state of the workers, without side effects."""

import time

import aiohttp
import pytest

import btworker
from btworker.errors import ErrorCode, ErrorInfo
from btworker.messages import EngineInfo
from btworker.pool import Phase
from btworker.specs import Device
from tests.http.server import Running, field, file, upload

PING = set(
    "status version workerVersion identity gpu gpuName cuda models diarization diarizationError "
    "maxFileMB activeJobs maxConcurrentJobs waitingJobs gpus diskFreeBytes diskSizeBytes diskReserveBytes".split()
)


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, dict]:
    async with client.get(path) as response:
        return response.status, await response.json()


async def test_health(client: aiohttp.ClientSession) -> None:
    assert await get(client, "/health") == (
        200,
        {"status": "ok", "service": "bulk-transcribe-worker", "model": "tiny", "maxFileMB": 4},
    )
    assert (await get(client, "/health/live"))[0] == 200


async def test_a_good_worker_is_ready(client: aiohttp.ClientSession) -> None:
    assert await get(client, "/health/ready") == (200, {"status": "ready", "loading": False})


@pytest.mark.parametrize("phase", [Phase.UNLOADED, Phase.RELOADING])
async def test_a_worker_whose_child_comes_with_the_next_job_is_ready(
    client: aiohttp.ClientSession, server: Running, phase: Phase
) -> None:
    """And says so; ping warns of nothing, and tells what the last child found."""
    server.pool.phase = phase
    assert await get(client, "/health/ready") == (200, {"status": "ready", "loading": True})
    _, ping = await get(client, "/v1/ping")
    assert "warnings" not in ping and ping["diarizationError"] == "HF_TOKEN is not set"
    assert (await get(client, "/v1/preflight"))[1]["status"] == "ok"


async def test_ready_gives_every_reason(client: aiohttp.ClientSession, server: Running) -> None:
    """No child ready, draining; live stays 200."""
    server.pool.phase = Phase.WAITING
    server.pool.problem = ErrorInfo(ErrorCode.MODEL_UNAVAILABLE, "the model tiny is not there")
    status, body = await get(client, "/health/ready")
    assert (status, body["error"]["code"]) == (503, "NOT_READY")
    assert body["reasons"] == ["the model tiny is not there"]
    server.service.begin_drain()
    status, body = await get(client, "/health/ready")
    assert (status, body["error"]["code"]) == (503, "DRAINING")
    assert len(body["reasons"]) == 2
    assert (await get(client, "/health/live"))[0] == 200
    assert (await get(client, "/v1/ping"))[0] == 200


@pytest.mark.parametrize("overrides", [{"disk_reserve_mb": 2**30}])
async def test_a_full_disk_is_not_ready(client: aiohttp.ClientSession) -> None:
    status, body = await get(client, "/health/ready")
    assert status == 503
    assert "WORKER_DISK_RESERVE_MB" in body["reasons"][0]


async def test_a_broken_store_is_not_ready(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    async def broken() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(server.service, "check_store", broken)
    status, body = await get(client, "/health/ready")
    assert (status, body["reasons"]) == (503, ["the job table cannot be written"])


async def test_ping_has_every_field(client: aiohttp.ClientSession) -> None:
    status, body = await get(client, "/v1/ping")
    assert status == 200
    assert set(body) == PING
    assert body["status"] == "ok"
    assert set(body["identity"]) == set("gitCommit buildTime declaredImageDigest imageDigestSource".split())
    assert body["identity"]["imageDigestSource"] == "none"
    assert (body["gpu"], body["gpuName"], body["cuda"]) == (False, None, None)
    assert (body["diarization"], body["diarizationError"]) == (False, "HF_TOKEN is not set")
    assert (body["activeJobs"], body["maxConcurrentJobs"], body["maxFileMB"]) == (0, 1, 4)
    assert "tiny" in body["models"]
    assert (body["waitingJobs"], body["gpus"]) == (0, [])
    assert body["diskSizeBytes"] > body["diskFreeBytes"] > 0 and body["diskReserveBytes"] == 0


async def test_ping_says_the_release_where_no_commit_is_known(client: aiohttp.ClientSession) -> None:
    """`version` is then the release, which stands in `workerVersion` in any case."""
    _, body = await get(client, "/v1/ping")
    assert (body["version"], body["workerVersion"]) == (btworker.__version__, btworker.__version__)


@pytest.mark.parametrize("overrides", [{"worker_version": "7", "image_digest": "sha256:abc", "build_commit": "c0ffee"}])
async def test_ping_tells_what_was_declared(client: aiohttp.ClientSession) -> None:
    _, body = await get(client, "/v1/ping")
    assert body["identity"] == {
        "gitCommit": "c0ffee",
        "buildTime": "unknown",
        "declaredImageDigest": "sha256:abc",
        "imageDigestSource": "env",
    }
    assert (body["version"], body["workerVersion"]) == ("c0ffee", btworker.__version__)
    assert body["warnings"] == ["WORKER_VERSION is set: it is deprecated and has no effect"]


async def test_ping_follows_the_workers(client: aiohttp.ClientSession, server: Running) -> None:
    """Loading: false, with a warning. With a GPU: its name and CUDA's version. Broken: ok, with a warning."""
    server.pool.phase, server.pool.info = Phase.STARTING, None
    _, body = await get(client, "/v1/ping")
    assert body["diarization"] is False
    assert "diarizationError" not in body, "to be loading is no error"
    assert body["warnings"]
    server.pool.phase = Phase.IDLE
    server.pool.info = EngineInfo(versions=(("cuda", "12.1"),), cuda=True, gpu_name="H200", diarization=True)
    _, body = await get(client, "/v1/ping")
    assert (body["gpu"], body["gpuName"], body["cuda"], body["diarization"]) == (True, "H200", "12.1", True)
    assert set(body) == PING - {"diarizationError"}
    server.pool.phase, server.pool.problem = Phase.WAITING, ErrorInfo(ErrorCode.GPU_ERROR, "the GPU fell off")
    status, body = await get(client, "/v1/ping")
    assert (status, body["status"], body["warnings"]) == (200, "ok", ["the GPU fell off"])


@pytest.mark.parametrize("overrides", [{"device": "cpu"}])  # or the GPUs of this machine would be found meanwhile
async def test_ping_warns_of_idle_gpus(client: aiohttp.ClientSession, server: Running) -> None:
    server.context.machine.gpus = (Device("cuda", "GPU-0", "H200", 0), Device("cuda", "GPU-1", "H200", 1))
    _, body = await get(client, "/v1/ping")
    assert body["warnings"] == ["idle GPUs: 0 (H200), 1 (H200); raise WORKER_MAX_CONCURRENT_JOBS, or set it to auto"]


async def test_ping_counts_jobs_and_says_full_while_draining(client: aiohttp.ClientSession, server: Running) -> None:
    for _ in range(3):
        await upload(client, file(b"abc"), field("prompt", "hold"))
    assert (await get(client, "/v1/ping"))[1]["activeJobs"] == 3
    server.service.begin_drain()
    assert (await get(client, "/v1/ping"))[1]["activeJobs"] == 1


async def test_ping_takes_under_ten_milliseconds(client: aiohttp.ClientSession) -> None:
    """The best of fifty: the machine may be busy, ping is not."""
    times = []
    for _ in range(50):
        began = time.perf_counter()
        await get(client, "/v1/ping")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.01


async def test_preflight(client: aiohttp.ClientSession, server: Running) -> None:
    """ok when the critical checks are; error with a sentence while nobody has reported, or the model is not there."""
    status, body = await get(client, "/v1/preflight")
    assert (status, body["status"]) == (200, "ok")
    assert set(body) == {"status", "checks", "versions", "errors"}
    assert body["checks"]["whisper"] is True
    assert body["versions"]["torch"] == "2.2.2"
    good = server.pool.info
    server.pool.info, server.pool.phase = None, Phase.STARTING
    _, body = await get(client, "/v1/preflight")
    assert body["status"] == "error"
    assert set(body["checks"].values()) == {False}
    assert body["errors"]["worker"]
    assert good is not None
    server.pool.info, server.pool.phase = good, Phase.WAITING
    server.pool.problem = ErrorInfo(ErrorCode.MODEL_UNAVAILABLE, "the model tiny is not there")
    _, body = await get(client, "/v1/preflight")
    assert (body["status"], body["errors"]["worker"]) == ("error", "the model tiny is not there")
