"""`btworker watch`: only whole files, each once over restarts and kill -9, results beside, failures named once."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from btworker.cli.arrivals import SLOW_POLL_S, Arrivals, Bell, is_written
from btworker.cli.recordings import recordings
from tests.acceptance.conftest import Cli, Worker, script
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.process.server_of import TOKEN, plain_environment
from tests.slices import FULL, luck_of
from tests.waiting import until

KILLS = 50 if FULL else 4
STEPS = 5
"""Of each recording, that `steps` counts."""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("worker"), {"WORKER_MAX_FILE_MB": "1"}).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()


@pytest.fixture
def cli(worker: Worker, tmp_path: Path) -> Cli:
    for job in jobs(worker):
        worker.request("DELETE", f"/v1/jobs/{job}")
    return Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def jobs(worker: Worker) -> list[str]:
    """Ids of all jobs of the worker."""
    return [job["workerJobId"] for job in worker.request("GET", "/v1/jobs?limit=200")[1]["jobs"]]


@contextmanager
def watching(cli: Cli, inbox: Path, *words: str) -> "Iterator[subprocess.Popen[str]]":
    """The command, stopped as a service is."""
    process = cli.start("watch", inbox, *words)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        finally:  # one that does not end fails its own test, and no other
            process.kill()
            process.communicate()


def text_of(path: Path) -> str:
    """What a result says; nothing before it is there."""
    return str(json.loads(path.read_text())["text"]) if path.exists() else ""


def test_what_is_there_is_done_once(cli: Cli, worker: Worker, inbox: Path) -> None:
    """Beside each recording, also below; files that are none are left alone; a second run does nothing."""
    (inbox / "calls").mkdir()
    (inbox / "one.mp3").write_text("the first\n")
    (inbox / "calls" / "one.wav").write_text("the second\n")
    (inbox / "one.wav").write_text("the third\n")
    (inbox / "notes.txt").write_text("no recording\n")
    (inbox / ".hidden.mp3").write_text("being copied by rsync\n")
    found = cli("watch", "inbox", "--once", "--formats", "json")
    assert found.returncode == 0, found.stderr
    assert text_of(inbox / "one_transcript.json") == "the first"
    assert text_of(inbox / "calls" / "one_transcript.json") == "the second"
    assert text_of(inbox / "one.wav-results" / "one_transcript.json") == "the third"
    assert len(found.stdout.splitlines()) == len(jobs(worker)) == 3
    again = cli("watch", "inbox", "--once", "--formats", "json")
    assert (again.returncode, again.stdout, len(jobs(worker))) == (0, "", 3)


def test_a_file_is_taken_when_it_is_whole(cli: Cli, worker: Worker, inbox: Path) -> None:
    """One that somebody writes waits until it is closed, however long that is; one that is moved in does not."""
    with watching(cli, inbox), open(inbox / "slow.mp3", "w") as slow:
        slow.write("the first half ")
        slow.flush()
        os.utime(inbox / "slow.mp3", (1, 1))  # as old as can be
        (inbox.parent / "moved.mp3").write_text("moved in\n")
        (inbox.parent / "moved.mp3").rename(inbox / "moved.mp3")
        until(lambda: text_of(inbox / "moved_transcript.json") == "moved in", "the one that was moved in is done")
        assert len(jobs(worker)) == 1
        slow.write("and the second\n")
        slow.close()
        done = "the first half and the second"
        until(lambda: text_of(inbox / "slow_transcript.json") == done, "the one that was written is done")
    assert len(jobs(worker)) == 2


def steps(worker: Worker, inbox: Path) -> int:
    """What was done by now: jobs at the worker, results, and what is noted of each recording."""
    notes = [json.loads(note.read_text()) for note in inbox.glob(".btworker-watch/*.json")]
    noted = sum((note["upload"] is not None) + (note["job"] is not None) + note["done"] for note in notes)
    return len(jobs(worker)) + len(list(inbox.glob("*.json"))) + noted


def reached(worker: Worker, inbox: Path, goal: int) -> bool:
    """Whether so many steps were taken."""
    return steps(worker, inbox) >= goal


@pytest.mark.timeout(1800 if FULL else 120)
def test_kills_cost_nothing_and_double_nothing(cli: Cli, worker: Worker, inbox: Path) -> None:
    """kill -9 between any two steps, while more arrives: each recording is one job, and has its results, once the
    command has run to its end."""
    luck = luck_of("watch")
    for number in range(KILLS):
        (inbox / f"{number}.mp3").write_text(f"recording {number}\n")
        goal = min(steps(worker, inbox) + luck.randrange(STEPS), STEPS * (number + 1))
        process = cli.start("watch", inbox, "--formats", "json")
        until(partial(reached, worker, inbox, goal), "so much is done")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    found = cli("watch", inbox, "--once", "--formats", "json")
    assert found.returncode == 0, found.stderr
    assert len(jobs(worker)) == KILLS
    for number in range(KILLS):
        assert text_of(inbox / f"{number}_transcript.json") == f"recording {number}"
    assert list(inbox.rglob("*~")) == []


def test_a_failure_is_named_once(cli: Cli, worker: Worker, inbox: Path) -> None:
    """With the worker's sentence, whether it refuses the file or the job fails; a changed file is tried again."""
    (inbox / "large.mp3").write_bytes(b"\0" * 2**21)
    (inbox / "good.mp3").write_text("fine\n")
    first = cli("watch", inbox, "--once")
    assert first.returncode == 1
    assert "large.mp3: failed: a file may have at most 1 MB here" in first.stderr
    assert "good_transcript.json" in first.stdout
    second = cli("watch", inbox, "--once")
    assert (second.returncode, "large.mp3" in second.stderr, second.stdout) == (0, False, "")
    (inbox / "large.mp3").write_text("smaller now\n")
    third = cli("watch", inbox, "--once", "--prompt", script(["fail", "NO_AUDIO", "there is no sound in it"]))
    assert third.returncode == 1
    assert "large.mp3: failed: there is no sound in it" in third.stderr


