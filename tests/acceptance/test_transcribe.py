"""`btworker transcribe` and `btworker jobs` against the real server, with the scripted engine."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, Cli, Worker, script
from tests.acceptance.terminal import terminal
from tests.process.server_of import TOKEN, plain_environment
from tests.waiting import until


def first_id(cli: Cli) -> str:
    """The newest job."""
    return str(json.loads(cli("jobs", "list", "--limit", "1", "--json").stdout)[0]["workerJobId"])


def test_a_recording_becomes_files(cli: Cli, recording: Path) -> None:
    """The results lie in the folder that was named, their paths are on stdout, and progress on stderr."""
    done = cli("transcribe", recording, "--output-dir", "results")
    assert done.returncode == 0, done.stderr
    paths = done.stdout.splitlines()
    assert paths == ["results/talk_transcript.json"]
    assert "hello from the other side" in (cli.folder / paths[0]).read_text()
    assert "talk.mp3: done" in done.stderr
    assert "\x1b" not in done.stderr + done.stdout


def test_who_waits_sees_why(tmp_path: Path, recording: Path) -> None:
    """The model that is on its way, and how far it is, instead of "next"; then what it cannot be loaded for."""
    worker = Worker(tmp_path, {"WORKER_MODEL": "slow", "WORKER_MODELS": "slow"}).start()
    cli = Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN))
    with cli.start("transcribe", recording) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("talk.mp3: queued, downloading the model slow (1.2 of 3.1 GB)" in line for line in lines)
        (tmp_path / "data" / "scratch" / "go").touch()
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert worker.stop() == 0
    worker.settings = {"WORKER_MODEL": "broken", "WORKER_MODELS": "broken"}
    worker.start()
    with cli.start("transcribe", recording) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("queued, cannot load: the model broken is not in the cache" in line for line in lines)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)
    assert worker.stop() == 0


def test_results_of_equal_names_do_not_overwrite_each_other(cli: Cli, tmp_path: Path) -> None:
    """a/talk.mp3 and b/talk.wav in one command: the second one's results get a folder of their own."""
    for folder, name in (("a", "talk.mp3"), ("b", "talk.wav")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(f"from {folder}\n")
    done = cli("transcribe", "a/talk.mp3", "b/talk.wav")
    assert done.stdout.splitlines() == ["talk_transcript.json", "talk-2/talk_transcript.json"]
    assert "from b" in (tmp_path / "talk-2" / "talk_transcript.json").read_text()


def test_a_failed_job_is_1_and_the_others_go_on(cli: Cli, recording: Path) -> None:
    """The reason is said, the exit code is 1."""
    done = cli("transcribe", recording, "--prompt", script(["fail", "NO_AUDIO", "there is no sound in it"]))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "talk.mp3: failed: there is no sound in it"
    assert done.stdout == ""


def test_one_bad_file_does_not_stop_the_others(cli: Cli, recording: Path, tmp_path: Path) -> None:
    """An empty file is refused; the next one is transcribed all the same."""
    (tmp_path / "empty.mp3").touch()
    done = cli("transcribe", "empty.mp3", recording)
    assert done.returncode == 3
    assert "empty.mp3: failed: " in done.stderr
    assert done.stdout.splitlines() == ["talk_transcript.json"]


def test_options_arrive(cli: Cli, recording: Path) -> None:
    """Every argument becomes an option of the job, as the server understood it."""
    words = "--language german --translate --temperature 0.4 --beam-size 3 --formats SRT,md --json"
    done = cli("transcribe", recording, *words.split(), "--option", "priority=9", "--option", "decode=fast")
    assert done.returncode == 0, done.stderr
    options = json.loads(done.stdout)[0]["options"]
    wanted = {"language": "de", "task": "translate", "temperature": 0.4, "beamSize": 3, "priority": 9, "decode": "fast"}
    assert {name: options[name] for name in wanted} == wanted
    assert options["outputs"] == ["srt", "md"]


def test_voices_of_known_speakers_go_along(cli: Cli, recording: Path) -> None:
    """As files; a name alone is that of a stored voice, and either all have one or none."""
    done = cli("transcribe", recording, "--known-speaker", f"Ann={recording}", "--json")
    assert done.returncode == 0, done.stderr
    (known,) = json.loads(done.stdout)[0]["options"]["knownSpeakers"]
    assert known == {"name": "Ann", "sha256": hashlib.sha256(recording.read_bytes()).hexdigest()}
    for words, code, why in (
        (("Ann",), 3, "no stored voice 'Ann'"),
        (("Ann", f"Ben={recording}"), 2, "either all with a file, or none"),
        ((f"Ann={recording}", f"Ann={recording}"), 2, "each name may be given once"),
        ((f"Ann={recording}", f"ANN={recording}"), 3, "no two may look the same"),
        (("Ann=nowhere.wav",), 2, "nowhere.wav does not exist"),
    ):
        done = cli("transcribe", recording, *(part for word in words for part in ("--known-speaker", word)))
        assert (done.returncode, why in done.stderr) == (code, True), done.stderr


def test_stored_voices_are_looked_after(cli: Cli, recording: Path) -> None:
    """Added, listed, named by a job, and removed by their name."""
    voice_id = cli("voices", "add", "Ann Lee", recording).stdout.strip()
    assert voice_id.startswith("vo_")
    assert cli("voices", "add", "ann lee", recording).returncode == 3
    assert f"{voice_id}  Ann Lee" in cli("voices", "list").stdout
    done = cli("transcribe", recording, "--known-speaker", "Ann Lee", "--json")
    assert [one["name"] for one in json.loads(done.stdout)[0]["options"]["knownSpeakers"]] == ["Ann Lee"]
    assert cli("voices", "rm", "Ann Lee").returncode == 0
    assert cli("voices", "rm", "Ann Lee").returncode == 3
    assert "no voices" in cli("voices", "list").stderr


def test_an_option_that_the_server_refuses_is_3(cli: Cli, recording: Path) -> None:
    """The server's own sentence is shown."""
    done = cli("transcribe", recording, "--option", "colour=red")
    assert done.returncode == 3
    assert "colour" in done.stderr


def test_a_file_above_the_limit_is_refused_before_it_is_sent(cli: Cli, tmp_path: Path) -> None:
    """Terabytes that are not there cannot have been read: the length alone was enough."""
    path = tmp_path / "huge.wav"
    with open(path, "wb") as file:
        file.truncate(2**42)
    began_at = time.monotonic()
    done = cli("transcribe", path)
    assert done.returncode == 3
    assert "64 MB" in done.stderr
    assert time.monotonic() - began_at < 20


@pytest.mark.parametrize(
    ("words", "settings", "code", "said"),
    [
        (("transcribe", "missing.mp3"), {}, 2, "missing.mp3 does not exist"),
        (("transcribe", "/dev/null"), {}, 2, "is no regular file"),
        (("transcribe", "talk.mp3", "--formats", "doc"), {}, 2, "'doc' is none of json, md"),
        (("transcribe", "talk.mp3", "--option", "x"), {}, 2, "'x' is not NAME=VALUE"),
        (("jobs", "list"), {"WORKER_URL": ""}, 2, "which worker?"),
        (("transcribe", "talk.mp3"), {"WORKER_TOKEN": ""}, 2, "wants a token"),
        (("transcribe", "talk.mp3"), {"WORKER_TOKEN": "wrong"}, 3, "does not know this token"),
        (
            ("transcribe", "talk.mp3"),
            {"WORKER_URL": "http://127.0.0.1:1"},
            3,
            "no worker answers at http://127.0.0.1:1",
        ),
        (("jobs", "list"), {"WORKER_URL": "http://127.0.0.1:1"}, 3, "connection refused"),
        (("jobs", "show", "wk_000000000000"), {}, 3, "there is no such job"),
        (("jobs", "rm", "wk_000000000000"), {}, 3, "there is no such job"),
        (("jobs", "list", "--limit", "0"), {}, 2, "no number from 1"),
        (("jobs",), {}, 2, "ACTION"),
        (("unknown",), {}, 2, "invalid choice"),
        (("jobs", "list", "--token-file", "nowhere"), {}, 2, "/nowhere cannot be read: no such file or directory"),
        (("jobs", "list"), {"WORKER_TOKN": "x"}, 64, "WORKER_TOKN is no setting; WORKER_TOKEN is"),
    ],
)
def test_mistakes_are_one_sentence(
    cli: Cli, recording: Path, words: tuple[str, ...], settings: dict[str, str], code: int, said: str
) -> None:
    """Whatever is wrong, stderr says it in a line at its end, and the exit code is the documented one."""
    done = cli(*words, **settings)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]


