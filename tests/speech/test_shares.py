"""How many inputs of a job are begun, and the windows of a recording that several processes share."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from btworker.engine.asr.recognition import run_name
from btworker.engine.asr.spread.helping import help_with
from btworker.engine.asr.spread.shares import Plan, RemoteWindow, Shares
from btworker.engine.asr.timeline import Window
from btworker.engine.cooperate.result import result_of
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.engine import WhisperEngine, load
from btworker.engine.sound.ffmpeg import Audio
from btworker.jobs import Options
from btworker.messages import FileDone, Progressed, WindowDone
from btworker.shared_windows import PART
from tests.speech.jobs import spec_for, task_for

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
SPEAKERS = CHECKPOINT.parent / "diarization"
INPUTS = sorted(Path("tests/data/heldout").glob("*.opus"))[10:15]
FAST = Options(model="random", decode="fast")
BATCH = 4


@pytest.fixture
def engine(tmp_path: Path) -> WhisperEngine:
    """The demo model, in batches of four, with two ffmpegs."""
    engine = load(spec_for(CHECKPOINT, tmp_path, batch_size=BATCH, ffmpeg_processes=2, diarization_pipeline=SPEAKERS))
    engine.open()
    return engine


def test_a_long_input_is_not_joined_by_more_than_its_windows_leave_room_for(
    engine: WhisperEngine, tmp_path: Path
) -> None:
    """Fast mode: sound for two batches is at work; the third input waits until then."""
    task = task_for(tmp_path / "job", *INPUTS, *INPUTS, *INPUTS, options=FAST)
    begun: set[int] = set()
    for event in engine.run(task, lambda: False):
        if isinstance(event, FileDone):
            break
        if isinstance(event, Progressed | WindowDone):
            begun.add(event.file_index)
    assert 1 < len(begun) <= 2 * BATCH + 1 < len(task.inputs), begun


@pytest.fixture
def plan(engine: WhisperEngine, decoded: Callable[..., Audio]) -> Plan:
    """A recording in 20 windows of 3 s: three parts, the last one of four."""
    audio = decoded(INPUTS[-1])
    windows = tuple(Window(300 * number % (audio.sample_count // 160 - 300), 300) for number in range(20))
    with engine.equipment.models.lease("random", lambda: None) as model:
        run = run_name(model, "sha", FAST)
    return Plan(run, str(audio.path), audio.sample_count, "en", windows)


def test_helpers_leave_what_the_owner_would_have_heard(engine: WhisperEngine, plan: Plan, tmp_path: Path) -> None:
    """Parts that somebody has claimed are left alone; times of words come back as they were."""
    owner = Shares.offer(tmp_path / "shares", plan)
    assert plan.parts == 3 and owner.claim(0)
    helper = Shares.find(tmp_path / "shares")
    assert helper.plan == plan
    with engine.equipment.models.lease("random", lambda: None) as model:
        count = result_of(help_with(model, helper, FAST, "sha"))
    assert count == len(plan.windows) - PART
    assert owner.result(0) is None
    said = owner.result(2)
    assert said is not None and len(said) == 4
    assert any(one.alignment is not None and len(one.alignment.starts_s) for one in said)
    assert not owner.claim(2), "nobody decodes it again"
    owner.close()


def test_a_part_is_decoded_once_its_sound_is_there(engine: WhisperEngine, plan: Plan, tmp_path: Path) -> None:
    """In a copy on another box: a helper waits for more, and ends when the recording is not on offer any more."""
    shares = Shares.offer(tmp_path / "shares", replace(plan, sound_comes=True))
    (tmp_path / "shares" / "1.here").touch()
    with engine.equipment.models.lease("random", lambda: None) as model:
        steps = help_with(model, shares, FAST, "sha")
        while not (tmp_path / "shares" / "1.json").exists():
            next(steps)
        assert not (tmp_path / "shares" / "2.json").exists()
        (tmp_path / "shares" / "2.here").touch()
        while not (tmp_path / "shares" / "2.json").exists():
            next(steps)
        (tmp_path / "shares" / "plan.json").unlink()
        with pytest.raises(FileNotFoundError):
            result_of(steps)
    shares.close()


def test_a_helper_with_another_model_does_nothing(engine: WhisperEngine, plan: Plan, tmp_path: Path) -> None:
    """What it would say might be another text."""
    shares = Shares.offer(tmp_path / "shares", replace(plan, run="another run"))
    with engine.equipment.models.lease("random", lambda: None) as model:
        assert result_of(help_with(model, shares, FAST, "sha")) == 0
    assert shares.claim(2)
    shares.close()


def test_a_part_whose_helper_died_is_decoded_here(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as its lock is open; one that takes too long is decoded here as well."""
    owner, helper = Shares.offer(tmp_path / "shares", plan), Shares.find(tmp_path / "shares")
    assert helper.claim(1)
    own: Ticket[Any] = Ticket()
    monkeypatch.setattr("btworker.engine.asr.spread.shares.FOLDER_POLL_S", 0.0)
    first = RemoteWindow(owner, PART, lambda: own)
    assert not first.done and not owner.claim(1)
    helper.close()  # what the kernel does
    assert not first.done
    own.resolve("heard here")
    assert first.done and first.answer == "heard here"
    owner.close()
    assert helper.claim(1)
    late: Ticket[Any] = Ticket()
    late.resolve("no longer waited for")
    monkeypatch.setattr("btworker.engine.asr.spread.shares.PATIENCE_S", -1.0)
    assert RemoteWindow(owner, PART + 1, lambda: late).done
    helper.close()


def test_torn_and_foreign_parts_are_as_good_as_none(plan: Plan, tmp_path: Path) -> None:
    """A power cut, an earlier attempt with other options, one with too few windows."""
    shares = Shares.offer(tmp_path / "shares", plan)
    (tmp_path / "shares" / "0.json").write_text('{"run": "')
    (tmp_path / "shares" / "1.json").write_text(json.dumps({"run": "another", "texts": []}))
    (tmp_path / "shares" / "2.json").write_text(json.dumps({"run": plan.run, "texts": []}))
    assert [shares.result(number) for number in range(3)] == [None] * 3
    assert all(shares.claim(number) for number in range(3))
    shares.remove()
    assert not (tmp_path / "shares").exists()
    with pytest.raises(FileNotFoundError):
        Shares.find(tmp_path / "shares")
