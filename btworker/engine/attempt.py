"""One attempt at one job: all its inputs, then all its files, told as a generator of events.

Everything that a killed attempt left behind (scratch sound, half the outputs) is cleared away by the next.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from btworker import __version__
from btworker.engine.diarization.stage import SpeakerStage
from btworker.engine.results import StageClock, camel_case, write_outputs
from btworker.engine.telling import Teller, relay
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Stage
from btworker.logs import get_logger
from btworker.messages import Finished, JobEvent, ModelLoaded, RunTask, WindowDone
from btworker.storage import JobFolder, remove_scratch, scratch_file
from btworker.transcript import Transcript, Turn

if TYPE_CHECKING:
    from btworker.engine.asr.recognition import Recognition
    from btworker.engine.asr.weights import Model
    from btworker.engine.media import Audio
    from btworker.engine.pipeline import WhisperEngine

log = get_logger()
NO_TURNS: tuple[Turn, ...] = ()
NO_VAD = "vadEnabled has no effect on exact decoding, which hears the whole recording; ask for decode=fast"


class Attempt:
    """One attempt at one job."""

    def __init__(self, engine: "WhisperEngine", task: RunTask, canceled: Callable[[], bool]) -> None:
        self._engine = engine
        self._settings = engine.spec.settings
        self._task = task
        self._canceled = canceled
        self._folder = JobFolder(task.folder)
        self._clock = StageClock()
        self._tell = Teller(task)
        self._speakers = SpeakerStage(engine.diarizer, engine.diarization_error, task, canceled)

    def run(self) -> Iterator[JobEvent]:
        """All inputs, then all files, then Finished."""
        task = self._task
        remove_scratch(self._settings.scratch, task.job_id)
        with ExitStack() as cleanup:
            cleanup.callback(remove_scratch, self._settings.scratch, task.job_id)
            yield from self._say_what_is_missing()
            model = yield from self._borrow_model(cleanup)
            transcripts = []
            for index, source in enumerate(task.inputs):
                transcripts.append((yield from self._transcribe(model, index, source)))
                log.info("file_processed", filename=source.filename, fileIndex=index, totalFiles=len(task.inputs))
        with self._clock.stage("write"):
            outputs = write_outputs(self._folder, task.options, task.inputs, transcripts)
        durations_s = tuple(transcript.duration_s for transcript in transcripts)
        timings, broke = self._clock.timings, self._speakers.gpu_broke
        yield Finished(task.job_id, task.attempt, outputs, durations_s, timings, fatal=broke)

    def _say_what_is_missing(self) -> Iterator[JobEvent]:
        if self._task.options.vad_enabled and self._task.options.decode == "exact":
            yield self._tell.warned(NO_VAD)

    def _borrow_model(self, cleanup: ExitStack) -> Generator[JobEvent, None, "Model"]:
        """The job's model until the attempt ends, loaded in place of another one if need be."""
        task, name, models = self._task, self._task.options.model, self._engine.models
        if models.name == name:
            return cleanup.enter_context(models.lend(name, self._check))
        yield self._tell.progressed(Stage.LOADING_MODEL, 0, 0.0, 0.0)
        clock = StageClock()
        log.info("model_load_started", model=name)
        with clock.stage("loadModel"), self._clock.stage("loadModel"):
            model = cleanup.enter_context(models.lend(name, self._check))
        log.info("model_load_finished", model=name, seconds=round(clock.timings[0][1], 3))
        yield ModelLoaded(task.job_id, task.attempt, name, clock.timings[0][1])
        return model

    def _transcribe(self, model: "Model", index: int, source: Input) -> Generator[JobEvent, None, Transcript]:
        clock = StageClock()
        with clock.stage("decode"), self._clock.stage("decode"):
            audio = yield from self._decode(index)
        for warning in audio.warnings:
            yield self._tell.warned_of(index, warning)
        about = {"filename": source.filename, "fileIndex": index, "totalFiles": len(self._task.inputs)}
        duration_s = round(audio.duration_s, 3)
        log.info("transcribe_started", **about, durationSec=duration_s, sizeMB=round(source.size_bytes / 2**20, 3))
        with clock.stage("transcribe"), self._clock.stage("transcribe"):
            recognition = yield from self._recognize(model, index, source, audio)
        log.info("transcribe_finished", **about, segmentCount=len(recognition.segments))
        yield from self._say_what_is_doubtful(index, recognition)
        segments, turns = recognition.segments, NO_TURNS
        if self._task.options.diarization_enabled:
            with clock.stage("diarize"), self._clock.stage("diarize"):
                segments, turns = yield from self._speakers.tell(index, segments, audio)
        audio.discard()
        return Transcript(
            text=recognition.text,
            language=recognition.language,
            segments=segments,
            turns=turns,
            duration_s=audio.duration_s,
            missing_speech=recognition.missing_speech,
            provenance=self._provenance(model, clock),
        )

    def _say_what_is_doubtful(self, index: int, recognition: "Recognition") -> Iterator[JobEvent]:
        flagged = sum(one.hallucination is not None and one.hallucination.flagged for one in recognition.segments)
        if flagged:
            log.info("hallucination_detected", filename=self._task.inputs[index].filename, segmentCount=flagged)
        if missing := recognition.missing_speech:
            seconds = sum(end - start for start, end in missing)
            where = "1 place" if len(missing) == 1 else f"{len(missing)} places"
            yield self._tell.warned_of(
                index, f"{seconds:.0f} s of speech in {where} gave no text; the transcript lists them as missing_speech"
            )

    def _decode(self, index: int) -> Generator[JobEvent, None, "Audio"]:
        from btworker.engine.media import DecodeProgress, Limits, decode

        def event(progress: DecodeProgress) -> JobEvent:
            return self._tell.progressed(Stage.INITIALIZING, index, progress.seconds_done, progress.seconds_total)

        source = self._folder.input(index)
        target = scratch_file(self._settings.scratch, self._task.job_id, index)
        limits = Limits(self._settings.max_audio_s, stall_s=self._settings.decode_stall_s)
        return (yield from relay(decode(source, target, limits=limits, canceled=self._canceled), event))

    def _recognize(
        self, model: "Model", index: int, source: Input, audio: "Audio"
    ) -> Generator[JobEvent, None, "Recognition"]:
        from btworker.engine.asr.journal import Journal
        from btworker.engine.asr.recognition import Recording, Step, recognize, run_name

        task = self._task

        def event(step: Step) -> JobEvent:
            where = (step.seconds_done, step.seconds_total)
            if step.index is None:
                return self._tell.progressed(Stage.TRANSCRIBING, index, *where)
            return WindowDone(task.job_id, task.attempt, index, step.index, *where)

        recording = Recording(audio.samples, source.sha256)
        journal = Journal(self._folder.windows_of(index), run=run_name(model, recording, task.options))
        steps = recognize(model, recording, task.options, journal=journal, check=self._check)
        return (yield from relay(steps, event))

    def _check(self) -> None:
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled while the recording was transcribed")

    def _provenance(self, model: "Model", clock: StageClock) -> tuple[tuple[str, Any], ...]:
        device = self._engine.spec.device
        return (
            ("model", model.name),
            ("modelSha256", model.sha256),
            ("versions", {"btworker": __version__, **dict(self._engine.info.versions)}),
            ("device", device.kind if device.name is None else f"{device.kind} ({device.name})"),
            ("options", camel_case(self._task.options)),
            ("attempt", self._task.attempt),
            ("timings", dict(clock.timings)),
        )
