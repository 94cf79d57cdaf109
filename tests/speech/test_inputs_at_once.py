"""The inputs of one job at work at once, in the real engine: the same transcripts as alone, what the batches hold, and
nothing left behind where one of them fails or the job is canceled."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest

from btworker.engine.asr.decoding.places import Places
from btworker.engine.engine import WhisperEngine, load
from btworker.engine.sound import decoding, process
from btworker.engine.sound import pool as sound_pool
from btworker.engine.sound.ffmpeg import Audio, DecodeProgress, Limits
from btworker.engine.sound.layout import Wanted
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder
from btworker.jobs import Options, Stage
from btworker.messages import FileDone, Finished, JobEvent, Progressed, WindowDone
from btworker.pool.limits import CANCEL_GRACE_S
from tests.speech.jobs import run, spec_for, task_for
from tests.speech.transcripts import CHECKPOINT, HELD_OUT, assert_same, transcripts

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

INPUTS = tuple(HELD_OUT / f"{name}.opus" for name in ("16", "01", "13", "05", "10"))
"""31 s, which are two windows, then 3, 19, 4 and 9 s."""
FAST = Options(model="random", decode="fast")
FFMPEGS = 2
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    """The demo model in batches of four, with two ffmpegs, which are never given up by themselves; recordings are so
    short that any disk has room for several."""
    limits = {"decode_stall_s": 3600.0, "max_audio_s": 60.0}
    spec = spec_for(CHECKPOINT, tmp_path_factory.mktemp("engine"), batch_size=4, ffmpeg_processes=FFMPEGS, **limits)
    engine = load(spec)
    engine.open()
    return engine


@pytest.fixture
def nothing_left(engine: WhisperEngine) -> Callable[[Path], None]:
    """Asserts that a job that did not finish left no result and no sound, and that the engine takes the next one."""

    def look(job: Path) -> None:
        assert {path.name for path in job.iterdir()} == {"in", "windows"}
        assert not list(engine.spec.settings.scratch.iterdir())
        after = job.with_name(f"after-{job.name}")
        assert isinstance(run(engine, task_for(after, INPUTS[1], options=FAST))[-1], Finished)
        reference = json.loads(INPUTS[1].with_suffix(".json").read_text())["text"]
        assert transcripts(after, 1)[0]["text"].strip() == reference

    return look


class Ffmpegs:
    """All that were started; that of one input is stopped at its birth, so that it surely is there until it is
    killed."""

    def __init__(self, source: Path) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.stopped: list[subprocess.Popen[bytes]] = []
        self._source = f"file:{source}"
        self._start = process.start

    def start(self, command: list[str], *, cpu_s: float, source: Path) -> subprocess.Popen[bytes]:
        """As process.start."""
        program = self._start(command, cpu_s=cpu_s, source=source)
        self.started.append(program)
        if self._source in command:
            os.kill(program.pid, signal.SIGSTOP)
            self.stopped.append(program)
        return program

    def assert_gone(self) -> None:
        """Each has ended and was waited for; the stopped one had to be killed."""
        assert [one.returncode for one in self.stopped] == [-signal.SIGKILL]
        for one in self.started:
            assert one.returncode is not None
            with pytest.raises(ProcessLookupError):
                os.kill(one.pid, 0)


@pytest.fixture
def ffmpegs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Ffmpegs]:
    """`ffmpegs(2)` stops that of input number 2 of the job in <tmp_path>/job."""

    def make(number: int) -> Ffmpegs:
        found = Ffmpegs(JobFolder(tmp_path / "job").input(number))
        monkeypatch.setattr(process, "start", found.start)
        return found

    return make


@pytest.mark.sliced("inputs at once", 1)
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_an_input_has_the_transcript_that_it_has_alone(
    mode: str, engine: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, segments and words, in fewer steps of the decoder than all of them take alone: windows of several inputs
    take one together. Every input of the job says that it is done, once."""
    options = replace(FAST, decode=mode)
    seated: list[set[str]] = []
    step = Places.step

    def counted(places: Places, times: int) -> list[int]:
        seated.append({entry.task.seed.split(":")[0] for _, entry in places.seated})  # names the recording
        return step(places, times)

    monkeypatch.setattr(Places, "step", counted)
    events = run(engine, task_for(tmp_path / "job", *INPUTS, options=options))
    together, steps, seated = seated, len(seated), []
    alone = []
    for path in INPUTS:
        run(engine, task_for(tmp_path / path.stem, path, options=options))
        alone += transcripts(tmp_path / path.stem, 1)
    assert_same(transcripts(tmp_path / "job", len(INPUTS)), alone)
    assert all(one["segments"] and one["text"] for one in alone)
    print(f"\n{mode}: up to {max(map(len, together))} inputs in a step, {steps} steps instead of {len(seated)}")
    assert set(map(len, seated)) == {1}
    assert max(map(len, together)) > 1
    assert steps < len(seated)
    assert sorted(event.file_index for event in events if isinstance(event, FileDone)) == list(range(len(INPUTS)))
    assert isinstance(events[-1], Finished)
    assert not list(engine.spec.settings.scratch.iterdir())


