"""Any recording -> one 16 kHz mono s16le file in the scratch folder, by ffmpeg in a sandbox. Runs in the child.

Every later stage reads the file through a memory map: `Audio.samples`, or what is there of it while ffmpeg is at work
(pool.py). What ffmpeg is run with depends on what it finds in the file: so it is run again, where need be; and once for
each of several recordings one behind the other.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from btworker.engine.sound import verdict
from btworker.engine.sound.containers import Findings, examine
from btworker.engine.sound.ending import reaches_its_end
from btworker.engine.sound.ffmpeg import Audio, Budget, DecodeProgress, FfmpegRun, Limits
from btworker.engine.sound.ffmpeg_log import Report
from btworker.engine.sound.mix import mixes
from btworker.engine.sound.parts import parts_of, tags_inside
from btworker.engine.sound.reader import Reader
from btworker.engine.sound.sink import SampleSink
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, Clip, decode_command, find_ffmpeg
from btworker.logs import get_logger

log = get_logger()
T = TypeVar("T")
RETRY_AFTER_S = (1.0, 5.0)
"""Pauses before ffmpeg runs again where this machine cut it short: a moment, then time to free memory."""
FAULTS_OF_FILES = (ErrorCode.NO_AUDIO, ErrorCode.CORRUPT_AUDIO)
"""Errors of one recording, which leave the others of the same file."""


@dataclass(frozen=True, slots=True)
class Place:
    """Program that decodes, target of the samples, and what both may cost."""

    ffmpeg: Path
    out: IO[bytes]
    budget: Budget


@dataclass(frozen=True, slots=True)
class Plan:
    """Audio track that ffmpeg is to decode, and how its channels become one (mix.py)."""

    track: int = 0
    mix: str | None = None
    channels: int | None = None
    """Number of channels that are mixed; None where ffmpeg's own mix is taken."""


def plans(report: Report) -> Iterator[Plan]:
    """Yield all plans that may give sound of a file with these tracks, the best first."""
    for number, track in enumerate(report.audio):
        for mix in mixes(track):
            yield Plan(number, mix, track.channels if mix else None)


def decode(
    source: Path, target: Path, *, limits: Limits, canceled: Callable[[], bool]
) -> Generator[DecodeProgress, None, Audio]:
    """Decode `source` into the new file `target`; yields progress, returns the Audio.

    Raises BtworkerError: NO_AUDIO, CORRUPT_AUDIO, AUDIO_TOO_LONG, DISK_FULL, TIMEOUT, CANCELED, OUT_OF_MEMORY,
    PROCESSING_ERROR (no ffmpeg, or it ends early each time). The target is removed on every error, and when the
    generator is closed.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise BtworkerError(
            ErrorCode.PROCESSING_ERROR, "this worker has no ffmpeg; install it, or the Python package imageio-ffmpeg"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(target.unlink, missing_ok=True)
        with target.open("wb", buffering=0) as out:
            decoding = FileDecoding(source, Place(ffmpeg, out, Budget(limits, canceled)))
            yield from decoding.run()
        on_failure.pop_all()
    return Audio(target, decoding.sample_count, tuple(dict.fromkeys(decoding.warnings)))


class FileDecoding:
    """Decoding of one file: of its recordings one after the other, which are mostly one."""

    def __init__(self, source: Path, place: Place) -> None:
        self._source = source
        self._place = place
        self.sample_count = 0
        """Number of samples that are in the target."""
        self.warnings: list[str] = []
        """Sentences that the user has to know of the file."""

    def run(self) -> Generator[DecodeProgress, None, None]:
        """Decode all recordings. Raises the first one's error where none has sound."""
        errors: list[BtworkerError] = []
        parts = self._look(parts_of)
        for part in parts:
            findings = self._look(partial(examine, part=part))
            span = None if len(parts) == 1 else (part.start, part.end)
            clip = Clip(self._source, span, ignore_wav_length=findings.ignore_wav_length)
            decoding = PartDecoding(clip, findings, self._place, at=self.sample_count)
            try:
                run = yield from decoding.first_with_sound()
            except BtworkerError as error:
                if error.code not in FAULTS_OF_FILES:
                    raise
                errors.append(error)
                self.warnings.append(verdict.not_decoded(part, error))
            else:
                self.sample_count += run.sound.sample_count
                tags = (
                    self._look(partial(tags_inside, part=part))
                    if run.report.container == "mp3" and run.report.damaged
                    else 0
                )
                self.warnings += decoding.warnings(run, tags=tags)
        if not self.sample_count:
            raise errors[0]

    def _look(self, look: Callable[[Reader], T]) -> T:
        """Look into the file. Raises PROCESSING_ERROR where the disk does not give it."""
        try:
            with self._source.open("rb") as file:
                return look(Reader(file, self._place.budget.check_canceled))
        except OSError as error:
            raise verdict.cannot_read(error) from error


