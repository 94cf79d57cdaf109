"""One input of an attempt: its sound, its words, its speakers, as a piece of side_by_side()."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from btworker import __version__
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, Step, recognize, run_name
from btworker.engine.asr.spread.shares import Plan, Shares
from btworker.engine.asr.timeline import Window
from btworker.engine.asr.weights import Model
from btworker.engine.job.equipment import Equipment
from btworker.engine.job.events import EventFactory
from btworker.engine.job.results import StageClock, camel_case
from btworker.engine.job.speaker_stage import Named, SpeakerStage
from btworker.engine.quality.tidy import words_inside
from btworker.engine.sound.ffmpeg import DecodeProgress, Limits
from btworker.engine.sound.pool import GrowingSound
from btworker.engine.sound.recording import Recording
from btworker.jobs import Stage
from btworker.logs import get_logger
from btworker.messages import FileDone, JobEvent, RunTask, ShareOffered, WindowDone
from btworker.storage import JobFolder, scratch_file
from btworker.transcript import Transcript

log = get_logger()


@dataclass(frozen=True, slots=True)
class Shared:
    """What the inputs of one attempt have in common."""

    equipment: Equipment
    task: RunTask
    model: Model
    speakers: SpeakerStage
    clock: StageClock
    tell: Callable[[JobEvent], None]


class InputRun:
    """One input of an attempt, and how far it is."""

    def __init__(self, shared: Shared, index: int) -> None:
        self._shared = shared
        self._task = shared.task
        self._index = index
        self._source = shared.task.inputs[index]
        self._folder = JobFolder(shared.task.folder)
        self._tell = shared.tell
        self._events = EventFactory(shared.task)
        self._clock = StageClock()
        self._stage_now: str | None = None
        self._has_words = False
        """Whether windows are being decoded."""
        self._done_s = 0.0
        self._sound: GrowingSound | None = None
        """Its sound, between its beginning and its end."""

    @property
    def is_going(self) -> bool:
        """Whether the input has begun, and is not through."""
        return self._sound is not None

    @property
    def is_decoding(self) -> bool:
        """Whether ffmpeg is decoding it, or will be."""
        return self._sound is not None and not self._sound.is_whole

    @property
    def left_s(self) -> float:
        """Seconds of sound that are there and have no text."""
        return 0.0 if self._sound is None else max(self._sound.there_s - self._done_s, 0.0)

    async def run(self) -> Transcript:
        """Make the transcript of the file."""
        self._folder.windows_complete_mark(self._index).unlink(missing_ok=True)
        self._tell(self._events.progressed(Stage.INITIALIZING, self._index, 0.0, 0.0))
        with closing(self._decode()) as sound:
            self._sound = sound
            recognition = await self._recognize(sound)
            audio, named = sound.audio, Named(recognition.segments)
            for warning in audio.warnings:
                self._tell(self._events.warned_of(self._index, warning))
            if self._task.options.diarization_enabled:
                with self._stage("diarize"):
                    named = await self._shared.speakers.run(self._index, recognition.segments, audio)
            audio.discard()
        self._sound = None
        log.info("file_processed", **self._about())
        self._tell(FileDone(self._task.job_id, self._task.attempt, self._index))
        return Transcript(
            text=recognition.text,
            language=recognition.language,
            segments=named.segments,
            turns=named.turns,
            no_speakers=named.no_speakers,
            known_speakers=named.known,
            duration_s=audio.duration_s,
            missing_speech=recognition.missing_speech,
            provenance=self._provenance(),
        )

    def _decode(self) -> GrowingSound:
        settings = self._shared.equipment.spec.settings
        return self._shared.equipment.sounds.decode(
            self._folder.input(self._index),
            scratch_file(settings.scratch, self._task.job_id, self._index),
            limits=Limits(settings.max_audio_s, stall_s=settings.decode_stall_s),
            tell=self._sound_came,
            waiting=partial(self._stage, "decode"),
        )

    async def _recognize(self, sound: GrowingSound) -> Recognition:
        shared, options, sha256 = self._shared, self._task.options, self._source.sha256
        journal = Journal(self._folder.windows_of(self._index), run=run_name(shared.model, sha256, options))
        recording = Recording(sound, sha256)
        offer = partial(self._offer, sound, journal.run) if self._may_spread else None
        if offer is None:
            self._offer_nothing()
        with self._stage("transcribe"):
            recognition = await recognize(
                shared.model, recording, options, journal=journal, tell=self._window_done, offer=offer
            )
        self._done_s = sound.there_s
        self._folder.windows_complete_mark(self._index).touch()
        log.info("transcribe_finished", **self._about(), segmentCount=len(recognition.segments))
        self._warn_of_what_is_missing(recognition)
        return replace(recognition, segments=words_inside(recognition.segments))

    def _window_done(self, step: Step) -> None:
        self._done_s = step.seconds_done
        where = (step.seconds_done, step.seconds_total)
        if step.index is not None:
            self._tell(WindowDone(self._task.job_id, self._task.attempt, self._index, step.index, *where))
            return
        self._has_words = True
        size_mb = round(self._source.size_bytes / 2**20, 3)
        log.info("transcribe_started", **self._about(), durationSec=round(step.seconds_total, 3), sizeMB=size_mb)
        self._tell(self._events.progressed(Stage.TRANSCRIBING, self._index, *where))

    def _sound_came(self, step: DecodeProgress) -> None:
        """Tell how far ffmpeg is: as progress of its own at first, then beside that of the text."""
        stage, done_s = Stage.INITIALIZING, step.seconds_done
        if self._has_words:
            stage, done_s = Stage.TRANSCRIBING, self._done_s
        self._tell(self._events.progressed(stage, self._index, done_s, step.seconds_total))

    @property
    def _may_spread(self) -> bool:
        """Whether other processes of this machine may help. A job that may have killed its process gets no other."""
        spec = self._shared.equipment.spec
        return spec.settings.spread_s > 0 and spec.has_siblings and not self._task.alone

    def _offer(
        self, sound: GrowingSound, run: str, language: str, windows: tuple[Window, ...], begun: int
    ) -> Shares | None:
        """Offer a recording that is long enough to helpers."""
        audio = sound.audio
        if audio.duration_s < self._shared.equipment.spec.settings.spread_s:
            self._offer_nothing()
            return None
        plan = Plan(run, str(audio.path), audio.sample_count, language, windows)
        shares = Shares.offer(self._folder.shares(self._index), plan, begun=begun)
        self._tell(ShareOffered(self._task.job_id, self._task.attempt, self._index))
        return shares

    def _offer_nothing(self) -> None:
        """Make helpers of an earlier attempt stop."""
        shutil.rmtree(self._folder.shares(self._index), ignore_errors=True)

    def _warn_of_what_is_missing(self, recognition: Recognition) -> None:
        flagged = sum(one.hallucination is not None and one.hallucination.flagged for one in recognition.segments)
        if flagged:
            log.info("hallucination_detected", filename=self._source.filename, segmentCount=flagged)
        if missing := recognition.missing_speech:
            seconds = sum(end - start for start, end in missing)
            where = "1 place" if len(missing) == 1 else f"{len(missing)} places"
            warning = f"{seconds:.0f} s of speech in {where} gave no text; the transcript lists them as missing_speech"
            self._tell(self._events.warned_of(self._index, warning))

    def _about(self) -> dict[str, Any]:
        """Fields for log lines."""
        return {
            "filename": self._source.filename,
            "fileIndex": self._index,
            "totalFiles": len(self._task.inputs),
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Run a stage on this input's clock and on the job's. A stage inside another one interrupts it."""
        outer, self._stage_now = self._stage_now, name
        self._switch(outer, name)
        try:
            yield
        finally:
            self._switch(name, outer)
            self._stage_now = outer

    def _switch(self, old: str | None, new: str | None) -> None:
        for clock in (self._clock, self._shared.clock):
            if old is not None:
                clock.leave(old)
            if new is not None:
                clock.enter(new)

    def _provenance(self) -> tuple[tuple[str, Any], ...]:
        equipment, model = self._shared.equipment, self._shared.model
        device = equipment.spec.device
        return (
            ("model", model.name),
            ("modelSha256", model.sha256),
            ("alignmentHeads", model.alignment_heads.to_dict()),
            ("versions", {"btworker": __version__, **dict(equipment.versions)}),
            ("device", device.kind if device.name is None else f"{device.kind} ({device.name})"),
            ("options", camel_case(self._task.options)),
            ("attempt", self._task.attempt),
            ("timings", dict(self._clock.timings)),
        )
