"""`btworker transcribe` where no worker is named: this machine does it, and nothing of it stays."""

import json
import signal
from pathlib import Path

import pytest
import torch
from whisper.model import ModelDimensions

from btworker.cli.embedded import CHECKPOINT, SAMPLE, SPOKEN
from btworker.cli.wer import word_errors
from btworker.engine.asr.checkpoint_file import read_checkpoint
from tests.acceptance.commands import leaves_nothing
from tests.acceptance.conftest import DEADLINE_S, Cli, processes_of, script
from tests.acceptance.terminal import terminal
from tests.hub_server import hub_server
from tests.speech.checkpoint_forms import SHAPES, hugging_face
from tests.waiting import until


@pytest.mark.speech
@pytest.mark.timeout(300)
def test_a_recording_is_transcribed_with_nothing_set(alone: Cli) -> None:
    """By the embedded model, which says what it is; live text, speakers, every format that was asked for."""
    with (
        leaves_nothing(alone),
        alone.start(
            "transcribe", SAMPLE, "--live", "--diarize", "--formats", "json,srt", "--output-dir", "texts"
        ) as running,
    ):
        out, err = running.communicate(timeout=280)
    assert running.returncode == 0, err
    assert "embedded demo model, which knows fewer than two hundred words" in err
    assert "WORKER_MODEL" in err
    assert "[0:00] Hello" in out.splitlines()[0]
    made = json.loads((alone.folder / "texts" / "sample_transcript.json").read_text())
    assert word_errors(reference=SPOKEN.read_text(), hypothesis=made["text"]).rate < 0.1
    assert {segment["speaker"] for segment in made["segments"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert "texts/sample.srt" in out.splitlines()


@pytest.mark.full
@pytest.mark.speech
@pytest.mark.timeout(300)
def test_a_model_of_the_hub_is_fetched_and_transcribes(alone: Cli, tmp_path: Path) -> None:
    """The embedded model's weights in Hugging Face's form, from a hub: the words are the same, and no hub is needed
    any more."""
    raw = read_checkpoint(CHECKPOINT)
    dims = ModelDimensions(**raw["dims"])
    folder = hugging_face(tmp_path / "hf", SHAPES["base"], raw["model_state_dict"], dtype=torch.float16, dims=dims)
    settings = {"WORKER_MODELS": "tuned=hf:someone/whisper-tuned", "WORKER_MODEL": "tuned"}
    settings |= {"WORKER_MODEL_CACHE": str(tmp_path / "cache"), "WORKER_CPU_THREADS": "1"}
    with hub_server({path.name: path.read_bytes() for path in folder.iterdir()}) as hub:
        assert alone("models", "fetch", HF_ENDPOINT=hub.address, **settings).returncode == 0
    done = alone("transcribe", SAMPLE, "--formats", "json", WORKER_OFFLINE="true", **settings)
    assert done.returncode == 0, done.stderr
    made = json.loads((alone.folder / "sample_transcript.json").read_text())
    assert word_errors(reference=SPOKEN.read_text(), hypothesis=made["text"]).rate < 0.1


def test_progress_results_and_json_are_those_of_a_server(scripted: Cli, recording: Path) -> None:
    """Two files, one of which fails: the same lines, files and exit code as with a server."""
    other = recording.with_name("other.mp3")
    other.write_text("from the other file\n")
    with leaves_nothing(scripted):
        done = scripted("transcribe", recording, other, "--json")
    assert done.returncode == 0, done.stderr
    assert [job["status"] for job in json.loads(done.stdout)] == ["complete", "complete"]
    assert "talk.mp3: done" in done.stderr
    assert "from the other file" in (scripted.folder / "other_transcript.json").read_text()
    with leaves_nothing(scripted):
        failed = scripted("transcribe", recording, "--prompt", script(["fail", "NO_AUDIO", "there is no sound in it"]))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1] == "talk.mp3: failed: there is no sound in it"


@pytest.mark.parametrize(
    ("words", "settings", "code", "said"),
    [
        (("--model", "nonsense"), {}, 3, "no model named 'nonsense' is allowed here"),
        (("--model", "broken"), {}, 3, "the model broken is not in the cache"),
        (("--option", "colour=red"), {}, 3, "colour"),
        (
            (),
            {"WORKER_MODELS": "mine=/no/such.pt", "WORKER_MODEL": "mine"},
            3,
            "the model mine is missing: /no/such.pt",
        ),
        (
            ("--model", "small"),
            {"WORKER_MODELS": "", "WORKER_MODEL": "", "WORKER_OFFLINE": "1"},
            3,
            "the model small is not here, and WORKER_OFFLINE forbids to download it: carry the file to ",
        ),
        ((), {"WORKER_DEVICE": "tpu"}, 64, "WORKER_DEVICE"),
        ((), {"WORKER_ENGINE": "tests.no_such_engine:load"}, 3, "no_such_engine"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    scripted: Cli, recording: Path, words: tuple[str, ...], settings: dict[str, str], code: int, said: str
) -> None:
    """Its reason in the last line, the exit code of a server that refuses, and nothing left."""
    with leaves_nothing(scripted):
        done = scripted("transcribe", recording, *words, **settings)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_what_is_stopped_leaves_nothing(scripted: Cli, recording: Path, number: signal.Signals, code: int) -> None:
    """Ctrl-C, kill and a closed terminal end the engine in the middle of its work."""
    words = ("transcribe", recording, "--prompt", script(["windows", 1], ["sleep", 600.0]))
    with leaves_nothing(scripted), scripted.start(*words) as running:
        assert running.stderr is not None
        assert any("transcribing" in line for line in running.stderr), "the job never ran"
        running.send_signal(number)
        out, err = running.communicate(timeout=DEADLINE_S)
    assert (running.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert "goes on" not in err


def test_a_command_that_is_killed_leaves_no_process(scripted: Cli, recording: Path) -> None:
    """SIGKILL, after which nobody can clear away: the worker ends all the same; only its folder stays."""
    words = ("transcribe", recording, "--prompt", script(["windows", 1], ["sleep", 600.0]))
    with scripted.start(*words) as running:
        assert running.stderr is not None
        assert any("transcribing" in line for line in running.stderr), "the job never ran"
        assert processes_of(scripted.folder / "tmp")
        running.kill()
    until(lambda: not processes_of(scripted.folder / "tmp"), "its processes are gone", within_s=20)


def test_ctrl_c_at_a_terminal_asks_nothing(scripted: Cli, recording: Path) -> None:
    """There is no worker that could go on: the engine hears the same Ctrl-C, and all of it ends at once."""
    words = ("transcribe", recording, "--prompt", script(["windows", 1], ["sleep", 600.0]))
    with leaves_nothing(scripted), terminal(scripted, 80, *words) as running:
        running.until("transcribing")
        running.interrupt()
        assert running.wait() == 130
        assert "Traceback" not in running.plain
