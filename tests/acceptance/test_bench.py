"""`btworker bench` against a worker, and on this machine."""

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.commands import leaves_nothing
from tests.acceptance.conftest import DEADLINE_S, Cli
from tests.acceptance.terminal import terminal
from tests.waiting import until


def jobs(cli: Cli) -> list[dict[str, object]]:
    """All that the worker knows."""
    return list(json.loads(cli("jobs", "list", "--json").stdout))


def test_a_worker_is_measured(cli: Cli, recording: Path) -> None:
    """As many jobs as asked for, each figure from them, and none of them left on the worker."""
    before = len(jobs(cli))
    done = cli("bench", recording, "--jobs", "3", "--concurrency", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["jobs"], found["concurrency"], found["failed"], found["audioSeconds"]) == (3, 2, [], 90.0)
    assert len(found["uploadBytesPerSecond"]) == len(found["queueSeconds"]) == 3
    assert found["timesRealTime"] == pytest.approx(90 / found["wallSeconds"])
    assert found["healthLiveMs"]["looks"] > 0
    assert (found["device"], found["versions"]["fake"]) == ("the CPU", "1")
    assert len(jobs(cli)) == before


def test_the_sample_is_repeated_where_nothing_is_named(cli: Cli) -> None:
    """Up to the length that was asked for: 16 kHz, 2 bytes."""
    done = cli("bench", "--minutes", "0.5", "--jobs", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == pytest.approx(30 * 32_000, rel=0.01)


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_fits_the_terminal(cli: Cli, recording: Path, columns: int) -> None:
    """Bars, then a table in which nothing is cut off."""
    with terminal(cli, columns, "bench", recording, "--jobs", "3") as running:
        assert running.wait() == 0, running.plain
        assert running.widest <= columns
        for name in ("worker", "model", "speed", "stages", "upload", "/health/live"):
            assert name in running.plain


def test_without_a_worker_this_machine_is_measured(scripted: Cli, recording: Path) -> None:
    """By a worker of its own, of which nothing stays."""
    with leaves_nothing(scripted):
        done = scripted("bench", recording, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert "fake on the CPU" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.sliced("whole jobs", 1)
@pytest.mark.speech
@pytest.mark.timeout(300)
def test_the_first_text_is_there_before_the_end(alone: Cli) -> None:
    """With the embedded model: the first window is told while the second one is decoded."""
    with leaves_nothing(alone), alone.start("bench", "--minutes", "1", "--jobs", "1", "--json") as running:
        out, err = running.communicate(timeout=280)
    assert running.returncode == 0, err
    found = json.loads(out)
    assert found["model"] == "demo"
    assert 0 < found["firstTextSeconds"][0] < found["wallSeconds"]
    assert found["stageShares"]["transcribe"] > 0.5
    assert found["versions"]["torch"]


def test_what_is_stopped_leaves_no_job(cli: Cli, recording: Path) -> None:
    """Ctrl-C in the middle: its jobs are canceled and deleted."""
    recording.write_text("hello\n" * 3_000_000)
    before = len(jobs(cli))
    with cli.start("bench", recording, "--jobs", "40", "--concurrency", "4") as running:
        until(lambda: len(jobs(cli)) > before, "the first job is there")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert len(jobs(cli)) == before, err + str([(j["workerJobId"], j["status"]) for j in jobs(cli)])


def test_failed_jobs_are_1_and_counted(cli: Cli, tmp_path: Path) -> None:
    """The reason is in the table; one that is refused counts as well."""
    (tmp_path / "empty.mp3").touch()
    done = cli("bench", "empty.mp3", "--jobs", "1")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "empty" in done.stdout
    nothing = cli("bench", "nowhere.mp3")
    assert (nothing.returncode, nothing.stderr) == (2, f"btworker: {tmp_path / 'nowhere.mp3'} does not exist\n")
