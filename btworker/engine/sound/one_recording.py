"""One recording of a file: the runs of ffmpeg that it needs. Runs in the child.

What ffmpeg is run with depends on what it finds in the file: so it is run again, where need be; and once for each track
where all of them are wanted.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from btworker.engine.sound import verdict
from btworker.engine.sound.containers import Findings
from btworker.engine.sound.ending import reaches_its_end
from btworker.engine.sound.ffmpeg import Budget, DecodeProgress, FfmpegRun
from btworker.engine.sound.ffmpeg_log import Report
from btworker.engine.sound.files import SoundFiles
from btworker.engine.sound.layout import Layout, Wanted, sample_at
from btworker.engine.sound.mix import mixes
from btworker.engine.sound.seeking import Anchors
from btworker.engine.sound.sink import SampleSink, Source
from btworker.errors import BtworkerError
from btworker.ffmpeg import SAMPLE_RATE, Clip, decode_command
from btworker.logs import get_logger

log = get_logger()
RETRY_AFTER_S = (1.0, 5.0)
"""Pauses before ffmpeg runs again where this machine cut it short: a moment, then time to free memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Program that decodes, target of the samples, and what both may cost."""

    ffmpeg: Path
    files: SoundFiles
    budget: Budget
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Plan:
    """Audio track that ffmpeg is to decode, and how its channels become one (mix.py)."""

    track: int = 0
    mix: str | None = None
    channels: int | None = None
    """Number of channels that are mixed; None where ffmpeg's own mix is taken."""
    first_file: int = 0
    """Number of the file that the track's first channel goes to, where each has its own."""


def plans(report: Report) -> Iterator[Plan]:
    """Yield all plans that may give sound of a file with these tracks, the best first."""
    for number, track in enumerate(report.audio):
        for mix in mixes(track):
            yield Plan(number, mix, track.channels if mix else None)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is decoded of one recording."""

    clip: Clip
    layout: Layout
    begin: int
    """Sample of the file's sound at which the recording begins."""
    anchors: Anchors | None = None
    """Where it may be entered; None: at its beginning alone."""

    def begun(self, plan: Plan) -> tuple[Clip, Source]:
        """Return where ffmpeg begins to read, and what it then gives."""
        anchor = None if self.anchors is None else self.anchors.of(plan.track)
        start = self.layout.ranges[0][0]
        clip, source = (self.clip, Source()) if anchor is None else anchor.entry(self.clip, start)
        return clip, replace(source, at=self.begin + source.at, mixed=plan.channels, first_file=plan.first_file)


