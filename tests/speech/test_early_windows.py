"""A recording is recognized while ffmpeg is still at it: the same windows whenever its sound comes, the first of them
told before its end is there, and no result where its end cannot be decoded."""

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from btworker.engine.asr.window_plan import WindowPlan, windows_of
from btworker.engine.cooperate.side_by_side import Piece
from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.engine import WhisperEngine, load
from btworker.engine.sound import pool as sound_pool
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, DecodeProgress, Limits
from btworker.engine.sound.layout import Wanted
from btworker.engine.sound.recording import Samples
from btworker.engine.vad import detector as vad
from btworker.engine.vad.detector import SpeechDetector
from btworker.engine.vad.spans import FRAME
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import Options, Stage
from btworker.messages import Finished, JobEvent, Progressed, WindowDone
from tests.speech.conftest import write_wav
from tests.speech.jobs import run, spec_for, task_for
from tests.speech.transcripts import CHECKPOINT, HELD_OUT, assert_same, transcripts

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

FAST = Options(model="random", decode="fast")
SPEAKERS = CHECKPOINT.parent / "diarization"
FIRST_FRAMES = 312
"""Ten seconds: chapters end at 10, 20, 40, 80, 160 and 320 s."""
PART_S = 170
"""As much is there while ffmpeg is held up."""
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def _short_chapters(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few minutes have several."""
    monkeypatch.setattr(vad, "FIRST_FRAMES", FIRST_FRAMES)


@pytest.fixture
def engine(tmp_path: Path) -> WhisperEngine:
    """The demo model, in batches of four."""
    engine = load(spec_for(CHECKPOINT, tmp_path / "engine", batch_size=4, diarization_pipeline=SPEAKERS))
    engine.open()
    return engine


@pytest.fixture
def talk(decoded: Callable[..., Audio], tmp_path: Path) -> Path:
    """Four minutes of speech."""
    pieces = [np.array(decoded(HELD_OUT / f"{name}.opus").samples) for name in ("16", "13", "20", "10", "05")]
    sound = np.concatenate([piece for _ in range(10) for piece in pieces])[: 240 * SAMPLE_RATE + 99]
    path = tmp_path / "talk.wav"
    write_wav(path, sound)
    return path


class Ffmpeg:
    """Decodes PART_S, says so, and goes on when it is let go; then `end` may raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.end: Callable[[], None] = lambda: None
        monkeypatch.setattr(sound_pool, "decode", self.decode)

    def decode(
        self, source: Path, target: Path, *, limits: Limits, canceled: Callable[[], bool], wanted: Wanted
    ) -> Generator[DecodeProgress, None, Audio]:
        """As ffmpeg.decode."""
        part, whole = PART_S * SAMPLE_RATE, target.with_suffix(".whole")
        *_, last = decode(source, whole, limits=limits, canceled=canceled, wanted=wanted)
        sound = whole.read_bytes()
        whole.unlink()
        with target.open("wb", buffering=0) as file:
            file.write(sound[: 2 * part + 1])  # a sample and a half
            yield DecodeProgress(part, last.seconds_total)
            while not self.go_on.wait(0.01):
                if canceled():
                    target.unlink()
                    raise BtworkerError(ErrorCode.CANCELED, "canceled")
            file.write(sound[2 * part + 1 :])
        self.end()
        yield last
        return Audio(target, last.sample_count, ("a warning",))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Ffmpeg:
    """ffmpeg is held up."""
    return Ffmpeg(monkeypatch)


def ends(events: list[JobEvent]) -> list[tuple[int, float]]:
    """Of the windows that were told."""
    return [(event.index, event.seconds_done) for event in events if isinstance(event, WindowDone)]


class Coming:
    """Sound of which more comes each time that it is waited for."""

    def __init__(self, samples: Samples, step: int) -> None:
        self._all = samples
        self._step = step
        self._there = 0
        self.expected_s = 0.0

    @property
    def samples(self) -> Samples:
        """See Sound."""
        return self._all[: self._there]

    @property
    def is_whole(self) -> bool:
        """See Sound; known a little later than the last sample."""
        return self._there > len(self._all)

    def has(self, count: int, /) -> bool:
        """See Sound."""
        return self.is_whole or self._there >= count

    async def reach(self, count: int, /) -> None:
        """See Sound."""
        while not self.has(count):
            await checkpoint()
            self._there += self._step


def steps_of(piece: Piece[None]) -> int:
    """How often a piece that needs no answer waits until it ends."""
    for number in count():
        try:
            piece.send(None)
        except StopIteration:
            return number
    raise AssertionError


@pytest.mark.parametrize("step_s", [0.7, 33, 1000])
@pytest.mark.parametrize("total_s", [0.0, 7.0, 20.0, 312 * FRAME / SAMPLE_RATE, 240.5])
def test_a_recording_has_the_same_windows_whenever_its_sound_comes(
    step_s: float, total_s: float, talk: Path, decoded: Callable[..., Audio]
) -> None:
    """In chapters, as one whole, and also where it ends with a chapter. Each chapter adds windows, and changes none."""
    samples = np.array(decoded(talk).samples)[: int(total_s * SAMPLE_RATE)]
    network = SpeechDetector(torch.device("cpu"))
    plan = WindowPlan(Coming(samples, int(step_s * SAMPLE_RATE)), network)
    known = [plan.windows]
    while not plan.is_whole:
        waits_for_sound = plan.waits_for_sound
        assert steps_of(plan.extend()) > 0 or not waits_for_sound
        known.append(plan.windows)
    whole = network.speech(samples)
    assert plan.speech.spans == whole.spans
    assert plan.speech.total_samples == len(samples)
    assert known[-1] == windows_of(whole)
    assert all(known[-1][: len(windows)] == windows for windows in known)
    if total_s > 200:
        assert [len(windows) for windows in known[3:6]] == sorted({len(windows) for windows in known[3:6]})


@pytest.mark.sliced("early windows", 1)
@pytest.mark.parametrize("language", ["", "en"])
def test_windows_are_told_before_the_last_sound_is_there(
    language: str, engine: WhisperEngine, talk: Path, held: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that do not depend on it, whether their language is known or found in them; the transcript is the one of a
    recording that is whole, and the stages' times add up."""
    options = replace(FAST, language=language, prompt="talk")
    seen: list[JobEvent] = []
    began = time.monotonic()
    for event in engine.run(task_for(tmp_path / "job", talk, options=options), lambda: False):
        seen.append(event)
        if isinstance(event, WindowDone) and event.seconds_done > 120:
            held.go_on.set()
        assert held.go_on.is_set() or not isinstance(event, Finished)
    took_s = time.monotonic() - began
    words = [event for event in seen if isinstance(event, Progressed)]
    stages = [event.stage for event in words]
    assert stages == sorted(stages, key=[Stage.INITIALIZING, Stage.TRANSCRIBING].index)
    assert all(event.seconds_total == pytest.approx(240, abs=1) for event in words[1:])
    assert isinstance(seen[-1], Finished)
    timings = dict(seen[-1].timings)
    assert set(timings) == {"decode", "transcribe", "write"}
    assert sum(timings.values()) <= took_s
    assert not list(engine.spec.settings.scratch.iterdir())
    monkeypatch.setattr(sound_pool, "decode", decode)
    whole = run(engine, task_for(tmp_path / "whole", talk, options=options))
    assert ends(whole) == ends(seen)
    assert_same(transcripts(tmp_path / "job", 1), transcripts(tmp_path / "whole", 1))


@pytest.mark.sliced("early windows", 1)
def test_exact_decoding_waits_for_the_loudest_point(
    engine: WhisperEngine, talk: Path, held: Ffmpeg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the whole recording, by which all of its windows go."""
    options = replace(FAST, decode="exact", temperature=0.0)
    for event in engine.run(task_for(tmp_path / "job", talk, options=options), lambda: False):
        if isinstance(event, Progressed) and event.seconds_done == PART_S:
            assert event.stage is Stage.INITIALIZING
            held.go_on.set()
        assert held.go_on.is_set() or not isinstance(event, WindowDone)
    monkeypatch.setattr(sound_pool, "decode", decode)
    run(engine, task_for(tmp_path / "whole", talk, options=options))
    assert_same(transcripts(tmp_path / "job", 1), transcripts(tmp_path / "whole", 1))


def test_an_end_that_cannot_be_decoded_fails_the_job(
    engine: WhisperEngine, talk: Path, held: Ffmpeg, tmp_path: Path
) -> None:
    """With ffmpeg's error, although windows were told; nothing of its sound stays."""

    def fail() -> None:
        raise BtworkerError(ErrorCode.AUDIO_TOO_LONG, "the recording is too long")

    held.end = fail
    events = engine.run(task_for(tmp_path / "job", talk, options=FAST), lambda: False)
    while not isinstance(next(events), WindowDone):
        pass
    held.go_on.set()
    with pytest.raises(BtworkerError) as caught:
        list(events)
    assert caught.value.code is ErrorCode.AUDIO_TOO_LONG
    assert not (tmp_path / "job" / "out").exists()
    assert not list(engine.spec.settings.scratch.iterdir())


@pytest.mark.sliced("early windows", 1)
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_job_ends_while_it_waits_for_sound(
    how: str, engine: WhisperEngine, talk: Path, held: Ffmpeg, tmp_path: Path
) -> None:
    """ffmpeg ends with it."""
    canceled = False
    events = engine.run(task_for(tmp_path / "job", talk, options=FAST), lambda: canceled)
    while not isinstance(next(events), WindowDone):
        pass
    if how == "close":
        assert isinstance(events, Generator)
        events.close()
    else:
        canceled = True
        with pytest.raises(BtworkerError) as caught:
            list(events)
        assert caught.value.code is ErrorCode.CANCELED
    assert not list(engine.spec.settings.scratch.iterdir())
    held.go_on.set()
    assert isinstance(run(engine, task_for(tmp_path / "after", talk, options=FAST))[-1], Finished)


@pytest.mark.sliced("early windows", 1)
def test_another_attempt_goes_on_before_its_sound_is_whole(
    engine: WhisperEngine, talk: Path, held: Ffmpeg, tmp_path: Path
) -> None:
    """The windows that are there are not decoded again, those after them are told early, too."""
    told = []
    for attempt in (1, 2):
        events = engine.run(task_for(tmp_path / "job", talk, attempt=attempt, options=FAST), lambda: False)
        told += [event.index for event in islice((one for one in events if isinstance(one, WindowDone)), 2)]
        assert isinstance(events, Generator)
        if attempt == 1:
            events.close()
    assert told == [0, 1, 2, 3]
    held.go_on.set()
    rest = list(events)
    assert next(event.index for event in rest if isinstance(event, WindowDone)) == 4
    assert isinstance(rest[-1], Finished)
