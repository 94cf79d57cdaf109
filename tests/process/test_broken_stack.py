"""A speech stack that is broken costs the jobs, never the service: ping is 200 with the reason, ready says why not."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.process.server_of import Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "btworker" / "demo" / "whisper-tiny-words.pt"
SAMPLE = DEMO.with_name("sample.flac")
REAL = {
    "WORKER_ENGINE": "btworker.engine.engine:load",
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": f"demo={DEMO}",
    "WORKER_OFFLINE": "true",
}


def preflight(server: Server) -> Any:
    """What the child found, once it has looked."""
    return until(lambda: (said := server.request("GET", "/v1/preflight")[1]) and said["versions"] and said)


def with_packages(folder: Path, **sources: str) -> dict[str, str]:
    """An environment in which these modules come first."""
    packages = folder / "packages"
    packages.mkdir()
    for name, source in sources.items():
        (packages / f"{name}.py").write_text(source)
    return {**REAL, "PYTHONPATH": f"{packages}:{ROOT}"}


@pytest.mark.parametrize("name", ["numpy", "torch", "whisper"])
def test_a_critical_package_that_is_broken(tmp_path: Path, name: str) -> None:
    """Ping 200 with a warning that names it, ready 503, preflight error; jobs are accepted, and wait."""
    words = "libbroken.so.7: undefined symbol"
    environment = with_packages(tmp_path, **{name: f"raise ImportError({words!r})"})
    with serving(tmp_path, **environment) as server:
        said = preflight(server)
        assert said["status"] == "error" and said["checks"][name] is False and words in said["errors"][name]
        ping = until(lambda: (now := server.request("GET", "/v1/ping")) and words in str(now) and now)
        assert ping[0] == 200 and words in str(ping[1]["warnings"])
        status, answer = server.request("GET", "/health/ready")
        assert status == 503 and words in str(answer["reasons"])
        assert server.job(server.submit())["status"] == "queued"


def test_an_ffmpeg_that_does_not_run(tmp_path: Path) -> None:
    """The worker is not ready and says why; a job that came meanwhile is done, with its first attempt, once ffmpeg is
    mended, and no restart is needed."""
    folder = tmp_path / "bin"
    folder.mkdir()
    broken = folder / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    with serving(tmp_path, **REAL, PATH=f"{folder}:{os.environ['PATH']}") as server:
        reason = f"{broken} does not run"
        job = server.upload("talk.flac", SAMPLE.read_bytes())
        status, answer = until(lambda: (now := server.request("GET", "/health/ready")) and reason in str(now) and now)
        assert status == 503 and "install ffmpeg" in str(answer["reasons"]) and answer["loading"] is False
        assert server.job(job)["status"] == "queued" and reason in str(server.job(job)["warnings"])
        said = preflight(server)
        assert said["status"] == "error" and said["checks"]["ffmpeg"] is False and reason in said["errors"]["ffmpeg"]
        broken.unlink()
        ended = server.ended(job)
        assert ended["status"] == "complete" and ended["attempt"] == 1
        assert server.request("GET", "/health/ready")[0] == 200


def test_torchaudio_of_another_set(tmp_path: Path) -> None:
    """Diarization is what it costs: ping names both versions, and jobs without it run."""
    environment = with_packages(tmp_path)
    info = tmp_path / "packages" / "torchaudio-9.9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 9.9.9\n")
    with serving(tmp_path, **environment) as server:
        until(lambda: server.request("GET", "/health/ready")[0] == 200)
        ping = server.request("GET", "/v1/ping")[1]
        assert ping["status"] == "ok" and ping["diarization"] is False
        assert "torchaudio 9.9.9" in ping["diarizationError"]
        assert "torchaudio" in server.request("GET", "/v1/preflight")[1]["errors"]


def test_a_model_that_is_missing(tmp_path: Path) -> None:
    """Offline, and not in the cache: which file, and what to do."""
    environment = {
        **REAL,
        "WORKER_MODEL": "tiny",
        "WORKER_MODELS": "tiny",
        "WORKER_MODEL_CACHE": str(tmp_path / "none"),
    }
    with serving(tmp_path, **environment) as server:
        assert preflight(server)["status"] == "error"
        status, answer = server.request("GET", "/health/ready")
        assert status == 503 and "tiny.pt" in str(answer) and "WORKER_OFFLINE" in str(answer)
        assert server.request("GET", "/v1/ping")[0] == 200
