"""`btworker demo`: with the real model where speech matters, with the scripted engine for what goes wrong."""

import os
import signal
from pathlib import Path

import pytest

from btworker.cli import demo
from btworker.cli.local_server import LocalServer, ServerError
from tests.acceptance.conftest import Cli, leaves_no_process, processes_of
from tests.process.server_of import ROOT, plain_environment
from tests.waiting import until

DEMO_S = 280.0


@pytest.mark.speech
@pytest.mark.timeout(300)
def test_the_demo_is_right(lone_cli: Cli) -> None:
    """Exit code 0, the transcript with times, the figures, the files, the next steps; nothing left running."""
    with leaves_no_process(lone_cli.folder), lone_cli.start("demo") as process:
        out, err = process.communicate(timeout=DEMO_S)
    assert process.returncode == 0, out + err
    assert "[0:0" in out
    assert "Word error rate" in out
    assert "real time" in out
    assert "btworker serve" in out.splitlines()[-2]
    assert "sample.flac: uploaded" in err
    folder = lone_cli.folder / "demo-output"
    names = {"sample_transcript.json", "sample_transcript.md", "sample.txt", "sample.srt", "sample.vtt", "sample.tsv"}
    speakers = {"sample_diarization.json", "sample_speaker.md"}
    assert {path.name for path in folder.iterdir()} == names | speakers | {"server.log"}
    assert "SPEAKER_00: Hello happy teacher." in out
    assert "Speakers         2 (SPEAKER_00, SPEAKER_01)" in out


@pytest.mark.speech
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_stopped_leaves_nothing(lone_cli: Cli, number: signal.Signals, code: int) -> None:
    """Ctrl-C and kill take the server and its children along, and its data."""
    with leaves_no_process(lone_cli.folder), lone_cli.start("demo") as process:
        until(lambda: len(processes_of(lone_cli.folder)) > 1, "the server has a child", within_s=DEMO_S)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert {path.name for path in (lone_cli.folder / "demo-output").iterdir()} <= {"server.log"}


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A demo whose server has the scripted engine, which knows one format only; gives its sample's path."""
    ours = demo.server_environment
    engine = {"WORKER_ENGINE": "tests.fake_engine:load", "PYTHONPATH": str(ROOT)}
    monkeypatch.setattr(demo, "server_environment", lambda token, data: {**ours(token, data), **engine})
    monkeypatch.setattr(demo, "CHECKPOINT", tmp_path / "model.pt")
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "sample.flac")
    monkeypatch.setattr(demo, "SPOKEN", tmp_path / "sample.txt")
    for name in ("model.pt", "sample.flac", "sample.txt"):
        (tmp_path / name).write_text("one two three\n")
    return tmp_path / "sample.flac"


def test_missing_results_fail_the_demo(lone_cli: Cli, scripted: Path) -> None:
    """A job that is complete without its files is no success; the server is stopped, its log shown."""
    with leaves_no_process(lone_cli.folder):
        done = lone_cli("demo", "--output-dir", lone_cli.folder / "results")
    assert done.returncode == 1
    assert "has no md" in done.stderr
    assert "job_complete" in done.stderr


def test_missing_words_fail_the_demo(lone_cli: Cli, scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transcript that is not what was said is no success."""
    monkeypatch.setattr(demo, "FORMATS", ("json",))
    (lone_cli.folder / "sample.txt").write_text("something else was said here")
    with leaves_no_process(lone_cli.folder):
        done = lone_cli("demo", "--output-dir", lone_cli.folder / "results")
    assert done.returncode == 1
    assert "word error rate is 100.0%" in done.stderr


def test_a_refused_sample_fails_the_demo(lone_cli: Cli, scripted: Path) -> None:
    """What the server refuses is quoted."""
    scripted.write_bytes(b"")
    with leaves_no_process(lone_cli.folder):
        done = lone_cli("demo", "--output-dir", lone_cli.folder / "results")
    assert done.returncode == 1
    assert "empty" in done.stderr


def test_a_demo_without_its_files_says_so(lone_cli: Cli, scripted: Path) -> None:
    """An incomplete checkout is named, before anything is started."""
    scripted.unlink()
    done = lone_cli("demo")
    assert done.returncode == 1
    assert "sample.flac" in done.stderr
    assert not (lone_cli.folder / "demo-output").exists()


def test_a_folder_that_cannot_be_made_is_said(lone_cli: Cli, scripted: Path) -> None:
    """A file in the way of the output folder is one sentence."""
    (lone_cli.folder / "file").touch()
    done = lone_cli("demo", "--output-dir", lone_cli.folder / "file" / "results")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


async def test_a_server_that_cannot_start_is_reported(tmp_path: Path) -> None:
    """Its exit code is in the error, its reason in the log's tail."""
    server = LocalServer(plain_environment(WORKER_PORT="none"), tmp_path)
    with pytest.raises(ServerError, match="exit code 64"):
        async with server:
            pytest.fail("it cannot have started")
    assert any("WORKER_PORT" in line for line in server.tail())


def test_the_demo_server_ignores_the_operators_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A WORKER_MAX_FILE_MB or HF_TOKEN of the user's own must not change, or leak into, the demo."""
    for name in ("WORKER_MAX_FILE_MB", "WORKER_HOST", "HF_TOKEN"):
        monkeypatch.setenv(name, "1")
    environment = demo.server_environment("token", tmp_path)
    assert not {"WORKER_MAX_FILE_MB", "WORKER_HOST", "HF_TOKEN"} & set(environment)
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.speech
def test_the_embedded_files_are_there() -> None:
    """The checkpoint is at most 20 MB, so that the repository stays small."""
    assert demo.CHECKPOINT.stat().st_size <= 20 * 2**20
    assert demo.SAMPLE.stat().st_size > 0