def test_the_token_may_come_from_a_file(cli: Cli, tmp_path: Path) -> None:
    """--token-file wins over the environment."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert cli("jobs", "list", "--token-file", "token", WORKER_TOKEN="wrong").returncode == 0


def test_a_job_is_looked_after(cli: Cli, recording: Path) -> None:
    """list, show, fetch and rm, on one job."""
    assert cli("transcribe", recording).returncode == 0
    job_id = first_id(cli)
    assert job_id in cli("jobs", "list", "--status", "complete").stdout
    shown = cli("jobs", "show", job_id).stdout
    assert "talk.mp3" in shown
    assert "talk_transcript.json" in shown
    fetched = cli("jobs", "fetch", job_id, "--output-dir", "again")
    assert fetched.stdout.splitlines() == ["again/talk_transcript.json"]
    assert cli("jobs", "rm", job_id).returncode == 0
    assert cli("jobs", "show", job_id).returncode == 3


def test_a_running_job_is_canceled(cli: Cli, recording: Path) -> None:
    """rm is refused while it runs, cancel ends it, and `transcribe` says so with exit code 1."""
    endless = script(["windows", 1], ["wait_file", str(cli.folder / "never")])
    with cli.start("transcribe", recording, "--prompt", endless) as waiting:
        until(lambda: "transcribing" in cli("jobs", "list", "--limit", "1").stdout, "the job runs")
        job_id = first_id(cli)
        assert cli("jobs", "rm", job_id).returncode == 3
        assert cli("jobs", "cancel", job_id).returncode == 0
        _, err = waiting.communicate(timeout=DEADLINE_S)
    assert waiting.returncode == 1
    assert "cancel" in err.splitlines()[-1]


def test_a_folder_is_all_that_is_named_like_a_recording_in_it(cli: Cli) -> None:
    """Below it as well, in order; names that stand twice get folders of their own; one without any is said."""
    folder = cli.folder / "interviews"
    (folder / "old").mkdir(parents=True)
    for name in ("b.opus", "a.WAV", "old/a.m4a", "notes.txt", ".hidden.mp3"):
        (folder / name).write_text("hello\n")
    ended = cli("transcribe", "interviews", Path("interviews/b.opus"), "--output-dir", "texts")
    assert ended.returncode == 0, ended.stderr
    found = [Path(line).relative_to("texts").as_posix() for line in ended.stdout.splitlines()]
    assert found == ["a_transcript.json", "b_transcript.json", "a-2/a_transcript.json"]
    (cli.folder / "empty").mkdir()
    none = cli("transcribe", "empty")
    assert none.returncode == 2
    assert "no recordings" in none.stderr


def test_live_text_comes_while_the_job_runs(cli: Cli, recording: Path) -> None:
    """A line for each segment on stdout, before the job has ended; then the paths."""
    go = cli.folder / "go"
    prompt = script(["windows", 3], ["wait_file", str(go)])
    with cli.start("transcribe", recording, "--live", "--prompt", prompt) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(3)]
        assert lines == ["[0:00] window 0\n", "[0:30] window 1\n", "[1:00] window 2\n"]
        assert running.poll() is None
        go.touch()
        out, err = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 0, err
    assert all((cli.folder / line).is_file() for line in out.splitlines())
    assert out.splitlines()


def test_ctrl_c_leaves_the_job_to_the_worker(cli: Cli, recording: Path) -> None:
    """130, and a line that tells how to get at the job; the job itself completes."""
    go = cli.folder / "go"
    with cli.start("transcribe", recording, "--prompt", script(["windows", 1], ["wait_file", str(go)])) as waiting:
        assert waiting.stderr is not None
        assert any("transcribing" in line for line in waiting.stderr), "the command never saw its job run"
        job_id = first_id(cli)
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=DEADLINE_S)
    go.touch()
    assert waiting.returncode == 130
    assert job_id in err
    assert "Traceback" not in err
    assert out == ""
    until(lambda: "complete" in cli("jobs", "show", job_id).stdout, "the job completes")


def test_delete_leaves_nothing_on_the_worker(cli: Cli, recording: Path) -> None:
    """--delete removes the job once its results are here."""
    done = cli("transcribe", recording, "--delete", "--json")
    job_id = json.loads(done.stdout)[0]["workerJobId"]
    assert (cli.folder / "talk_transcript.json").is_file()
    assert cli("jobs", "show", job_id).returncode == 3


def test_models_of_a_worker(cli: Cli, fake_worker: Worker) -> None:
    """With --server or WORKER_URL, the worker's own list, without the files of this machine, which --local shows."""
    listed = cli("models", "list", "--server", fake_worker.url).stdout
    assert "large-v3" in listed.splitlines()
    assert cli("models", "list").stdout == listed
    assert "downloaded when first used" in cli("models", "list", "--local").stdout