class PartDecoding:
    """Decoding of one recording: the runs of ffmpeg on it."""

    def __init__(self, clip: Clip, findings: Findings, place: Place, *, at: int) -> None:
        """Decode `clip` to the sample `at` of the target."""
        self._clip = clip
        self._findings = findings
        self._place = place
        self._at = at
        self._plan = Plan()

    def first_with_sound(self) -> Generator[DecodeProgress, None, FfmpegRun]:
        """Run ffmpeg with one plan after the other, until samples come out. Raises why none do."""
        run = yield from self._run(suits=lambda report: next(plans(report), Plan()) == Plan())
        ended = [] if run.is_unsuited else [run.report]
        further = [one for one in plans(run.report) if one != self._plan]
        while further and not run.sound.sample_count:
            self._plan = further.pop(0)
            run = yield from self._run()
            ended.append(run.report)
        if run.sound.sample_count == 0 or (run.report.guessed and run.report.damaged):
            raise verdict.why_nothing(ended[0], self._findings)
        return run

    def warnings(self, run: FfmpegRun, *, tags: int) -> Iterator[str]:
        """Yield what the user has to know of the recording."""
        report, sound = run.report, run.sound
        outcome = verdict.Outcome(
            report,
            decoded_s=sound.sample_count / SAMPLE_RATE,
            begins_s=self._at / SAMPLE_RATE,
            track=self._plan.track,
            gaps=sound.gaps,
            tags=tags,
            late_s=sound.late_s,
            silent_sum_s=sound.silent_sum_s,
        )
        cut_off = outcome.falls_short
        if cut_off and (report.other_tracks or len(report.audio) > 1):
            cut_off = not reaches_its_end(self._place.ffmpeg, self._clip, outcome.promised_s, track=self._plan.track)
        return verdict.warnings(outcome, self._findings, is_cut_off=cut_off)

    def _run(self, *, suits: Callable[[Report], bool] = lambda _: True) -> Generator[DecodeProgress, None, FfmpegRun]:
        """Run ffmpeg to the end of the recording, or until it is stopped as unsuited. Raises what hinders it.

        A run that this machine cut short is repeated, and writes the same bytes over those that others may be reading.
        """
        pauses_s, reached = iter(RETRY_AFTER_S), self._at
        command = decode_command(self._place.ffmpeg, self._clip, track=self._plan.track, mix=self._plan.mix)
        while True:
            run = FfmpegRun(command, self._clip.source, self._new_sink, self._place.budget, suits=suits)
            with contextlib.closing(run.steps()) as steps:
                for step in steps:
                    reached = max(reached, step.sample_count)
                    yield replace(step, sample_count=reached)
            fault = None if run.is_unsuited else self._fault(run)
            if fault is None:
                run.sound.finish()
                yield run.progress
                return run
            done_s = run.progress.seconds_done
            log.warning("ffmpeg_cut_short", status=run.status, decodedSec=done_s, error=fault.message)
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise fault
            self._place.budget.pause(pause_s)

    def _new_sink(self, report: Callable[[], Report]) -> SampleSink:
        return SampleSink(self._place.out, at=self._at, channels=self._plan.channels, report=report)

    def _fault(self, run: FfmpegRun) -> BtworkerError | None:
        report, has_sound, check = run.report, run.sound.has_sound, self._place.budget.check_canceled
        is_complete = run.sound.is_complete
        fault = verdict.machine_fault(run.status, report, has_sound=has_sound, is_complete=is_complete)
        return fault or verdict.disk_fault(self._clip.source, report, has_sound=has_sound, check=check)