class PartDecoding:
    """Decoding of one recording: the runs of ffmpeg on it."""

    def __init__(self, entry: Entry, findings: Findings, place: Place) -> None:
        self._entry = entry
        self._findings = findings
        self._place = place
        self._plan = Plan()

    def runs_with_sound(self) -> Generator[DecodeProgress, None, list[FfmpegRun]]:
        """Run ffmpeg until samples come out: one run, or one for each track where channels are separate. Raises why
        none do, but for a recording that may end before what is wanted of it."""
        runs = yield from (self._each_track() if self._place.wanted.separate else self._best_track())
        sounding = [run for run in runs if run.sound.sample_count]
        report = (sounding or runs)[0].report
        if not sounding and self._entry.anchors is not None and report.opened and report.audio:
            return runs[:1]
        if not sounding or (report.guessed and report.damaged):
            raise verdict.why_nothing(runs[0].report, self._findings)
        return sounding

    def _best_track(self) -> Generator[DecodeProgress, None, list[FfmpegRun]]:
        """Run ffmpeg with one plan after the other; returns the runs, the one with sound last."""
        run = yield from self._run(suits=lambda report: next(plans(report), Plan()) == Plan())
        ended = [] if run.is_unsuited else [run]
        further = [one for one in plans(run.report) if one != self._plan]
        while further and not run.sound.sample_count:
            self._plan = further.pop(0)
            run = yield from self._run()
            ended.append(run)
        return ended

    def _each_track(self) -> Generator[DecodeProgress, None, list[FfmpegRun]]:
        """Run ffmpeg on one track after the other; the channels of each follow those of the one before."""
        runs = [(yield from self._run())]
        while len(runs) < len(runs[0].report.audio):
            sound = runs[-1].sound
            first_file = self._plan.first_file + (sound.channels if sound.sample_count else 0)
            self._plan = Plan(len(runs), first_file=first_file)
            runs.append((yield from self._run()))
        return runs

    def warnings(self, run: FfmpegRun, *, tags: int) -> Iterator[str]:
        """Yield what the user has to know of the recording."""
        report, sound, separate = run.report, run.sound, self._place.wanted.separate
        outcome = verdict.Outcome(
            report,
            decoded_s=(sound.position - self._entry.begin) / SAMPLE_RATE,
            begins_s=sound.at / SAMPLE_RATE,
            track=None if separate else self._plan.track,
            gaps=sound.gaps,
            tags=tags,
            late_s=sound.late_s,
            silent_sum_s=sound.silent_sum_s,
        )
        cut_off = outcome.falls_short and not sound.is_over
        if cut_off and (report.other_tracks or len(report.audio) > 1):
            track, clip = self._plan.track, self._entry.clip
            cut_off = not reaches_its_end(self._place.ffmpeg, clip, outcome.promised_s, track=track)
        return verdict.warnings(outcome, self._findings, is_cut_off=cut_off)

    def _run(self, *, suits: Callable[[Report], bool] = lambda _: True) -> Generator[DecodeProgress, None, FfmpegRun]:
        """Run ffmpeg to the end of what is wanted, or until it is stopped as unsuited. Raises what hinders it.

        A run that this machine cut short is repeated, and writes the same bytes over those that others may be reading.
        """
        pauses_s, reached = iter(RETRY_AFTER_S), self._entry.layout.place_of(self._entry.begin)
        separate, plan, begins_s = self._place.wanted.separate, self._plan, self._entry.begin / SAMPLE_RATE
        clip, source = self._entry.begun(plan)
        command = decode_command(self._place.ffmpeg, clip, track=plan.track, mix=plan.mix, separate=separate)
        while True:
            new_sink = partial(self._new_sink, source)
            run = FfmpegRun(command, clip.source, new_sink, self._place.budget, begins_s=begins_s, suits=suits)
            with contextlib.closing(run.steps()) as steps:
                for step in steps:
                    reached = max(reached, step.sample_count)
                    yield self._shown(step, reached)
            fault = None if run.is_unsuited else self._fault(run)
            if fault is None:
                run.sound.finish()
                yield self._shown(run.progress, run.progress.sample_count)
                return run
            done_s = run.progress.seconds_done
            log.warning("ffmpeg_cut_short", status=run.status, decodedSec=done_s, error=fault.message)
            pause_s = next(pauses_s, None)
            if pause_s is None:
                raise fault
            self._place.budget.pause(pause_s)

    def _shown(self, step: DecodeProgress, reached: int) -> DecodeProgress:
        """Make the progress of what is wanted of that of the recording."""
        wanted = self._place.wanted.layout.place_of(sample_at(step.seconds_total)) / SAMPLE_RATE
        return DecodeProgress(reached, wanted)

    def _new_sink(self, source: Source, report: Callable[[], Report]) -> SampleSink:
        return SampleSink(self._place.files, self._entry.layout, source, report=report)

    def _fault(self, run: FfmpegRun) -> BtworkerError | None:
        report, has_sound, check = run.report, run.sound.has_sound, self._place.budget.check_canceled
        is_complete = run.sound.is_complete
        fault = verdict.machine_fault(run.status, report, has_sound=has_sound, is_complete=is_complete)
        source = self._entry.clip.source
        return fault or verdict.disk_fault(source, report, has_sound=has_sound, check=check)
