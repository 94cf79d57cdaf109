"""Why speakers cannot be had, in words; and that nothing is imported for nobody."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.engine import WhisperEngine, load
from btworker.engine.stack.surroundings import unusable
from btworker.messages import Finished
from btworker.specs import Device, LogSettings, WorkerSpec
from tests.speech.diarization.cases import (
    EMBEDDED,
    FIRST_WORDS,
    NO_SPEAKERS,
    OPTIONS,
    first_sentences,
    settings,
    transcript_of,
    warnings_of,
)
from tests.speech.jobs import run, task_for
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import diarize

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


def problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fault: bool = True, **changes: Any) -> str:
    """What preflight says of an engine with these settings, at the latest after its first job with speakers; the words
    are there all the same."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spec = WorkerSpec(0, Device("cpu"), "x", settings(tmp_path, **changes), LogSettings("info", json=True))
    engine = load(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine.open()
    events = run(engine, task_for(tmp_path / "job", first_sentences(tmp_path), options=OPTIONS))
    info = engine.info
    assert not info.diarization
    assert dict(info.checks)["diarization"] is False
    assert dict(info.checks)["model"]
    reason = dict(info.errors)["diarization"]
    assert info.diarization_error == (reason if fault else None)
    assert isinstance(events[-1], Finished)
    assert warnings_of(events) == [f"{NO_SPEAKERS}{reason}"]
    transcript = transcript_of(tmp_path / "job")
    assert " ".join(transcript.text.split()) == FIRST_WORDS
    assert transcript.no_speakers == reason
    by_speaker = (tmp_path / "job" / "out" / "talk-0_speaker.md").read_text()
    assert by_speaker.startswith("# one.wav\n\n*No speakers: ")
    assert FIRST_WORDS in " ".join(by_speaker.split())
    return reason


LIGHT = """
import sys
from pathlib import Path
from btworker.engine.engine import load
from btworker.specs import Device, EngineSettings, LogSettings, WorkerSpec
demo = Path("btworker/demo")
settings = EngineSettings(
    "demo", (("demo", demo / "whisper-tiny-words.pt"),), Path("unused"), Path(sys.argv[1]), offline=True, threads=1,
    diarization_pipeline=demo / "diarization",
)
engine = load(WorkerSpec(0, Device("cpu"), "x", settings, LogSettings("info", json=True)))
engine.open()
assert engine.info.diarization
print(sorted({"pyannote.audio", "speechbrain", "torchaudio", "huggingface_hub"} & set(sys.modules)))
"""


def test_a_child_that_nobody_asks_for_speakers_goes_without_pyannote(tmp_path: Path) -> None:
    """It says that it can tell speakers apart, and has imported nothing for it."""
    command = [sys.executable, "-W", "ignore", "-c", LIGHT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_is_there(engine: WhisperEngine) -> None:
    """And says so."""
    assert engine.info.diarization
    assert engine.info.diarization_error is None
    assert dict(engine.info.checks)["diarization"]


def test_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to do about it; pyannote is not even imported for it."""
    said = problem(tmp_path, monkeypatch, fault=False, diarization_pipeline=None, offline=False)
    assert "HF_TOKEN" in said
    assert "WORKER_DIARIZATION_PIPELINE" in said
    assert "pyannote/speaker-diarization-" in said


def test_a_pipeline_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, and not in the cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    said = problem(tmp_path, monkeypatch, diarization_pipeline=None, hf_token="hf_canary")
    assert "pyannote/speaker-diarization-" in said
    assert "hf_canary" not in said


def test_a_folder_without_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in it."""
    (tmp_path / "folder").mkdir()
    said = problem(tmp_path, monkeypatch, diarization_pipeline=tmp_path / "folder")
    assert f"{tmp_path / 'folder' / 'config.yaml'} is missing" in said


def copied(tmp_path: Path, **changes: Any) -> Path:
    """The embedded pipeline in another folder, whose name would mislead pyannote, with other parameters."""
    import shutil

    import yaml

    folder = tmp_path / "nvidia speechbrain"
    shutil.copytree(EMBEDDED, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["pipeline"]["params"].update(changes)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.sliced("speakers", 2)
def test_a_folder_works_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialogue: Dialogue, diarizer: Diarizer
) -> None:
    """Its files are found beside its config, also as version 4 writes them, and whatever the folder is called."""
    folder = copied(tmp_path, segmentation="$model/segmentation.ckpt")
    monkeypatch.chdir("/")
    other = Diarizer(settings(tmp_path, diarization_pipeline=folder), on_gpu=False)
    assert diarize(other, dialogue.samples).turns == diarize(diarizer, dialogue.samples).turns


def test_a_file_that_the_config_names_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one, and who names it."""
    folder = copied(tmp_path, embedding="other.ckpt")
    said = problem(tmp_path, monkeypatch, diarization_pipeline=folder)
    assert f"{folder / 'other.ckpt'} is missing" in said


@pytest.mark.parametrize("field", ["clustering", "nonsense"])
def test_a_config_that_this_pyannote_cannot_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """A pipeline of another version: its own words, in one sentence."""
    said = problem(tmp_path, monkeypatch, diarization_pipeline=copied(tmp_path, **{field: "NoSuchThing"}))
    assert said.startswith("pyannote.audio ")
    assert "cannot load" in said


def test_a_damaged_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a checkpoint at all."""
    folder = copied(tmp_path)
    (folder / "embedding.ckpt").write_bytes(b"no checkpoint" * 100)
    assert "cannot load" in problem(tmp_path, monkeypatch, diarization_pipeline=folder)


def test_cuda_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent CPU."""
    said = problem(tmp_path, monkeypatch, diarization_device="cuda")
    assert "DIARIZATION_DEVICE=cuda, but this worker has no GPU" in said


def test_a_pyannote_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence, and a worker that works."""

    def fail(*_: Any, **__: Any) -> None:
        raise ImportError("libcudnn.so.8: cannot open shared object file")

    monkeypatch.setattr("btworker.engine.diarization.diarizer.Diarizer", fail)
    assert "libcudnn.so.8" in problem(tmp_path, monkeypatch)


def test_a_library_that_the_machine_lacks_is_named() -> None:
    """torchaudio's wheel for arm64 brings no libgomp: installing the packages again would not help."""
    error = OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert "apt-get install libgomp1" in unusable("pyannote.audio", error).sentence
    assert "install the pinned set again" in unusable("torch", ImportError("libcudart.so.12: cannot open")).sentence