def test_a_job_that_was_deleted_is_made_again(cli: Cli, worker: Worker, inbox: Path) -> None:
    """While nobody watched, somebody deleted it at the worker."""
    (inbox / "one.mp3").write_text("once more\n")
    with watching(cli, inbox, "--prompt", script(["sleep", 600])):
        until(lambda: jobs(worker), "the job is there")
        until(lambda: any('"wk_' in note.read_text() for note in inbox.glob(".btworker-watch/*.json")), "it is noted")
    (job,) = jobs(worker)
    worker.request("POST", f"/v1/jobs/{job}/cancel")
    until(lambda: worker.request("DELETE", f"/v1/jobs/{job}")[0] == 204, "it is deleted")
    found = cli("watch", inbox, "--once", "--delete")
    assert found.returncode == 0, found.stderr
    assert text_of(inbox / "one_transcript.json") == "once more"
    assert jobs(worker) == []


def test_it_ends_at_a_signal_whatever_arrives(cli: Cli, inbox: Path) -> None:
    """SIGTERM at the moment at which a file does: the loop of Python 3.11 could lose one of the two."""
    for number in range(4):
        with watching(cli, inbox) as process:
            assert process.stderr is not None
            process.stderr.readline()
            (inbox / "before.mp3").write_text(f"{number}\n")
            until((inbox / "before_transcript.json").exists, "it is at work")
            (inbox / f"{number}.mp3").write_text("speech\n")
        assert process.returncode == 0


def test_one_command_watches_a_folder(cli: Cli, worker: Worker, inbox: Path) -> None:
    """A second one would do everything twice."""
    with watching(cli, inbox) as process:
        assert process.stderr is not None
        assert "watching" in process.stderr.readline()
        found = cli("watch", inbox, "--once")
        assert found.returncode == 2
        assert "another btworker watches" in found.stderr
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["nowhere"], "is no folder"), (["inbox", "--known-speaker", "Ann=a.wav"], "watch takes stored voices alone")],
)
def test_what_cannot_be_watched_is_said(cli: Cli, inbox: Path, words: list[str], sentence: str) -> None:
    """Before anything is done."""
    found = cli("watch", *words)
    assert found.returncode == 2
    assert sentence in found.stderr


