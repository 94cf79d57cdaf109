"""An engine with both embedded models, and the pipeline alone."""

from pathlib import Path

import pytest

from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.engine import WhisperEngine, load
from btworker.specs import Device, LogSettings, WorkerSpec
from tests.speech.diarization.cases import DIALOGUES, settings
from tools.demo_diarization.dialogue_files import read
from tools.demo_diarization.heldout import Dialogue


@pytest.fixture(scope="module")
def diarizer() -> Diarizer:
    """The embedded pipeline."""
    return Diarizer(settings(Path("unused")), on_gpu=False)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    """An engine with both embedded models."""
    spec = WorkerSpec(
        0, Device("cpu"), "btworker.engine.engine:load", settings(tmp_path_factory.mktemp("engine")),
        LogSettings("info", json=True),
    )  # fmt: skip
    engine = load(spec)
    engine.open()
    return engine


@pytest.fixture
def engine(loaded: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> WhisperEngine:
    """The same, safe to patch."""
    monkeypatch.setattr(loaded, "equipment", loaded.equipment)
    return loaded


@pytest.fixture(scope="module")
def dialogue() -> Dialogue:
    """A minute and a half of two people."""
    return read(DIALOGUES[0])
