"""The same promises through the whole server: what a client gets for recordings as they come."""

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.demo_worker import DEMO_WORKER
from tests.media.recordings import SAMPLE
from tests.process.server_of import Server, serving

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    **DEMO_WORKER,
    "WORKER_CPU_THREADS": "1",
    "WORKER_BATCH_SIZE": "4",
}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One child with the demo model."""
    with serving(tmp_path_factory.mktemp("media"), **SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def recording(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five minutes in a live Matroska, which does not say how long it is."""
    path = tmp_path_factory.mktemp("long") / "live.mkv"
    source = ["-stream_loop", "-1", "-i", str(SAMPLE), "-t", "300"]
    command = [str(ffmpeg), "-nostdin", "-v", "error", *source, "-c:a", "aac", "-live", "1", str(path)]
    subprocess.run(command, check=True)
    return path


def made(ffmpeg: Path, path: Path, *arguments: object) -> Path:
    """A file that ffmpeg makes."""
    subprocess.run([str(ffmpeg), "-nostdin", "-v", "error", *map(str, arguments), str(path)], check=True)
    return path


def segments_of(worker: Server, job: Any) -> list[tuple[float, float, str]]:
    """What the transcript says, and when."""
    assert job["status"] == "complete", job["error"]
    stem = Path(job["inputs"][0]["filename"]).stem
    result = json.loads(worker.output(job["workerJobId"], f"{stem}_transcript.json"))
    return [(one["start"], one["end"], one["text"]) for one in result["segments"]]


class Killer:
    """Kills ffmpegs below the server once a megabyte is decoded, at most `times`; by a thread."""

    def __init__(self, worker: Server, number: signal.Signals, *, times: int) -> None:
        self._worker = worker
        self._number = number
        self._times = times
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.killed: set[int] = set()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inside the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _work(self) -> None:
        data = self._worker.log.parent / "data"
        while not self._over.wait(0.002) and len(self.killed) < self._times:
            found = (Path(at, name) for at, _, names in os.walk(data) for name in names)  # folders may go meanwhile
            if not any(path.suffix == ".s16" and size_of(path) > 2**20 for path in found):
                continue
            for pid in self._worker.children():
                if pid not in self.killed and "ffmpeg" in program_of(pid):
                    os.kill(pid, self._number)
                    self.killed.add(pid)


def size_of(path: Path) -> int:
    """Bytes; 0 of a file that is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def program_of(pid: int) -> str:
    """The program that a process runs."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


@pytest.fixture(scope="module")
def undisturbed(worker: Server, recording: Path) -> list[tuple[float, float, str]]:
    """The whole transcript of the recording."""
    return segments_of(worker, worker.ended(worker.upload("live.mkv", recording.read_bytes(), language="en")))


@pytest.mark.sliced("jobs whose ffmpeg is killed", 2)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU], ids=lambda number: number.name)
def test_a_job_whose_ffmpeg_was_killed_has_the_whole_transcript(
    number: signal.Signals, worker: Server, recording: Path, undisturbed: list[tuple[float, float, str]]
) -> None:
    """R30: with the same segments, and without a warning."""
    killer = Killer(worker, number, times=1)
    with killer.at_work():
        job = worker.ended(worker.upload("live.mkv", recording.read_bytes(), language="en"))
    assert len(killer.killed) == 1
    assert segments_of(worker, job) == undisturbed
    assert job["warnings"] == []


@pytest.mark.sliced("jobs whose ffmpeg is killed", 2)
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, "OUT_OF_MEMORY"), (signal.SIGSEGV, "PROCESSING_ERROR")],
    ids=["SIGKILL", "SIGSEGV"],
)
def test_a_job_whose_ffmpeg_is_killed_each_time_fails(
    number: signal.Signals, code: str, worker: Server, recording: Path
) -> None:
    """R30: with the worker's fault in a sentence; nothing of its sound stays, and the worker goes on."""
    killer = Killer(worker, number, times=99)
    with killer.at_work():
        job = worker.ended(worker.upload("live.mkv", recording.read_bytes(), language="en"))
    assert len(killer.killed) == 3
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert job["error"]["message"].startswith("ffmpeg was ")
    assert not list((worker.log.parent / "data").rglob("*.s16"))
    assert worker.ended(worker.upload("sample.flac", SAMPLE.read_bytes()))["status"] == "complete"


STAMP = re.compile(r"(?:(\d\d):)?(\d\d):(\d\d)[,.](\d{3})")


