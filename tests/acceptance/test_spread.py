"""A long recording over all processes that have nothing to do: the same transcript, whatever befalls them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btworker.ffmpeg import find_ffmpeg
from tests.acceptance.places import HELD_OUT, SETTINGS
from tests.process.server_of import Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(900), pytest.mark.sliced("spread", 1)]

TWO = {**SETTINGS, "WORKER_MAX_CONCURRENT_JOBS": "2", "WORKER_PROCESSES_PER_GPU": "2", "WORKER_SPREAD_MINUTES": "1"}
SHORT = "12.opus"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two children, the other one of which helps with files from a minute on."""
    with serving(tmp_path_factory.mktemp("spread"), **TWO) as server:
        yield server


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A quarter of an hour of speech: the recordings of the tests one after the other."""
    folder = tmp_path_factory.mktemp("long")
    pieces = sorted(HELD_OUT.glob("*.opus"))
    (folder / "list").write_text("".join(f"file '{path.resolve()}'\n" for path in pieces))
    ffmpeg = find_ffmpeg()
    command = [ffmpeg, "-v", "error", "-f", "concat", "-safe", "0", "-i", folder / "list", "-c", "copy"]
    subprocess.run([str(part) for part in [*command, folder / "long.opus"]], check=True)
    return (folder / "long.opus").read_bytes()


@pytest.fixture(scope="module")
def call(long: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same as the first channel of two; in the second, one recording and then silence."""
    folder = tmp_path_factory.mktemp("call")
    (folder / "long.opus").write_bytes(long)
    merged = "[1]apad[short];[0][short]amerge=inputs=2[both]"
    command = [find_ffmpeg(), "-v", "error", "-i", folder / "long.opus", "-i", HELD_OUT / SHORT]
    command += ["-filter_complex", merged, "-map", "[both]", "-ar", "16000", folder / "call.flac"]
    subprocess.run([str(part) for part in command], check=True)
    return (folder / "call.flac").read_bytes()


@pytest.fixture(scope="module")
def alone(long: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What comes out without help."""
    with serving(tmp_path_factory.mktemp("alone"), **{**TWO, "WORKER_SPREAD_MINUTES": "0"}) as server:
        return transcript(server, upload(server, long))


def upload(worker: Server, content: bytes, **options: str) -> str:
    """The job's id."""
    return worker.upload("long.opus", content, decode="fast", **options)


def transcript(worker: Server, job_id: str) -> Any:
    """The segments, but for probabilities, which other windows in the batch move by a rounding."""
    job = worker.ended(job_id)
    assert job["status"] == "complete", job
    result = json.loads(worker.output(job_id, "long_transcript.json"))
    words = [[(word["word"], word["start"], word["end"]) for word in one["words"]] for one in result["segments"]]
    segments = [(one["id"], one.get("channel"), one["start"], one["end"], one["text"]) for one in result["segments"]]
    return segments, words


def lines(worker: Server, event: str, job_id: str) -> list[dict[str, Any]]:
    """Of the log, about the job."""
    known = [json.loads(line) for line in worker.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in known if line.get("event") == event and line.get("workerJobId") == job_id]


def helper_of(worker: Server, job_id: str) -> int:
    """The process that helps with the job, once it has said something."""
    until(lambda: list(shares_of(worker, job_id).glob("[0-9]*.json")))
    return int(lines(worker, "help_started", job_id)[0]["childPid"])


def shares_of(worker: Server, job_id: str) -> Path:
    """Where the processes leave each other what was said."""
    return worker.log.parent / "data" / "jobs" / job_id / "shares" / "0"


def test_a_helper_changes_nothing_but_the_time(worker: Server, long: bytes, alone: Any) -> None:
    """A good part of the windows is decoded by the other child; nothing of it is left behind."""
    job_id = upload(worker, long)
    assert transcript(worker, job_id) == alone
    finished = until(lambda: lines(worker, "help_finished", job_id))
    assert finished[0]["windows"] >= 16, "it was hardly a help"
    assert not shares_of(worker, job_id).exists()


def test_a_helper_that_dies_is_done_without(worker: Server, long: bytes, alone: Any) -> None:
    """What it had begun is decoded by the owner, and it is not sent there again."""
    job_id = upload(worker, long)
    os.kill(helper_of(worker, job_id), signal.SIGKILL)
    assert transcript(worker, job_id) == alone
    assert worker.job(job_id)["attempt"] == 1
    assert len(lines(worker, "help_started", job_id)) == 1


def test_a_helpers_own_job_comes_first(worker: Server, long: bytes, alone: Any) -> None:
    """A job that is uploaded meanwhile is done by the helper, before the long one is."""
    job_id = upload(worker, long)
    helper = helper_of(worker, job_id)
    short = worker.upload(SHORT, (HELD_OUT / SHORT).read_bytes(), decode="fast")
    assert worker.ended(short)["status"] == "complete"
    assert worker.job(job_id)["status"] == "running"
    assert lines(worker, "transcribe_started", short)[0]["childPid"] == helper
    assert transcript(worker, job_id) == alone


def test_an_owner_that_dies_loses_nothing(worker: Server, long: bytes, alone: Any) -> None:
    """The second attempt is alone in its process, and gets no help."""
    job_id = upload(worker, long)
    helper = helper_of(worker, job_id)
    owner = lines(worker, "transcribe_started", job_id)[0]["childPid"]
    assert owner != helper
    os.kill(owner, signal.SIGKILL)
    assert transcript(worker, job_id) == alone
    assert worker.job(job_id)["attempt"] == 2


def test_a_channel_by_itself_is_spread(worker: Server, call: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a recording of its own would be; the channels are merged as without help, and nothing is left behind."""
    with serving(tmp_path_factory.mktemp("call"), **{**TWO, "WORKER_SPREAD_MINUTES": "0"}) as server:
        expected = transcript(server, upload(server, call, channels="separate"))
    assert {channel for _, channel, *_ in expected[0]} == {1, 2}
    job_id = upload(worker, call, channels="separate")
    assert transcript(worker, job_id) == expected
    finished = until(lambda: lines(worker, "help_finished", job_id))
    assert sum(line["windows"] for line in finished) >= 8, "it was hardly a help"
    assert not shares_of(worker, job_id).parent.exists()
