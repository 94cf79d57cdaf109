"""One attempt at one job: all its inputs, side by side as far as that fills the model's batches, then all its files; a
generator of events.

Below it, work is coroutines: they await what they need, and `emit` what they did. Here what was emitted is sent, and
here alone it is checked whether the job was canceled.

Everything that a killed attempt left behind (scratch sound, half the outputs) is cleared away by the next.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.vocabulary import never_written
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.side_by_side import emitting, side_by_side
from btworker.engine.job.enrolment import Enrolment
from btworker.engine.job.equipment import Equipment
from btworker.engine.job.events import EventFactory
from btworker.engine.job.input import InputRun
from btworker.engine.job.known_speakers import KnownSpeakers
from btworker.engine.job.references import Reference, ReferenceReader
from btworker.engine.job.results import StageClock, write_outputs
from btworker.engine.job.speaker_stage import SpeakerStage
from btworker.engine.job.text_run import Shared, fill_batches
from btworker.engine.sound.ffmpeg import room_bytes
from btworker.engine.stack.gpu_turns import enter_thread
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder, remove_scratch
from btworker.jobs import ENROLL, Stage
from btworker.logs import get_logger
from btworker.messages import Alive, Finished, JobEvent, ModelLoaded, RunTask
from btworker.transcript import Transcript

log = get_logger()
NO_VAD = "vadEnabled has no effect on exact decoding, which decodes the whole recording; ask for decode=fast"
DIARIZING_AT_ONCE = 3
"""Inputs of a job that have their text: one at the networks, one at the clusters, and the next, so that a GPU never
waits for it. Others would only take room."""
HEARTBEAT_S = 5.0
"""Far below any limit on how long a job may be silent."""


class Attempt:
    """One attempt at one job."""

    def __init__(self, equipment: Equipment, task: RunTask, canceled: Callable[[], bool]) -> None:
        self._equipment = equipment
        self._settings = equipment.spec.settings
        self._task = task
        self._canceled = canceled
        self._folder = JobFolder(task.folder)
        self._clock = StageClock()
        self._events = EventFactory(task)
        self._emitted: deque[JobEvent] = deque()
        """Events that were not sent yet."""
        self._emitted_at = time.monotonic()
        self._speakers = self._speaker_stage(())
        self._decoder: Decoder | None = None
        """That of the model, once it is leased."""

    def run(self) -> Iterator[JobEvent]:
        """Run all inputs, write all files, then yield Finished."""
        task = self._task
        self._settings.scratch.mkdir(parents=True, exist_ok=True)
        remove_scratch(self._settings.scratch, task.job_id)
        with ExitStack() as cleanup:
            cleanup.callback(remove_scratch, self._settings.scratch, task.job_id)
            if task.options.vad_enabled and task.options.decode == "exact":
                yield self._events.warned(NO_VAD)
            model = yield from self._borrow_model(cleanup)
            enter_thread(model.device)
            self._decoder = model.decoder
            if task.options.task == ENROLL:
                yield from self._enroll(model)
                return
            self._speakers = self._speaker_stage(self._references(model))
            if unwritten := never_written(task.options.keywords, model.decoder.tries):
                yield self._events.warned(f"keywords without effect, of signs that the model never writes: {unwritten}")
            transcripts = yield from self._transcribe(model)
        with self._clock.stage("write"):
            outputs = write_outputs(self._folder, task.options, task.inputs, transcripts)
        durations_s = tuple(transcript.duration_s for transcript in transcripts)
        timings, broke = self._clock.timings, self._speakers.gpu_broke
        yield Finished(task.job_id, task.attempt, outputs, durations_s, timings, fatal=broke)

    def _speaker_stage(self, references: Sequence[Reference]) -> SpeakerStage:
        known = KnownSpeakers(self._settings, references)
        return SpeakerStage(self._equipment.speakers, self._task, self._emit, known)

    def _references(self, model: Model) -> list[Reference]:
        """Read the voices of known speakers. Raises BAD_OPTION."""
        reader = ReferenceReader(self._settings, self._folder, model.detector)
        known = self._task.options.known_speakers
        return [reader.read(index, one.name, self._canceled) for index, one in enumerate(known)]

    def _enroll(self, model: Model) -> Iterator[JobEvent]:
        """Make a voice of the only input, then yield Finished. Raises BAD_OPTION, MODEL_UNAVAILABLE."""
        task = self._task
        enrolment = Enrolment(self._equipment, task, model.detector, self._emit)
        steps = side_by_side([enrolment.run], driver=model.decoder, may_begin=lambda: True)
        (voice,) = yield from emitting(steps, self._emitted, after_step=self._after_step)
        enrolment.keep(voice)
        yield Finished(task.job_id, task.attempt, (), (voice.seconds,), self._clock.timings)

    def _borrow_model(self, cleanup: ExitStack) -> Generator[JobEvent, None, Model]:
        """Lease the job's model until the attempt ends, loaded in place of another one if need be."""
        task, name, models = self._task, self._task.options.model, self._equipment.models
        if models.name == name:
            return cleanup.enter_context(models.lease(name, self._check))
        yield self._events.progressed(Stage.LOADING_MODEL, 0, 0.0, 0.0)
        clock = StageClock()
        log.info("model_load_started", model=name)
        with clock.stage("loadModel"), self._clock.stage("loadModel"):
            model = cleanup.enter_context(models.lease(name, self._check))
        log.info("model_load_finished", model=name, seconds=round(clock.timings[0][1], 3))
        yield ModelLoaded(task.job_id, task.attempt, name, clock.timings[0][1])
        return model

    def _transcribe(self, model: Model) -> Generator[JobEvent, None, list[Transcript]]:
        """Transcribe all inputs."""
        task = self._task
        shared = Shared(self._equipment, task, model, self._speakers, self._clock, self._emit)
        inputs = [InputRun(shared, index) for index in range(len(task.inputs))]
        steps = side_by_side(
            [one.run for one in inputs], driver=model.decoder, may_begin=partial(self._may_begin, inputs, shared)
        )
        return (yield from emitting(steps, self._emitted, after_step=self._after_step))

    def _may_begin(self, inputs: Sequence[InputRun], shared: Shared) -> bool:
        """Whether one more input does any good: ffmpeg has a free place, what is at work does not fill the batches, and
        few have their text and wait for speakers."""
        going = [one for one in inputs if one.is_going]
        if sum(one.is_decoding for one in going) >= self._equipment.sounds.size:
            return False
        if sum(one.is_diarizing for one in going) >= DIARIZING_AT_ONCE:
            return False
        if fill_batches([one.left_s for one in going if not one.is_diarizing], shared):
            return False
        # more than one are a gain, not a need: it must not cost the job where the disk is nearly full
        return shutil.disk_usage(self._settings.scratch).free > room_bytes(self._settings.max_audio_s)

    def _emit(self, event: JobEvent) -> None:
        self._emitted.append(event)
        self._emitted_at = time.monotonic()

    def _after_step(self) -> None:
        """Look for a cancel; where no event came for long, send a sign of life. None while a round of the decoder's own
        thread lasts that long itself: on a GPU that hangs it would last for ever, and nobody but this thread would say
        anything about it."""
        self._check()
        hangs = self._decoder is not None and self._decoder.round_s >= HEARTBEAT_S
        if not hangs and time.monotonic() - self._emitted_at >= HEARTBEAT_S:
            self._emit(Alive(self._task.job_id, self._task.attempt))

    def _check(self) -> None:
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "the job was canceled")