def times_in(worker: Server, job: Any, kind: str) -> list[float]:
    """Every time in an output, in its order, in seconds."""
    (name,) = [one["filename"] for one in job["outputs"] if one["filename"].endswith(kind)]
    text = worker.output(job["workerJobId"], name)
    if kind in ("srt", "vtt"):
        return [int(h or 0) * 3600 + int(m) * 60 + int(s) + int(ms) / 1000 for h, m, s, ms in STAMP.findall(text)]
    if kind == "tsv":
        return [int(one) / 1000 for line in text.splitlines()[1:] for one in line.split("\t")[:2]]
    if kind == "rttm":
        return [float(line.split()[3]) for line in text.splitlines()]
    segments = json.loads(text) if kind == "_diarization.json" else json.loads(text)["segments"]
    words = [word for segment in segments for word in segment.get("words", ())]
    return [one[end] for one in [*segments, *words] for end in ("start", "end")]


def test_every_output_has_the_times_of_the_film(worker: Server, ffmpeg: Path, tmp_path: Path) -> None:
    """R31: where the sound begins four seconds after the picture, all times are four seconds later, speakers' too."""
    talk = made(ffmpeg, tmp_path / "talk.wav", "-i", SAMPLE, "-t", "20")
    pictures = ("-f", "lavfi", "-i", "testsrc=duration=24:size=64x64:rate=10")
    codecs = ("-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "flac")
    film = made(ffmpeg, tmp_path / "late.mkv", *pictures, "-itsoffset", "4", "-i", talk, *codecs)
    options = {"language": "en", "outputs": "json,srt,vtt,tsv,rttm", "diarizationEnabled": "true"}
    jobs = [worker.ended(worker.upload(path.name, path.read_bytes(), **options)) for path in (talk, film)]
    assert [job["status"] for job in jobs] == ["complete", "complete"]
    assert jobs[1]["warnings"] == jobs[0]["warnings"]
    for kind in ("_transcript.json", "srt", "vtt", "tsv", "rttm", "_diarization.json"):
        plain, late = (times_in(worker, job, kind) for job in jobs)
        if kind in ("rttm", "_diarization.json"):  # other windows of the segmentation: a turn more or less at the end
            assert abs(len(plain) - len(late)) <= 2, kind
            plain, late = plain[:5], late[:5]
        assert len(plain) == len(late) > 1, kind
        assert late == pytest.approx([time + 4 for time in plain], abs=0.25), kind


def test_what_was_transcribed_is_played_where_it_was_said(worker: Server, ffmpeg: Path, tmp_path: Path) -> None:
    """A word's own time finds it in the sound that players get; its sound begins there, and is silent before."""
    film = made(
        ffmpeg, tmp_path / "late.mkv", "-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=15", "-itsoffset", "5",
        "-i", SAMPLE, "-t", "12", "-c:v", "mpeg4", "-c:a", "aac",
    )  # fmt: skip
    job = worker.ended(worker.upload("late.mkv", film.read_bytes()))
    start, _, _ = segments_of(worker, job)[0]
    (item,) = job["inputs"]
    assert (item["audioUrl"], item["peaksUrl"]) == tuple(
        f"/v1/jobs/{job['workerJobId']}/inputs/0/{kind}" for kind in ("audio", "peaks")
    )
    status, ticket = worker.request("POST", item["audioUrl"].replace("audio", "tickets"), b"")
    assert status == 201
    played = subprocess.run(
        [ffmpeg, "-v", "error", "-i", worker.url + ticket["audioUrl"], "-f", "s16le", "-ac", "1", "-ar", "16000", "-"],
        check=True, capture_output=True,
    )  # fmt: skip
    sound = np.abs(np.frombuffer(played.stdout, np.int16).astype(np.int32))
    onset_s = int(np.argmax(sound > 1000)) / 16_000
    assert onset_s > 5 and abs(onset_s - start) < 0.5
    assert not sound[: 4 * 16_000].max() > 50
    assert ticket["audioUrl"].partition("ticket=")[2] not in worker.log.read_text()


def test_a_job_is_well_where_nothing_can_be_played(ffmpeg: Path, tmp_path: Path) -> None:
    """An ffmpeg that decodes and does not encode costs a warning, and leaves no half of a file."""
    script = tmp_path / "ffmpeg"
    script.write_text(f'#!/bin/sh\ncase "$*" in *aac_coder*) exit 1;; *) exec "{ffmpeg}" "$@";; esac\n')
    script.chmod(0o755)
    with serving(tmp_path, **SETTINGS, PATH=f"{tmp_path}:{os.environ['PATH']}") as server:
        job = server.ended(
            server.upload("talk.wav", made(ffmpeg, tmp_path / "talk.wav", "-i", SAMPLE, "-t", "5").read_bytes())
        )
        assert segments_of(server, job)
        assert job["warnings"] == ["the recording cannot be played back here: ffmpeg did not encode it"]
        assert job["inputs"][0]["audioUrl"] is None
        assert not list((tmp_path / "data" / "jobs" / job["workerJobId"]).glob("renditions/*"))
