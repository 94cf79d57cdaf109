"""The real command line against the real server: subprocesses, sockets, signals.

`fake_worker` runs the scripted engine (tests/fake_engine.py) for what does not depend on speech.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from unittest import mock

import pytest

from btworker.cli.main import main
from tests.process.server_of import TOKEN, Server, plain_environment
from tests.waiting import until

DEADLINE_S = 60.0


def processes_of(folder: Path) -> list[int]:
    """Processes whose environment names a data folder below this one: the server and its children."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"WORKER_DATA_DIR={folder}/".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone, or not ours
            continue
    return found


@contextmanager
def leaves_no_process(folder: Path) -> Iterator[None]:
    """Whatever was started with data in this folder has ended soon after the block."""
    yield
    until(lambda: not processes_of(folder), "the server and its children are gone", within_s=10)


@dataclass
class Worker(Server):
    """A worker as it is installed: its own models and log format."""

    defaults: ClassVar[dict[str, str]] = {"WORKER_DRAIN_SECONDS": "1"}


@dataclass(frozen=True)
class Cli:
    """`python -m btworker …` as a user runs it."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str | Path, **settings: str) -> "subprocess.Popen[str]":
        """Start a command in the test's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "btworker", *map(str, words)],
            env={**self.environment, **settings},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *words: str | Path, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end, in this process: a start costs a second, and here are many."""
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            environment = mock.patch.dict(os.environ, {**self.environment, **settings}, clear=True)
            with environment, redirect_stdout(out), redirect_stderr(err):
                code = exit_code_of([str(word) for word in words])
        finally:
            os.chdir(before)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def exit_code_of(words: list[str]) -> int:
    """What the command would end with."""
    try:
        return main(words)
    except SystemExit as end:  # argparse
        return int(end.code or 0)


@pytest.fixture(scope="module")
def fake_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker for a module's tests."""
    settings = {"WORKER_MAX_FILE_MB": "64", "WORKER_INTERIM_SECONDS": "1"}
    worker = Worker(tmp_path_factory.mktemp("worker"), settings).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()


@pytest.fixture
def lone_cli(tmp_path: Path) -> Cli:
    """The command line with no worker set."""
    return Cli(tmp_path, plain_environment())


@pytest.fixture
def alone(tmp_path: Path) -> Cli:
    """A command line that knows no worker and has no cache; its temporary folders are looked at."""
    (tmp_path / "tmp").mkdir()
    return Cli(tmp_path, plain_environment(TMPDIR=str(tmp_path / "tmp"), XDG_CACHE_HOME=str(tmp_path / "cache")))


@pytest.fixture
def scripted(alone: Cli) -> Cli:
    """The same with the scripted engine."""
    (alone.folder / "fake.pt").touch()
    engine = {"WORKER_ENGINE": "tests.fake_engine:load", "WORKER_DEVICE": "cpu"}
    models = {
        "WORKER_MODELS": f"fake={alone.folder / 'fake.pt'},broken={alone.folder / 'fake.pt'}",
        "WORKER_MODEL": "fake",
    }
    return Cli(alone.folder, {**alone.environment, **engine, **models})


@pytest.fixture
def cli(fake_worker: Worker, tmp_path: Path) -> Cli:
    """The command line, told of the module's worker by the environment."""
    return Cli(tmp_path, plain_environment(WORKER_URL=fake_worker.url, WORKER_TOKEN=TOKEN))


def script(*steps: object) -> str:
    """A prompt that tells the scripted engine what to do."""
    return json.dumps({"steps": steps})


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """What the scripted engine takes for speech."""
    path = tmp_path / "talk.mp3"
    path.write_text("hello from the other side\n")
    return path
