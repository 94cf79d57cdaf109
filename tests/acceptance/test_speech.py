"""The whole way with the real engine and the embedded model: a recording goes in over HTTP, a transcript comes out."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from btworker.cli.wer import word_errors
from btworker.ffmpeg import find_ffmpeg
from tests.acceptance.places import HELD_OUT, MODEL
from tests.conftest import has_gpu
from tests.process.server_of import TOKEN, Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

LONG = HELD_OUT / "22.opus"
REAL = {
    "WORKER_ENGINE": "btworker.engine.engine:load",
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": f"demo={MODEL}",
    "WORKER_OFFLINE": "true",
    "WORKER_CPU_THREADS": "1",
    "WORKER_BATCH_SIZE": "1",  # windows end one after the other: there is a middle in which jobs can be hit
}
FORMATS = {"json", "md", "srt", "vtt", "txt", "tsv"}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker for the tests that do not hurt it."""
    folder = tmp_path_factory.mktemp("speech")
    with serving(folder, **REAL) as server:
        yield server


def data_files(server: Server) -> list[str]:
    """Every file under the data folder's jobs and scratch."""
    data = server.log.parent / "data"
    return sorted(str(path.relative_to(data)) for part in ("jobs", "scratch") for path in (data / part).rglob("*"))


def test_a_recording_becomes_a_transcript_in_every_format(worker: Server) -> None:
    """Every file is there under its name, has the size and hash that the job states, and says what was said."""
    job = worker.ended(worker.upload("a talk.opus", LONG.read_bytes(), outputs=",".join(FORMATS)))
    assert job["status"] == "complete", job["error"]
    assert {output["type"] for output in job["outputs"]} >= FORMATS - {"md"}
    assert {output["filename"].rsplit(".", 1)[1] for output in job["outputs"]} == FORMATS
    result = json.loads(worker.output(job["workerJobId"], "a%20talk_transcript.json"))
    reference = json.loads((HELD_OUT / "22.json").read_text())
    assert word_errors(reference=reference["text"], hypothesis=result["text"]).rate < 0.1
    assert result["language"] == "en" and result["segments"][0]["words"]
    assert result["provenance"]["model"] == "demo" and len(result["provenance"]["modelSha256"]) == 64
    assert job["inputs"][0]["durationSeconds"] == pytest.approx(reference["segments"][-1]["end"], abs=3)
    assert "-->" in worker.output(job["workerJobId"], "a%20talk.srt")
    assert job["progress"]["percent"] == 100 and job["timings"]
    assert not [name for name in data_files(worker) if name.startswith("scratch/")]


def silent_video(folder: Path) -> bytes:
    """Pictures and no sound."""
    return made(folder, "v.mp4", "-f", "lavfi", "-i", "color=black:s=64x64:d=1")


