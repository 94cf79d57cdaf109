"""A second attempt goes on from the last finished window, and its transcript is that of an undisturbed run."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import NOT_OF_THE_TEXT, Step, recognize_alone, run_name
from btworker.engine.asr.weights import Model
from btworker.engine.sound.recording import Recording, Whole
from btworker.jobs import Options
from tests.speech.oracle import ours

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

OPTIONS = Options(model="random", decode="exact", word_timestamps=False, language="", prompt="names")
"""With fallback temperatures: sampling has to repeat itself as well."""


@pytest.fixture(scope="module")
def undisturbed(random_model: Model, noise: npt.NDArray[np.int16], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a whole run."""
    path = tmp_path_factory.mktemp("undisturbed") / "0.jsonl"
    ours(random_model, noise, OPTIONS, path)
    return path


@pytest.mark.parametrize("torn", [b"", b'{"index": 9, "run": "', b"\0\0\0\0"], ids=["whole", "torn", "zeros"])
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_an_attempt_goes_on_where_the_last_one_died(
    kept: int, torn: bytes, undisturbed: Path, random_model: Model, noise: npt.NDArray[np.int16], tmp_path: Path
) -> None:
    """Whatever the last line looks like."""
    lines = undisturbed.read_bytes().splitlines(keepends=True)
    path = tmp_path / "windows" / "0.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(lines[:kept]) + torn)
    recording = Recording(Whole(noise), "the recording")
    journal = Journal(path, run=run_name(random_model, recording.sha256, OPTIONS))
    steps = list(recognize_alone(random_model, recording, OPTIONS, journal=journal))
    assert [step.index for step in steps] == [None, *range(kept, len(lines))]
    assert steps[0].seconds_done == (json.loads(lines[kept - 1])["end"] if kept else 0)
    assert path.read_bytes() == undisturbed.read_bytes()


def test_a_finished_journal_decodes_nothing(
    undisturbed: Path, random_model: Model, noise: npt.NDArray[np.int16], tmp_path: Path
) -> None:
    """The attempt died while it wrote its outputs."""
    path = tmp_path / "0.jsonl"
    path.write_bytes(undisturbed.read_bytes())
    again = ours(random_model, noise, OPTIONS, path)
    fresh = ours(random_model, noise, OPTIONS, undisturbed)
    assert again == fresh
    assert path.read_bytes() == undisturbed.read_bytes()


def test_windows_of_another_run_are_dropped(
    undisturbed: Path, random_model: Model, noise: npt.NDArray[np.int16], tmp_path: Path
) -> None:
    """Other options, another input, another model: nothing of it may end up in this transcript."""
    recording = Recording(Whole(noise[:20_000]), "another recording")
    path = tmp_path / "0.jsonl"
    path.write_bytes(undisturbed.read_bytes())
    journal = Journal(path, run=run_name(random_model, recording.sha256, OPTIONS))
    steps = recognize_alone(random_model, recording, OPTIONS, journal=journal)
    assert next(steps) == Step(None, 0.0, 1.25)
    steps.close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("name", [field.name for field in fields(Options)])
def test_any_option_makes_another_run_but_those_that_are_listed(name: str, random_model: Model) -> None:
    """An option that is new, or forgotten in the list, costs the windows of earlier attempts, and no wrong text."""
    value = getattr(OPTIONS, name)
    changed = replace(OPTIONS, **{name: "another" if isinstance(value, str) else 7 if value != 7 else 8})
    before, after = (run_name(random_model, "the recording", options) for options in (OPTIONS, changed))
    assert (before == after) == (name in NOT_OF_THE_TEXT)


def test_other_numbers_make_another_run(random_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """WORKER_SOUND_BITS may have changed since the attempt before, or be another one on a box that helps."""
    before = run_name(random_model, "the recording", OPTIONS)
    monkeypatch.setattr(random_model.network, "sound_bits", 8)
    assert run_name(random_model, "the recording", OPTIONS) != before


def test_every_option_that_is_listed_exists() -> None:
    """A name that is gone would hide one that comes back."""
    assert {field.name for field in fields(Options)} >= NOT_OF_THE_TEXT


def test_a_stop_between_windows_keeps_the_finished_ones(
    undisturbed: Path, random_model: Model, noise: npt.NDArray[np.int16], tmp_path: Path
) -> None:
    """Closed after a window, nothing more is written."""
    recording = Recording(Whole(noise), "the recording")
    journal = Journal(tmp_path / "0.jsonl", run=run_name(random_model, recording.sha256, OPTIONS))
    steps = recognize_alone(random_model, recording, OPTIONS, journal=journal)
    assert [next(steps).index, next(steps).index] == [None, 0]
    steps.close()
    assert (tmp_path / "0.jsonl").read_bytes() == undisturbed.read_bytes().splitlines(keepends=True)[0]
