"""On an NVIDIA GPU: the worker uses it, says so, and transcribes as on the CPU. `make test-gpu` runs these."""

import json
import urllib.request
from pathlib import Path

import pytest

from btworker.cli.wer import word_errors
from tests.gpu.real_worker import REAL, ROOT
from tests.process.server_of import serving
from tests.waiting import until

pytestmark = [pytest.mark.gpu, pytest.mark.speech, pytest.mark.timeout(300)]

HELD_OUT = ROOT / "tests" / "data" / "heldout"


def test_a_recording_is_transcribed_on_the_gpu(tmp_path: Path) -> None:
    """The job names the GPU, ping and preflight know it, and the words are right."""
    with serving(tmp_path, **REAL) as server:
        job = server.ended(server.upload("talk.opus", (HELD_OUT / "20.opus").read_bytes()))
        assert job["status"] == "complete", job["error"]
        assert "NVIDIA" in job["gpu"]
        ping = server.request("GET", "/v1/ping")[1]
        assert ping["gpu"] is True and ping["gpuName"] == job["gpu"]
        assert server.request("GET", "/v1/preflight")[1]["checks"]["torch_cuda"] is True
        result = json.loads(server.output(job["workerJobId"], "talk_transcript.json"))
        reference = json.loads((HELD_OUT / "20.json").read_text())
        assert word_errors(reference=reference["text"], hypothesis=result["text"]).rate < 0.1


def test_a_gpu_that_is_hidden_is_not_ready(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES="" with WORKER_DEVICE=cuda: not ready, with the reason; never the CPU in silence."""
    with serving(tmp_path, **REAL, CUDA_VISIBLE_DEVICES="-1") as server:
        until(lambda: server.request("GET", "/v1/preflight")[1]["versions"])
        assert server.request("GET", "/health/ready")[0] == 503


def test_the_driver_is_asked_for_metrics(tmp_path: Path) -> None:
    """NVML's values reach /metrics under the label of the GPU's worker, and are those of a GPU with a model on it."""
    with serving(tmp_path, **REAL) as server:
        server.ended(server.upload("talk.opus", (HELD_OUT / "20.opus").read_bytes()))

        def gauges() -> dict[str, float]:
            with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
            pairs = (line.rsplit(" ", 1) for line in lines if line.startswith(("btworker_gpu_", "btworker_worker_up")))
            return {name: float(value) for name, value in pairs}

        found = until(lambda: (now := gauges()) and len(now) > 5 and now)
        (gpu,) = {name.split('"')[1] for name in found}
        assert found[f'btworker_gpu_up{{gpu="{gpu}"}}'] == 1
        used, total = (found[f'btworker_gpu_memory_{name}_bytes{{gpu="{gpu}"}}'] for name in ("used", "total"))
        assert 100 << 20 < used < total
        assert 0 <= found[f'btworker_gpu_utilization_ratio{{gpu="{gpu}"}}'] <= 1
        assert 10 < found[f'btworker_gpu_temperature_celsius{{gpu="{gpu}"}}'] < 100
