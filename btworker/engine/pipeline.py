"""The engine that a child loads by name: media -> speech -> transcript -> files, one job at a time.

`load` looks around, `open` loads the default model, `run` is one attempt at a job: a generator of the events that
messages.py defines. torch and whisper are imported by `load` and not before, so that a broken stack is a sentence.
Everything that a killed attempt left behind (scratch sound, half the outputs) is cleared away by the next.
"""

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, TypeVar

from btworker import __version__
from btworker.engine.faults import translated
from btworker.engine.results import StageClock, camel_case, write_outputs
from btworker.engine.surroundings import Surroundings, look_around
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Stage
from btworker.logs import get_logger
from btworker.messages import (
    EngineInfo,
    Finished,
    JobEvent,
    ModelLoaded,
    Progressed,
    RunTask,
    Warned,
    WindowDone,
    WorkerSpec,
)
from btworker.storage import JobFolder, remove_scratch, scratch_file
from btworker.transcript import Transcript

if TYPE_CHECKING:
    from btworker.engine.asr.recognition import Recognition
    from btworker.engine.asr.weights import Model
    from btworker.engine.media import Audio

StepT = TypeVar("StepT")
ResultT = TypeVar("ResultT")

log = get_logger()
NO_SPEAKERS = "speakers are not told apart yet in this version: the transcript has none"
NO_VAD = "voice activity detection is not part of this version yet: the whole recording was transcribed"
NO_FAST_MODE = "fast decoding is not part of this version yet: the recording was decoded exactly"


def load(spec: WorkerSpec) -> "WhisperEngine":
    """The engine of one child. Cheap next to a model, and never fails: what is wrong is in its `info`."""
    return WhisperEngine(spec, look_around(spec.device))