def test_as_many_ffmpegs_as_the_operator_allows(
    engine: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are at work at once, and not one more, whatever the number of inputs."""
    decode, lock, full = decoding.decode, threading.Lock(), threading.Event()
    at_work, most = 0, 0

    def counted(
        source: Path, target: Path, *, limits: Limits, canceled: Callable[[], bool], wanted: Wanted
    ) -> Generator[DecodeProgress, None, Audio]:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            if at_work == FFMPEGS:
                full.set()
        assert full.wait(DEADLINE_S), "no second one came"
        try:
            return (yield from decode(source, target, limits=limits, canceled=canceled, wanted=wanted))
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(sound_pool, "decode", counted)
    assert isinstance(run(engine, task_for(tmp_path / "job", *INPUTS, options=FAST))[-1], Finished)
    assert (at_work, most) == (0, FFMPEGS)


def test_a_mark_says_that_all_windows_of_an_input_are_there(engine: WhisperEngine, tmp_path: Path) -> None:
    """Not while there are more to come, and for each input by itself; a second attempt takes it away until it has been
    through the windows that are there."""
    folder = JobFolder(tmp_path / "job")
    left = {index: 2 if index == 0 else 1 for index in range(len(INPUTS))}
    for event in engine.run(task_for(folder.path, *INPUTS, options=FAST), lambda: False):
        if isinstance(event, WindowDone):
            left[event.file_index] -= 1
            assert not folder.windows_complete_mark(event.file_index).exists()
        elif isinstance(event, FileDone):
            assert folder.windows_complete_mark(event.file_index).exists()
            assert left[event.file_index] == 0
    first = transcripts(folder.path, len(INPUTS))
    began = set()
    for event in engine.run(task_for(folder.path, *INPUTS, attempt=2, options=FAST), lambda: False):
        assert not isinstance(event, WindowDone)
        if isinstance(event, Progressed) and event.stage is Stage.INITIALIZING:
            began.add(event.file_index)
            assert not folder.windows_complete_mark(event.file_index).exists()
        elif isinstance(event, FileDone):
            assert folder.windows_complete_mark(event.file_index).exists()
    assert began == set(range(len(INPUTS)))
    assert transcripts(folder.path, len(INPUTS)) == first


@pytest.mark.sliced("attempts at once", 1)
@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_a_second_attempt_goes_on_with_each_input(mode: str, engine: WhisperEngine, tmp_path: Path) -> None:
    """Where it was: the first one ended with windows of two inputs there, and none of the third."""
    options, few = replace(FAST, decode=mode), INPUTS[:3]
    run(engine, task_for(tmp_path / "whole", *few, options=options))
    events = engine.run(task_for(tmp_path / "job", *few, options=options), lambda: False)
    said: set[tuple[int, int]] = set()
    while len({index for index, _ in said}) < 2:
        if isinstance(event := next(events), WindowDone):
            said.add((event.file_index, event.index))
    assert isinstance(events, Generator)
    events.close()
    rest = run(engine, task_for(tmp_path / "job", *few, attempt=2, options=options))
    more = {(event.file_index, event.index) for event in rest if isinstance(event, WindowDone)}
    assert not said & more
    assert said | more == {(0, 0), (0, 1), (1, 0), (2, 0)}
    assert_same(transcripts(tmp_path / "job", len(few)), transcripts(tmp_path / "whole", len(few)))


@pytest.mark.timeout(120)
def test_an_input_that_is_no_recording_ends_the_job_with_its_own_error(
    engine: WhisperEngine, tmp_path: Path, ffmpegs: Callable[[int], Ffmpegs], nothing_left: Callable[[Path], None]
) -> None:
    """While another one is in the decoder and ffmpeg is at a third: ffmpeg is killed, all sound is removed, and the
    windows that were there stay."""
    text = tmp_path / "talk.mp3"
    text.write_text("hello world\n" * 1000)
    programs = ffmpegs(1)
    job = tmp_path / "job"
    with pytest.raises(BtworkerError) as caught:
        run(engine, task_for(job, INPUTS[0], INPUTS[1], text, INPUTS[2], options=FAST))
    assert caught.value.code is ErrorCode.CORRUPT_AUDIO
    assert "not a recording" in caught.value.message
    assert any(f"file:{JobFolder(job).input(2)}" in one.args for one in programs.started)
    programs.assert_gone()
    nothing_left(job)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_the_end_in_the_middle_ends_all_inputs(
    how: str,
    engine: WhisperEngine,
    tmp_path: Path,
    ffmpegs: Callable[[int], Ffmpegs],
    nothing_left: Callable[[Path], None],
) -> None:
    """A cancel is an error with its code, before the child would be killed for it; one that is not followed any more
    just ends. Whatever was going on: ffmpeg at one input, and windows of others in the decoder."""
    programs, canceled = ffmpegs(3), False
    job = tmp_path / "job"
    events = engine.run(task_for(job, *INPUTS, options=FAST), lambda: canceled)
    seen: list[JobEvent] = []
    while not (seen and isinstance(seen[-1], WindowDone) and programs.stopped):
        seen.append(next(events))
    assert not any(isinstance(event, FileDone) and event.file_index == 3 for event in seen)
    if how == "close":
        assert isinstance(events, Generator)
        events.close()
    else:
        canceled, began = True, time.monotonic()
        with pytest.raises(BtworkerError) as caught:
            seen += events
        assert caught.value.code is ErrorCode.CANCELED
        assert time.monotonic() - began < CANCEL_GRACE_S
    programs.assert_gone()
    nothing_left(job)
