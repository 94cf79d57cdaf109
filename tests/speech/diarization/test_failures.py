"""Nothing that goes wrong with speakers costs a word; cancel and progress reach into pyannote."""

import errno
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.diarization.diarizer import DiarizationProgress, in_thread
from btworker.engine.diarization.slot import DiarizerSlot
from btworker.engine.engine import WhisperEngine
from btworker.engine.job import speaker_stage as stage
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Options, Stage
from btworker.messages import FileDone, Finished, JobEvent, Progressed
from tests.speech.diarization.cases import (
    DIALOGUES,
    FIRST_WORDS,
    NO_SPEAKERS,
    OPTIONS,
    first_sentences,
    transcript_of,
    warnings_of,
)
from tests.speech.jobs import run, task_for

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]


class Broken:
    """A diarizer that fails after its first word."""

    device = "cpu"

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def diarize(self, samples: Any, options: Options, *, emit: Callable[[DiarizationProgress], None]) -> Any:
        """One step, then the failure."""
        emit(DiarizationProgress(1.0, 66.0))
        await checkpoint()
        raise self._error


class Holding(DiarizerSlot):
    """A slot with something else in it."""

    def __init__(self, diarizer: Any) -> None:
        self._diarizer = diarizer
        self._lock = threading.Lock()
        self.error, self.is_set_up = "", True


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("bad shapes"), "an unexpected ValueError"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "an unexpected RuntimeError"),
        (MemoryError(), "ran out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), "ran out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), stage.GPU_BROKE),
    ],
)
def test_a_failure_in_the_middle_costs_no_word(
    engine: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, why: str
) -> None:
    """The job is complete, with its words and a warning; only a broken GPU ends the child, and after the job."""
    monkeypatch.setattr(engine, "equipment", replace(engine.equipment, speakers=Holding(Broken(error))))
    source = first_sentences(tmp_path)
    events = run(engine, task_for(tmp_path / "job", source, source, options=OPTIONS))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.fatal == (why == stage.GPU_BROKE)
    assert [said.partition(": ")[0] for said in warnings_of(events)] == ["one.wav"] * 2
    assert all(NO_SPEAKERS in said and why in said for said in warnings_of(events))
    for number in (0, 1):
        transcript = transcript_of(tmp_path / "job", number)
        assert " ".join(transcript.text.split()) == FIRST_WORDS
        assert {segment.speaker for segment in transcript.segments} == {None}
    assert not (tmp_path / "job" / "diarizing").exists()


def test_a_child_that_died_there_is_not_sent_there_again(engine: WhisperEngine, tmp_path: Path) -> None:
    """A note says that the attempt before was killed while it told speakers apart; a drain leaves one, too, but has
    cost no child, and changes nothing."""
    task = task_for(tmp_path / "job", first_sentences(tmp_path), options=OPTIONS)
    (tmp_path / "job" / "diarizing").write_text("0")
    again = run(engine, replace(task, attempt=2, losses=0))
    assert warnings_of(again) == []
    (tmp_path / "job" / "diarizing").write_text("0")
    events = run(engine, replace(task, attempt=3, losses=1))
    assert warnings_of(events) == [NO_SPEAKERS + stage.DIED_HERE]
    assert " ".join(transcript_of(tmp_path / "job").text.split()) == FIRST_WORDS


def test_cancel_works_inside(engine: WhisperEngine, tmp_path: Path) -> None:
    """At the next word of pyannote; nothing is left behind, and the engine takes the next job."""
    seen: list[JobEvent] = []
    steps = engine.run(
        task_for(tmp_path / "job", DIALOGUES[0], options=OPTIONS),
        lambda: any(isinstance(event, Progressed) and event.stage is Stage.DIARIZING for event in seen),
    )
    with pytest.raises(BtworkerError) as caught:
        deque(map(seen.append, steps), maxlen=0)
    assert caught.value.code is ErrorCode.CANCELED
    assert not any(isinstance(event, FileDone) for event in seen)
    assert not (tmp_path / "job" / "out").exists()
    assert not (tmp_path / "job" / "diarizing").exists()
    following = task_for(tmp_path / "next", first_sentences(tmp_path), options=OPTIONS)
    assert isinstance(run(engine, following)[-1], Finished)


def test_progress_goes_through_the_whole_recording(engine: WhisperEngine, tmp_path: Path) -> None:
    """In seconds, never backwards, by pyannote's own words."""
    events = run(engine, task_for(tmp_path / "job", DIALOGUES[0], options=OPTIONS))
    told = [event for event in events if isinstance(event, Progressed) and event.stage is Stage.DIARIZING]
    seconds = [event.seconds_done for event in told]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) > 5
    assert told[-1].seconds_done > 0.9 * told[-1].seconds_total > 80


def test_an_abandoned_call_ends_at_its_next_word() -> None:
    """Nobody waits for a pyannote that nobody wants any more, and none is left running."""
    said: list[int] = []

    def work(hook: Callable[..., None]) -> None:
        for completed in range(10**9):
            hook("segmentation", None, completed=completed, total=10**9)
            said.append(completed)

    steps = in_thread(work, lambda _: None)
    steps.send(None)
    steps.close()
    count = len(said)
    assert 0 < count == len(said)