class WhisperEngine:
    """One device, one loaded model at a time. Implements pool.engine_api.Engine."""

    def __init__(self, spec: WorkerSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        """What this child was told at spawn."""
        self._surroundings = surroundings
        self._model: Model | None = None
        self._model_error = "no model is loaded yet"

    @property
    def info(self) -> EngineInfo:
        """Versions, checks and capabilities."""
        return self._surroundings.info(model_error=self._model_error)

    @property
    def model(self) -> str:
        """The name of the loaded model, or nothing."""
        return self._model.name if self._model else ""

    def open(self) -> None:
        """Load the default model. Raises BtworkerError: GPU_ERROR, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
        blocker = self._surroundings.blocker
        if blocker:
            on_gpu = self.spec.device.kind == "cuda" and blocker == self._surroundings.errors.get("torch_cuda")
            raise BtworkerError(ErrorCode.GPU_ERROR if on_gpu else ErrorCode.MODEL_UNAVAILABLE, blocker)
        import torch

        from btworker.engine.asr.window_decoder import keep_compiled

        keep_compiled()
        if self.spec.settings.threads:
            torch.set_num_threads(self.spec.settings.threads)
        self._load(self.spec.settings.default_model)

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """One attempt at a job; see the protocol in pool/engine_api.py."""
        with translated():
            yield from _Attempt(self, task, canceled).run()

    def use(self, name: str) -> "Model":
        """The model of this name, loaded in place of another one if need be."""
        if self._model is None or self._model.name != name:
            self._load(name)
        assert self._model is not None  # noqa: S101 - _load raises, or sets it
        return self._model

    def _load(self, name: str) -> None:
        import torch

        from btworker.engine.asr.weights import load_model

        self._model = None  # before the next one comes: there may not be room for both
        gc.collect()
        if self.spec.device.kind == "cuda":
            torch.cuda.empty_cache()
        device = torch.device("cuda:0" if self.spec.device.kind == "cuda" else "cpu")
        try:
            with translated():
                self._model = load_model(name, self.spec.settings, device)
        except BtworkerError as error:
            self._model_error = error.message
            raise
        self._model_error = ""


class _Attempt:
    """One attempt at one job."""

    def __init__(self, engine: WhisperEngine, task: RunTask, canceled: Callable[[], bool]) -> None:
        self._engine = engine
        self._settings = engine.spec.settings
        self._task = task
        self._canceled = canceled
        self._folder = JobFolder(task.folder)
        self._clock = StageClock()

    def run(self) -> Iterator[JobEvent]:
        """All inputs, then all files, then Finished."""
        task = self._task
        remove_scratch(self._settings.scratch, task.job_id)
        with ExitStack() as cleanup:
            cleanup.callback(remove_scratch, self._settings.scratch, task.job_id)
            yield from self._say_what_is_missing()
            yield from self._use_model()
            transcripts = []
            for index, source in enumerate(task.inputs):
                transcripts.append((yield from self._transcribe(index, source)))
                log.info("file_processed", filename=source.filename, fileIndex=index, totalFiles=len(task.inputs))
        with self._clock.stage("write"):
            outputs = write_outputs(self._folder, task.options, task.inputs, transcripts)
        durations_s = tuple(transcript.duration_s for transcript in transcripts)
        yield Finished(task.job_id, task.attempt, outputs, durations_s, self._clock.timings)

    def _say_what_is_missing(self) -> Iterator[JobEvent]:
        wanted = {
            NO_SPEAKERS: self._task.options.diarization_enabled,
            NO_VAD: self._task.options.vad_enabled,
            NO_FAST_MODE: self._task.options.decode == "fast",
        }
        yield from (self._warned(sentence) for sentence, asked_for in wanted.items() if asked_for)

    def _use_model(self) -> Iterator[JobEvent]:
        task, name = self._task, self._task.options.model
        if self._engine.model == name:
            return
        yield self._progressed(Stage.LOADING_MODEL, 0, 0.0, 0.0)
        clock = StageClock()
        log.info("model_load_started", model=name)
        with clock.stage("loadModel"), self._clock.stage("loadModel"):
            self._engine.use(name)
        log.info("model_load_finished", model=name, seconds=round(clock.timings[0][1], 3))
        yield ModelLoaded(task.job_id, task.attempt, name, clock.timings[0][1])

    def _transcribe(self, index: int, source: Input) -> Generator[JobEvent, None, Transcript]:
        clock = StageClock()
        with clock.stage("decode"), self._clock.stage("decode"):
            audio = yield from self._decode(index)
        for warning in audio.warnings:
            yield self._warned(f"{source.filename}: {warning}" if len(self._task.inputs) > 1 else warning)
        about = {"filename": source.filename, "fileIndex": index, "totalFiles": len(self._task.inputs)}
        duration_s = round(audio.duration_s, 3)
        log.info("transcribe_started", **about, durationSec=duration_s, sizeMB=round(source.size_bytes / 2**20, 3))
        with clock.stage("transcribe"), self._clock.stage("transcribe"):
            recognition = yield from self._recognize(index, source, audio)
        log.info("transcribe_finished", **about, segmentCount=len(recognition.segments))
        audio.discard()
        return Transcript(
            text=recognition.text,
            language=recognition.language,
            segments=recognition.segments,
            duration_s=audio.duration_s,
            provenance=self._provenance(clock),
        )

    def _decode(self, index: int) -> Generator[JobEvent, None, "Audio"]:
        from btworker.engine.media import DecodeProgress, Limits, decode

        def event(progress: DecodeProgress) -> JobEvent:
            return self._progressed(Stage.INITIALIZING, index, progress.seconds_done, progress.seconds_total)

        source = self._folder.input(index)
        target = scratch_file(self._settings.scratch, self._task.job_id, index)
        limits = Limits(self._settings.max_audio_s, stall_s=self._settings.decode_stall_s)
        return (yield from relay(decode(source, target, limits=limits, canceled=self._canceled), event))

    def _recognize(self, index: int, source: Input, audio: "Audio") -> Generator[JobEvent, None, "Recognition"]:
        from btworker.engine.asr.journal import Journal
        from btworker.engine.asr.recognition import Recording, Step, recognize, run_name

        task, model = self._task, self._engine.use(self._task.options.model)

        def event(step: Step) -> JobEvent:
            where = (step.seconds_done, step.seconds_total)
            if step.index is None:
                return self._progressed(Stage.TRANSCRIBING, index, *where)
            return WindowDone(task.job_id, task.attempt, index, step.index, *where)

        recording = Recording(audio.samples, source.sha256)
        journal = Journal(self._folder.windows_of(index), run=run_name(model, recording, task.options))
        steps = recognize(model, recording, task.options, journal=journal, check=self._check)
        return (yield from relay(steps, event))

    def _check(self) -> None:
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled while the recording was transcribed")

    def _provenance(self, clock: StageClock) -> tuple[tuple[str, Any], ...]:
        model, device = self._engine.use(self._task.options.model), self._engine.spec.device
        return (
            ("model", model.name),
            ("modelSha256", model.sha256),
            ("versions", {"btworker": __version__, **dict(self._engine.info.versions)}),
            ("device", device.kind if device.name is None else f"{device.kind} ({device.name})"),
            ("options", camel_case(self._task.options)),
            ("attempt", self._task.attempt),
            ("timings", dict(clock.timings)),
        )

    def _progressed(self, stage: Stage, index: int, done_s: float, total_s: float) -> Progressed:
        return Progressed(self._task.job_id, self._task.attempt, stage, index, done_s, total_s)

    def _warned(self, sentence: str) -> Warned:
        return Warned(self._task.job_id, self._task.attempt, sentence)


def relay(
    steps: Generator[StepT, None, ResultT], event: Callable[[StepT], JobEvent]
) -> Generator[JobEvent, None, ResultT]:
    """The same generator, with its steps told as events."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: ResultT = end.value
                return result
            yield event(step)