def test_a_pipe_that_closes_early_is_no_error(cli: Cli, recording: Path) -> None:
    """`btworker jobs list | head -0` ends quietly."""
    assert cli("transcribe", recording).returncode == 0
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "btworker", "jobs", "list", "--json"]
    done = subprocess.run(command, env=cli.environment, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


def test_the_wait_survives_a_server_that_is_killed(tmp_path: Path, recording: Path) -> None:
    """kill -9 of the server in the middle of the job, a new one on the same data: the command ends with the result."""
    worker = Worker(tmp_path).start()
    cli = Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN))
    steps = script(["windows", 2], ["on_attempt", 1, ["sleep", 60]])
    with cli.start("transcribe", recording, "--prompt", steps) as waiting:
        until(lambda: "transcribing" in cli("jobs", "list").stdout, "the job runs")
        worker.stop(signal.SIGKILL)
        worker.start()
        out, err = waiting.communicate(timeout=DEADLINE_S)
    assert (waiting.returncode, out.splitlines()) == (0, ["talk_transcript.json"]), err
    assert worker.stop() == 0


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_bars_on_a_terminal(cli: Cli, tmp_path: Path, columns: int) -> None:
    """On a terminal there are bars, no line is wider than it, and a hostile file name cannot move the cursor."""
    hostile = tmp_path / "a\x1b[2Jb.mp3"
    hostile.write_text("hello\n")
    with terminal(cli, columns, "transcribe", hostile) as running:
        assert running.wait() == 0, running.plain
    text = running.written
    assert running.widest <= columns
    assert "━" in text
    assert "done" in text
    assert "[2Jb" in text
    assert "\x1b[2J" not in text


def test_an_upload_goes_on_at_a_terminal_over_a_restart(tmp_path: Path) -> None:
    """kill -9 in the middle of it, a start a moment later: the bar says that nobody answers, and then goes on."""
    worker = Worker(tmp_path, {"WORKER_MAX_FILE_MB": "512"}).start()
    cache = str(tmp_path / "cache")
    cli = Cli(tmp_path, plain_environment(WORKER_URL=worker.url, WORKER_TOKEN=TOKEN, XDG_CACHE_HOME=cache))
    source, uploads = tmp_path / "long.wav", tmp_path / "data" / "uploads"
    source.write_bytes(os.urandom(2**20) * 300)
    with terminal(cli, 80, "transcribe", source) as running:
        until(lambda: any(path.stat().st_size > 2**23 for path in uploads.glob("*/data")), "a piece has arrived")
        worker.stop(signal.SIGKILL)
        running.until("no answer")
        worker.start()
        assert running.wait() == 0, running.plain
        assert "long_transcript.json" in running.plain
        assert running.widest <= 80
    assert worker.stop() == 0
