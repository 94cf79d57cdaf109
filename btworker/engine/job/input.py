"""One input of an attempt: its sound, its words, its speakers, as a piece of side_by_side()."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from btworker import __version__
from btworker.engine.asr.recognition import Recognition, Step
from btworker.engine.asr.vocabulary import count_shown
from btworker.engine.job.events import EventFactory
from btworker.engine.job.in_takes import InTakes
from btworker.engine.job.renditions import render_if_wanted
from btworker.engine.job.results import StageClock, Stages, camel_case
from btworker.engine.job.speaker_stage import Named
from btworker.engine.job.takes import Found, Take
from btworker.engine.job.text_run import Shared, TextRun
from btworker.engine.quality.tidy import words_inside
from btworker.engine.sound.ffmpeg import Audio, DecodeProgress, Limits
from btworker.engine.sound.layout import OPEN, Stretch, Wanted
from btworker.engine.sound.pool import GrowingSound
from btworker.job_folder import JobFolder, scratch_file
from btworker.jobs import Stage
from btworker.logs import get_logger
from btworker.messages import FileDone, WindowDone
from btworker.transcript import Missing, Transcript

log = get_logger()


class InputRun:
    """One input of an attempt, and how far it is."""

    def __init__(self, shared: Shared, index: int) -> None:
        self._shared = shared
        self._task = shared.task
        self._index = index
        self._source = shared.task.inputs[index]
        self._folder = JobFolder(shared.task.folder)
        self._emit = shared.emit
        self._events = EventFactory(shared.task)
        self._clock = StageClock()
        self._stages = Stages(self._clock, shared.clock)
        self._has_words = False
        """Whether windows are being decoded."""
        self._done_s = 0.0
        self._lines = 1
        """Number of channels that are transcribed by themselves."""
        self._sound: GrowingSound | None = None
        """Its sound, between its beginning and its end."""
        self.is_diarizing = False
        """Whether its text is there, and its speakers are not."""

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
        return 0.0 if self._sound is None else max(self._sound.there_s - self._done_s, 0.0) * self._lines

    async def run(self) -> Transcript:
        """Make the transcript of the file."""
        self._folder.windows_complete_mark(self._index).unlink(missing_ok=True)
        self._emit(self._events.progressed(Stage.INITIALIZING, self._index, 0.0, 0.0))
        with closing(self._decode()) as sound:
            self._sound = sound
            found = await (self._whole(sound) if self._wanted == Wanted() else self._in_takes(sound))
            if self._shared.equipment.spec.settings.rendition_kbit_s:
                with self._stages.stage("encode"):
                    await sound.through()
            sound.audio.discard()
        self._sound = None
        log.info("file_processed", **self._about())
        self._emit(FileDone(self._task.job_id, self._task.attempt, self._index))
        return replace(found, provenance=self._provenance())

    @property
    def _wanted(self) -> Wanted:
        options = self._task.options
        return Wanted(options.ranges, separate=options.channels == "separate")

    def _decode(self) -> GrowingSound:
        settings = self._shared.equipment.spec.settings
        return self._shared.equipment.sounds.decode(
            self._folder.input(self._index),
            scratch_file(settings.scratch, self._task.job_id, self._index),
            wanted=self._wanted,
            limits=Limits(settings.max_audio_s, stall_s=settings.decode_stall_s),
            emit=self._sound_came,
            waiting=partial(self._stages.stage, "decode"),
            then=partial(render_if_wanted, self._shared, self._index),
        )

    async def _whole(self, sound: GrowingSound) -> Transcript:
        """Transcribe all of the file's sound, while it comes in."""

        def take() -> Take:
            return Take(0, sound.audio.path, Stretch(0, sound.audio.sample_count))

        with self._stages.stage("transcribe"):
            text = TextRun(self._shared, self._index, take=take)
            recognition = await text.recognize(sound, emit=self._window_done)
        audio = sound.audio
        self._words_are_there(audio, recognition)
        named = Named(replace(recognition, segments=words_inside(recognition.segments)).segments)
        self._warn_of_the_sound(audio)
        if self._task.options.diarization_enabled:
            with self._diarizing():
                named = await self._shared.speakers.run(self._index, named.segments, audio)
        return Transcript(
            text=recognition.text,
            language=recognition.language,
            segments=named.segments,
            turns=named.turns,
            no_speakers=named.no_speakers,
            known_speakers=named.known,
            duration_s=audio.duration_s,
            missing_speech=tuple(Missing(start, end) for start, end in recognition.missing_speech),
        )

    async def _in_takes(self, sound: GrowingSound) -> Transcript:
        """Transcribe ranges and channels by themselves, once all sound is there."""
        with self._stages.stage("transcribe"):
            await sound.reach(OPEN)
            self._warn_of_the_sound(sound.audio)
            takes = InTakes(self._shared, self._index, sound.audio)
            self._lines = takes.lines
            found = await takes.recognize(emit=self._window_done)
        self._words_are_there(sound.audio, *found)
        if self._task.options.diarization_enabled:
            with self._diarizing():
                found = await takes.add_speakers(found)
        return takes.transcript(found)

    @contextmanager
    def _diarizing(self) -> Iterator[None]:
        self.is_diarizing = True
        try:
            with self._stages.stage("diarize"):
                yield
        finally:
            self.is_diarizing = False

    def _words_are_there(self, audio: Audio, *found: Recognition | Found) -> None:
        """Tell that all text is there, and what of it is doubtful or missing."""
        self._done_s = audio.duration_s
        self._folder.windows_complete_mark(self._index).touch()
        segments = [segment for one in found for segment in one.segments]
        log.info("transcribe_finished", **self._about(), segmentCount=len(segments))
        flagged = sum(one.hallucination is not None and one.hallucination.flagged for one in segments)
        if flagged:
            log.info("hallucination_detected", filename=self._source.filename, segmentCount=flagged)
        for one in found:
            channel = one.channel if isinstance(one, Found) else None
            self._warn_of_what_is_missing(one.missing_speech, "" if channel is None else f"channel {channel}: ")

    def _warn_of_what_is_missing(self, missing: Sequence[Sequence[float | None]], which: str) -> None:
        if missing:
            seconds = sum((end or 0.0) - (start or 0.0) for start, end, *_ in missing)
            where = "1 place" if len(missing) == 1 else f"{len(missing)} places"
            warning = f"{seconds:.0f} s of speech in {where} gave no text; the transcript lists them as missing_speech"
            self._emit(self._events.warned_of(self._index, which + warning))

    def _warn_of_the_sound(self, audio: Audio) -> None:
        for warning in audio.warnings:
            self._emit(self._events.warned_of(self._index, warning))

    def _window_done(self, step: Step) -> None:
        self._done_s = step.seconds_done
        where = (step.seconds_done, step.seconds_total)
        if step.index is not None:
            self._emit(WindowDone(self._task.job_id, self._task.attempt, self._index, step.index, *where))
            return
        if not self._has_words:
            self._has_words = True
            size_mb = round(self._source.size_bytes / 2**20, 3)
            log.info("transcribe_started", **self._about(), durationSec=round(step.seconds_total, 3), sizeMB=size_mb)
        self._emit(self._events.progressed(Stage.TRANSCRIBING, self._index, *where))

    def _sound_came(self, step: DecodeProgress) -> None:
        """Tell how far ffmpeg is: as progress of its own at first, then beside that of the text."""
        stage, done_s = Stage.INITIALIZING, step.seconds_done
        if self._has_words:
            stage, done_s = Stage.TRANSCRIBING, self._done_s
        self._emit(self._events.progressed(stage, self._index, done_s, step.seconds_total))

    def _about(self) -> dict[str, Any]:
        """Fields for log lines."""
        return {
            "filename": self._source.filename,
            "fileIndex": self._index,
            "totalFiles": len(self._task.inputs),
        }

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
            ("promptTokens", count_shown(self._task.options, model.tokens.tokenizer(), model.decoder.text_positions)),
            ("attempt", self._task.attempt),
            ("timings", dict(self._clock.timings)),
        )
