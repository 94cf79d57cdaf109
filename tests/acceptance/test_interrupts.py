"""Ctrl-C at `btworker transcribe`: before and while there is a job, with somebody at the terminal and without."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, Cli, Worker, script
from tests.acceptance.terminal import Terminal, terminal
from tests.process.server_of import TOKEN, plain_environment
from tests.waiting import until

QUESTION = "c: cancel it"
LARGE = 200 * 2**20


def states(cli: Cli) -> list[str]:
    """Of all jobs, the newest first."""
    return [job["status"] for job in json.loads(cli("jobs", "list", "--json").stdout or "[]")]


@pytest.fixture
def waits(recording: Path) -> tuple[str | Path, ...]:
    """Words of a command whose job waits for the file `go`."""
    steps = script(["windows", 1], ["wait_file", str(recording.parent / "go")])
    return ("transcribe", recording, "--prompt", steps)


def asked(running: Terminal) -> None:
    """Up to the question."""
    running.until("transcribing")
    running.interrupt()
    running.until(QUESTION)


def test_the_job_can_be_canceled(cli: Cli, waits: tuple[str | Path, ...]) -> None:
    """c, Enter: the job is canceled, and the command ends with 130."""
    with terminal(cli, 80, *waits) as running:
        asked(running)
        running.type("c\n")
        assert running.wait() == 130, running.plain
        assert "is canceled" in running.plain
        assert "goes on with" not in running.plain
    until(lambda: states(cli)[0] == "canceled", "the job is canceled")


@pytest.mark.parametrize("answer", ["l\n", "\x04", "Ctrl-C"])
def test_the_job_can_be_left_running(cli: Cli, waits: tuple[str | Path, ...], answer: str) -> None:
    """l, the end of the input and a second Ctrl-C: the worker goes on, and how to get at the job is said."""
    with terminal(cli, 80, *waits) as running:
        asked(running)
        if answer == "Ctrl-C":
            running.interrupt()
        else:
            running.type(answer)
        assert running.wait() == 130, running.plain
        assert "the worker goes on with wk_" in running.plain
    assert states(cli)[0] == "running"
    (cli.folder / "go").touch()
    until(lambda: states(cli)[0] == "complete", "the job goes on")


def test_the_wait_can_go_on(cli: Cli, waits: tuple[str | Path, ...]) -> None:
    """Enter, after a word that is no answer: the bars come back, and the results, too."""
    with terminal(cli, 80, *waits) as running:
        asked(running)
        running.type("what\n")
        running.until(QUESTION, times=2)
        running.type("\n")
        (cli.folder / "go").touch()
        assert running.wait() == 0
        assert "talk_transcript.json" in running.plain
        assert running.widest <= 80


def test_a_job_that_ends_meanwhile_needs_no_answer(cli: Cli, waits: tuple[str | Path, ...]) -> None:
    """The question stands, the job completes: its results are saved, and the exit code is 0."""
    with terminal(cli, 80, *waits) as running:
        asked(running)
        (cli.folder / "go").touch()
        assert running.wait() == 0
    assert (cli.folder / "talk_transcript.json").is_file()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """One to be stopped."""
    worker = Worker(tmp_path, {"WORKER_MAX_FILE_MB": "512"}).start()
    yield worker
    assert worker.stop() == 0


def test_an_upload_that_was_broken_off_goes_on(worker: Worker, tmp_path: Path) -> None:
    """Ctrl-C in the middle of it says how much has arrived; the same command sends the rest, and nothing twice."""
    source = tmp_path / "long.wav"
    source.write_bytes(os.urandom(LARGE))
    caches = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    cli = Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN, **caches))
    with cli.start("transcribe", source) as sending:
        uploads = tmp_path / "data" / "uploads"
        until(lambda: any(path.stat().st_size > 2**23 for path in uploads.glob("*/data")), "a piece has arrived")
        worker.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        sending.send_signal(signal.SIGINT)
        _, err = sending.communicate(timeout=DEADLINE_S)
        worker.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
    assert sending.returncode == 130
    assert "of 200 MB are at the worker; the same command goes on with it" in err.splitlines()[-1]
    assert len(list((tmp_path / "cache" / "btworker" / "uploads").iterdir())) == 1
    done = cli("transcribe", source)
    assert (done.returncode, done.stdout) == (0, "long_transcript.json\n"), done.stderr
    assert not list((tmp_path / "cache" / "btworker" / "uploads").iterdir())
    assert worker.log.read_text().count('"POST"') == 1, worker.log.read_text()