def test_an_open_file_is_being_written(tmp_path: Path) -> None:
    """As long as anybody has it open for writing, and not for reading."""
    path = tmp_path / "a.mp3"
    with open(path, "wb"):
        assert is_written(path)
    with open(path, "rb"):
        assert is_written(path) is False
    assert is_written(tmp_path / "none") is None


async def test_the_clock_rings_where_inotify_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why; the files are found all the same."""
    monkeypatch.setitem(__import__("sys").modules, "asyncinotify", None)
    bell = Bell(tmp_path)
    assert bell.trouble
    path = tmp_path / "a.mp3"
    path.write_text("speech")
    os.utime(path, (1, 1))
    bell.watch()
    await bell.wait(0.01, asyncio.get_running_loop().create_future())
    arrivals = Arrivals(tmp_path)
    assert list(arrivals.look()) == [path]
    bell.close()


async def rings(bell: Bell, within_s: float = 30) -> bool:
    """Whether it rings by itself, and not by the clock."""
    never = asyncio.get_running_loop().create_future()
    try:
        await asyncio.wait_for(bell.wait(SLOW_POLL_S, never), within_s)
    except asyncio.TimeoutError:
        return False
    return True


async def test_inotify_rings_below_the_folder(tmp_path: Path) -> None:
    """Also in a folder that came later, or has the name of another that was there; far before the clock."""
    bell = Bell(tmp_path)
    assert bell.trouble == ""
    bell.watch()
    (tmp_path / "later").mkdir()
    assert await rings(bell)
    for number in range(3):
        bell.watch()
        (tmp_path / "later" / "a.mp3").write_text("speech")
        assert await rings(bell), number
        (tmp_path / "later").rename(tmp_path.parent / f"{tmp_path.name}-{number}")
        (tmp_path / "later").mkdir()
        assert await rings(bell), number
    bell.close()


async def test_what_happens_at_once_rings_once(tmp_path: Path) -> None:
    """A look goes through all recordings: not one for each of thousands that arrive, and none for what another program
    does in a folder that was moved away, or in a hidden one."""
    bell = Bell(tmp_path)
    (tmp_path / "sub").mkdir()
    bell.watch()
    for number in range(500):
        (tmp_path / f"{number}.mp3").write_text("speech")
    assert await rings(bell)
    (tmp_path / "sub").rename(tmp_path.parent / f"{tmp_path.name}-away")
    (tmp_path / ".rsync-partial").mkdir()
    assert await rings(bell)
    bell.watch()
    await rings(bell, within_s=0.5)  # the kernel tells that it forgot the folder
    (tmp_path.parent / f"{tmp_path.name}-away" / "a.mp3").write_text("speech")
    (tmp_path / ".rsync-partial" / "a.mp3").write_text("speech")
    assert not await rings(bell, within_s=0.5)
    bell.close()


def test_what_is_hidden_waits(tmp_path: Path) -> None:
    """rsync's unfinished files have their last name in a hidden folder."""
    for name in ("whole.mp3", ".hidden.mp3", ".rsync-partial/half.mp3", "sub/.stversions/old.mp3", "sub/b.mp3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("speech")
    assert recordings(tmp_path) == [tmp_path / "sub" / "b.mp3", tmp_path / "whole.mp3"]


def test_links_are_left_alone(cli: Cli, worker: Worker, inbox: Path, tmp_path: Path) -> None:
    """To a file elsewhere or beside it, to a folder, to nothing; they are named. The folder itself may be one."""
    secret = tmp_path / "secret" / "minutes.mp3"
    secret.parent.mkdir()
    secret.write_text("nobody else's business\n")
    (inbox / "sub").mkdir()
    (inbox / "a.mp3").write_text("speech\n")
    (inbox / "b.mp3").symlink_to(secret)
    (inbox / "sub" / "c.mp3").symlink_to("../a.mp3")
    (inbox / "folder").symlink_to(secret.parent)
    (inbox / "gone.mp3").symlink_to("nowhere")
    for path in (secret, inbox / "a.mp3"):
        os.utime(path, (1, 1))
    (tmp_path / "linked").symlink_to(inbox)
    found = cli("watch", "linked", "--once")
    assert found.returncode == 0 and found.stdout.splitlines() == ["linked/a_transcript.json"]
    assert [line for line in found.stderr.splitlines() if "link" in line and "watching" not in line] == [
        "btworker: b.mp3 is a link, and left alone",
        "btworker: sub/c.mp3 is a link, and left alone",
    ]
    assert len(jobs(worker)) == 1


@dataclass
class HoldingProxy(CuttingProxy):
    """Lets nothing through before it may."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """A client has come."""
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.may.wait()
        await super()._relay(reader, writer)


async def test_a_recording_that_becomes_a_link_is_not_sent(
    cli: Cli, worker: Worker, inbox: Path, tmp_path: Path
) -> None:
    """While it waits for the upload before it: what the link leads to does not leave this machine."""
    secret = tmp_path / "secret.mp3"
    secret.write_text("nobody else's business\n" * 20_000)
    for path in (inbox / "a.mp3", inbox / "b.mp3"):
        path.write_text("speech\n")
        os.utime(path, (1, 1))
    async with HoldingProxy(worker.url, cut_s=600, largest_bytes=2**30).listening() as proxy:
        with cli.start("watch", inbox, "--once", WORKER_URL=proxy.url) as process:
            await proxy.asked.wait()
            (inbox / "b.mp3").unlink()
            (inbox / "b.mp3").symlink_to(secret)
            proxy.may.set()
            out, errors = await asyncio.to_thread(process.communicate, timeout=120)
        assert 0 < proxy.passed_bytes < secret.stat().st_size
    assert process.returncode == 0 and out.splitlines() == [str(inbox / "a_transcript.json")], errors
    assert len(jobs(worker)) == 1


def test_a_wrong_token_ends_it_at_once(cli: Cli, inbox: Path) -> None:
    """And not when the folder is looked at again."""
    (inbox / "a.mp3").write_text("speech")
    os.utime(inbox / "a.mp3", (1, 1))
    with cli.start("watch", inbox, WORKER_TOKEN="not-the-right-one") as process:
        _, errors = process.communicate(timeout=SLOW_POLL_S / 2)
    assert process.returncode == 3 and "does not know this token" in errors


def test_results_that_cannot_be_written_are_fetched_later(cli: Cli, worker: Worker, inbox: Path) -> None:
    """A full disk passes: the job is there, and the next start saves what it found."""
    (inbox / "sub").mkdir()
    (inbox / "sub" / "a.mp3").write_text("speech")
    os.utime(inbox / "sub" / "a.mp3", (1, 1))
    (cli.folder / "texts").mkdir()
    (cli.folder / "texts" / "sub").write_text("in the way")
    command = ("watch", inbox, "--once", "--output-dir", "texts")
    found = cli(*command)
    assert found.returncode == 1 and "cannot be written" in found.stderr
    (cli.folder / "texts" / "sub").unlink()
    assert cli(*command).returncode == 0
    assert (cli.folder / "texts" / "sub" / "a_transcript.json").exists() and len(jobs(worker)) == 1


def test_a_folder_that_goes_and_comes_back(cli: Cli, inbox: Path) -> None:
    """It is waited for, and said so; what arrives in the new one is taken."""
    with cli.start("watch", inbox) as process:
        assert process.stderr is not None and process.stderr.readline().startswith("btworker: watching ")
        inbox.rename(inbox.with_name("away"))
        assert "is not there any more: waiting for it" in process.stderr.readline()
        inbox.mkdir()
        (inbox / "a.mp3").write_text("speech")
        until((inbox / "a_transcript.json").exists)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, f"btworker: {inbox} is there again\n")