def truncated_m4a(folder: Path) -> bytes:
    """The index is at the end, and the end is missing."""
    whole = made(folder, "t.m4a", "-i", LONG, "-t", "20")
    return whole[: len(whole) // 2]


def made(folder: Path, name: str, *arguments: object) -> bytes:
    """What ffmpeg makes of it."""
    target = folder / name
    subprocess.run([str(find_ffmpeg()), "-nostdin", "-v", "error", *map(str, arguments), str(target)], check=True)
    return target.read_bytes()


def test_a_range_of_each_channel_becomes_one_transcript(worker: Server, tmp_path: Path) -> None:
    """Two voices over HTTP: segments, subtitles and live text say whose they are, on the clock of the recording."""
    first, second = HELD_OUT / "16.opus", HELD_OUT / "13.opus"
    graph = "[0:a][1:a]amerge=inputs=2[out]"
    call = made(tmp_path, "call.flac", "-i", first, "-i", second, "-filter_complex", graph, "-map", "[out]")
    job = worker.ended(
        worker.upload("call.flac", call, outputs="json,srt", multichannel="true", ranges="0:02-0:12,14-")
    )
    assert job["status"] == "complete", job["error"]
    result = json.loads(worker.output(job["workerJobId"], "call_transcript.json"))
    starts = [segment["start"] for segment in result["segments"]]
    assert starts == sorted(starts) and starts[0] >= 2.0
    assert {segment["channel"] for segment in result["segments"]} == {1, 2}
    assert not [one for one in result["segments"] if 12.0 < one["start"] < 14.0]
    assert [one["start"] for one in result["ranges"]] == [2.0, 14.0]
    assert "Channel 2: " in worker.output(job["workerJobId"], "call.srt")
    request = Request(f"{worker.url}/v1/jobs/{job['workerJobId']}/events", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request, timeout=30) as events:
        assert b'"channel": 2' in events.read()
    late = worker.ended(worker.upload("call.flac", call, start="1:00:00"))
    assert (late["status"], late["error"]["code"]) == ("failed", "BAD_OPTION")
    assert "begins behind its end" in late["error"]["message"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("notes.mp3", b"this is no music, it is text\n" * 50, "CORRUPT_AUDIO"),
        ("noise.wav", bytes(range(256)) * 64, "CORRUPT_AUDIO"),
        ("video.mp4", silent_video, "NO_AUDIO"),
        ("cut.m4a", truncated_m4a, "CORRUPT_AUDIO"),
        ("playlist.mp3", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "CORRUPT_AUDIO"),
    ],
    ids=["text", "garbage", "no sound", "cut off", "playlist"],
)
def test_bad_input_fails_with_its_code_and_leaves_no_file(
    worker: Server, tmp_path: Path, name: str, content: Any, code: str
) -> None:
    """The code of the API, a sentence, no traceback, nothing left; and the worker goes on."""
    body = content if isinstance(content, bytes) else content(tmp_path)
    job_id = worker.upload(name, body)
    job = worker.ended(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    message = job["error"]["message"]
    assert len(message) > 20 and " /" not in message and str(tmp_path) not in message and "jobs/" not in message
    until(lambda: not [left for left in data_files(worker) if job_id in left and left != f"jobs/{job_id}"])
    assert worker.request("DELETE", f"/v1/jobs/{job_id}")[0] == 204
    until(lambda: not [left for left in data_files(worker) if job_id in left])


def text_of(server: Server, job: Any) -> list[tuple[str, float, float]]:
    """The words with their times."""
    result = json.loads(server.output(job["workerJobId"], "long_transcript.json"))
    return [(word["word"], word["start"], word["end"]) for seg in result["segments"] for word in seg.get("words", ())]


def engine_pid(server: Server) -> int:
    """The child that holds the model."""
    return next(pid for pid in server.children() if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def windows(server: Server, job_id: str) -> int:
    """How many windows are finished."""
    return int(server.job(job_id)["progress"]["chunkIndex"])


@pytest.mark.sliced("whole jobs", 1)
def test_kill_of_the_child_and_of_the_server_in_the_middle(tmp_path: Path) -> None:
    """kill -9 of the child, then of the whole server: the transcript equals that of an undisturbed run."""
    content = LONG.read_bytes()
    with serving(tmp_path, **REAL) as server:
        plain = server.ended(server.upload("long.opus", content))
        expected = text_of(server, plain)
        job_id = server.upload("long.opus", content)
        until(lambda: windows(server, job_id) >= 1)
        os.kill(engine_pid(server), signal.SIGKILL)
        until(lambda: server.job(job_id)["attempt"] == 2 and windows(server, job_id) >= 2)
        server.process.kill()
        server.process.wait()
    with serving(tmp_path, **REAL) as server:
        job = server.ended(job_id)
        assert (job["status"], job["attempt"]) == ("complete", 3)
        assert text_of(server, job) == expected
        assert expected


def test_cancel_between_windows(worker: Server) -> None:
    """A running job stops, says canceled, and the next one is done (by a new child, where a window took too long)."""
    job_id = worker.upload("long.opus", LONG.read_bytes())
    until(lambda: windows(worker, job_id) >= 1)
    assert worker.request("POST", f"/v1/jobs/{job_id}/cancel")[1]["status"] == "cancel_requested"
    job = worker.ended(job_id)
    assert (job["status"], job["error"]["code"]) == ("canceled", "CANCELED")
    following = worker.ended(worker.upload("short.opus", (HELD_OUT / "05.opus").read_bytes()))
    assert following["status"] == "complete"


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Ping is 200 with a warning, ready 503 with the reason, preflight says error; the sentence says what to do."""
    settings = {**REAL, "WORKER_MODELS": f"demo={tmp_path}/none.pt"}
    with serving(tmp_path, **settings) as server:
        ping = until(
            lambda: (now := server.request("GET", "/v1/ping")[1]) and "none.pt" in str(now["warnings"]) and now
        )
        assert ping["status"] == "ok"
        status, ready = server.request("GET", "/health/ready")
        assert status == 503 and "none.pt" in json.dumps(ready)
        preflight = server.request("GET", "/v1/preflight")[1]
        assert preflight["status"] == "error" and preflight["versions"]["torch"].startswith("2.")


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_not_ready(tmp_path: Path) -> None:
    """WORKER_DEVICE=cuda never falls to the CPU in silence."""
    with serving(tmp_path, **{**REAL, "WORKER_DEVICE": "cuda"}) as server:
        until(lambda: server.request("GET", "/v1/preflight")[1]["versions"])
        status, ready = server.request("GET", "/health/ready")
        assert status == 503 and "GPU" in json.dumps(ready)
        assert server.request("GET", "/v1/ping")[0] == 200
