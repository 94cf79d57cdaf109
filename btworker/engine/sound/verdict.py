"""What ffmpeg's end means: is the sound whole, and where it is not, is that the file's doing or this machine's?

ffmpeg exits with 0 when a signal or a failing disk has cut its input short, and with an error where only the file is
to blame: neither its status nor its log is enough alone. Runs in the child.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from errno import EACCES, EAGAIN, EMFILE, ENFILE, ENOENT, ENOMEM
from pathlib import Path

from btworker.engine.sound.clock import Gap
from btworker.engine.sound.containers import Findings
from btworker.engine.sound.ending import tolerance_s
from btworker.engine.sound.ffmpeg_log import Report
from btworker.engine.sound.layout import Channel, Stretch
from btworker.engine.sound.mix import MOST_CHANNELS
from btworker.engine.sound.parts import Part
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE

CAME_TO_THE_END = frozenset({0, 69})
"""ffmpeg's status when it has read all that the file has; 69: most of that was damaged."""
NOT_STARTED = frozenset({123, 126, 127})
"""What shells, loaders and an ffmpeg that got three signals to stop exit with; no file makes it do so."""
SHORTAGES = tuple(os.strerror(number) for number in (EAGAIN, EMFILE, ENFILE, EACCES, ENOENT))
NO_MEMORY = os.strerror(ENOMEM)
READ_BYTES = 2**22
GAPS_S = 0.5
"""Total of the gaps below which they are lost packets that nobody misses."""
LEAST_GAP_S = 0.2
"""Length from which a gap counts: a clock that runs faster than the sound is followed in steps of 0.1 s."""
GAPS_LISTED = 5
"""Number of gaps of which a warning has place and length."""
SILENT_SUM_S = 1.0
"""Total of the seconds in which channels cancel, below which it is chance."""


def machine_fault(status: int, report: Report, *, has_sound: bool, is_complete: bool) -> BtworkerError | None:
    """Find why ffmpeg stopped before the end of its input; None where it did not, or the file is to blame.

    `status` is negative for the number of a signal; `is_complete`: ffmpeg marked the end of its samples.
    """
    if status == -signal.SIGKILL:
        return BtworkerError(
            ErrorCode.OUT_OF_MEMORY,
            "ffmpeg was killed while it decoded the recording, as happens when the machine has no memory left; "
            "try again later",
        )
    if report.opened and report.reason(NO_MEMORY):
        return BtworkerError(
            ErrorCode.OUT_OF_MEMORY, "ffmpeg ran out of memory while it decoded the recording; try again later"
        )
    reason = _interruption(status, report, has_sound=has_sound, is_complete=is_complete)
    if reason is None:
        return None
    return BtworkerError(
        ErrorCode.PROCESSING_ERROR,
        f"ffmpeg {reason} before it came to the end of the recording; try again, or convert the file, to FLAC say",
    )


def _interruption(status: int, report: Report, *, has_sound: bool, is_complete: bool) -> str | None:
    """Find what stopped ffmpeg: the rest of the sentence "ffmpeg …"."""
    number = report.signal if report.signal is not None else -status
    if number > 0:
        return f"was stopped by {_signal_name(number)}"
    if not report.wrote or status in NOT_STARTED:
        return f"could not be started (status {status})"
    if not report.opened and report.reason(*SHORTAGES):
        return f"could not open the file ({report.reason(*SHORTAGES)})"
    came_to_the_end = status in CAME_TO_THE_END and (is_complete or not has_sound)
    if not came_to_the_end and (has_sound or report.reason(*SHORTAGES)):
        return f"gave up (status {status})"
    return None


def _signal_name(number: int) -> str:
    known = {one.value for one in signal.Signals}
    return signal.Signals(number).name if number in known else f"signal {number}"


def disk_fault(source: Path, report: Report, *, has_sound: bool, check: Callable[[], None]) -> BtworkerError | None:
    """Find what keeps the disk from giving the file, where ffmpeg's log leaves room for it: ffmpeg takes a failed read
    for damage, or for the file's end. `check` is called often and may raise."""
    if has_sound and not (report.read_failed or report.damaged or report.cut_off):
        return None
    try:
        with source.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                check()
    except OSError as error:
        return cannot_read(error)
    return None


def cannot_read(error: OSError) -> BtworkerError:
    """Make the error of an upload that is there, and does not come off the disk."""
    reason = os.strerror(error.errno or 0)
    return BtworkerError(
        ErrorCode.PROCESSING_ERROR, f"the worker cannot read the file from its disk ({reason}); upload it again"
    )


def why_nothing(report: Report, findings: Findings) -> BtworkerError:
    """Find the reason why no sound came out, as the user can understand it."""
    if report.opened and not report.audio:
        what = "has pictures but no sound" if report.video_tracks else "has no audio track"
        return BtworkerError(ErrorCode.NO_AUDIO, f"the file {what}; there is nothing to transcribe")
    if any(track.channels and track.channels > MOST_CHANNELS for track in report.audio):
        return BtworkerError(
            ErrorCode.CORRUPT_AUDIO,
            f"the recording has more than the {MOST_CHANNELS} channels that ffmpeg can mix; save it with fewer",
        )
    if report.undecodable:
        return BtworkerError(
            ErrorCode.CORRUPT_AUDIO, "the sound is in a codec that ffmpeg cannot decode; convert it, to FLAC or MP3 say"
        )
    if report.cut_off or findings.cut_off:
        return BtworkerError(
            ErrorCode.CORRUPT_AUDIO, "the file is cut off: its index or its sound is missing; upload it again, whole"
        )
    if report.opened and not report.guessed:
        return BtworkerError(ErrorCode.CORRUPT_AUDIO, "the file's audio track is empty or damaged; no sound came out")
    return BtworkerError(
        ErrorCode.CORRUPT_AUDIO,
        "the file is not a recording in a format that is accepted here (docs/formats.md has the list), or it is "
        "damaged; convert it, to FLAC or MP3 say",
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of decoding one recording."""

    report: Report
    decoded_s: float
    begins_s: float = 0.0
    """Time at which the recording begins, among several in one file."""
    track: int | None = 0
    """Number of the audio track that was decoded, from 0; None where all of them are."""
    gaps: Sequence[Gap] = ()
    tags: int = 0
    """Number of tags amid an MP3, each of which looks like a damaged packet."""
    late_s: float = 0.0
    """Seconds of silence before the first sample."""
    silent_sum_s: float = 0.0
    """Seconds in which the channels cancel each other."""

    @property
    def promised_s(self) -> float:
        """Seconds from the first time stamp on that a header promises; 0 where none does."""
        report = self.report
        # some count from 0, whenever the first one is; and of ASF, ffmpeg adds a track's delay to the duration
        too_much_s = max(report.start_s, 0.0) + (self.late_s if report.container == "asf" else 0.0)
        return max((report.promised_s or 0.0) - too_much_s, 0.0)

    @property
    def falls_short(self) -> bool:
        """Whether the sound ends before the container promises to end."""
        return self.promised_s - self.decoded_s > tolerance_s(self.promised_s)


def warnings(outcome: Outcome, findings: Findings, *, is_cut_off: bool) -> Iterator[str]:
    """Yield what the user has to know of a recording that could be decoded."""
    report, decoded_s = outcome.report, outcome.decoded_s
    if len(report.audio) > 1 and outcome.track is not None:
        yield _which_track(len(report.audio), outcome.track)
    if is_cut_off:
        yield (
            f"the file may be cut off: its header promises {outcome.promised_s:.0f} s, "
            f"but only {decoded_s:.0f} s of sound could be decoded"
        )
    elif report.cut_off or report.read_failed or findings.cut_off:
        yield f"the file may be cut off: it ends early; {decoded_s:.0f} s of sound could be decoded"
    elif report.damaged_packets > outcome.tags:
        yield "parts of the file are damaged and were left out"
    gaps = [gap for gap in outcome.gaps if gap.length_s >= LEAST_GAP_S]
    if sum(gap.length_s for gap in gaps) >= GAPS_S:
        yield _where_gaps_are(gaps, begins_s=outcome.begins_s)
    if outcome.silent_sum_s >= SILENT_SUM_S:
        yield (
            f"for {outcome.silent_sum_s:.0f} s the recording's channels cancel each other, as with a swapped wire: "
            "their difference was transcribed there, and not their sum"
        )


def _which_track(count: int, track: int) -> str:
    if track == 0:
        return f"the file has {count} audio tracks; the first one was transcribed"
    return f"the file has {count} audio tracks; number {track + 1}, the first that ffmpeg can decode, was transcribed"


def _where_gaps_are(gaps: Sequence[Gap], *, begins_s: float) -> str:
    """Make the warning of gaps, with place and length of the first ones."""
    some = gaps[:GAPS_LISTED]
    places = [f"{gap.length_s:.1f} s from {begins_s + gap.start_s:.1f} s on" for gap in some]
    if len(gaps) > len(some):
        places.append(f"and {len(gaps) - len(some)} more")
    where = ", ".join(places)
    return (
        f"the recording has gaps in which it has no sound: {where}; the transcript's times are those of the recording"
    )


def not_decoded(part: Part, error: BtworkerError) -> str:
    """Make the warning of one of several recordings that gives no sound."""
    count = part.end - part.start
    return f"{count:,} bytes of the file, from byte {part.start:,} on, were not transcribed: {error.message}"


def same_channels(channels: Sequence[Channel]) -> Iterator[str]:
    """Yield the warnings of channels with the same sound."""
    for one in channels:
        if one.same_as is not None:
            yield (
                f"channel {one.number} has the same sound as channel {one.same_as}: "
                f"it was transcribed once, as channel {one.same_as}"
            )


def no_sound_in_range(start_s: float, length_s: float) -> BtworkerError:
    """Make the error of a range without sound: the recording ends before it, or the file before its header says."""
    if length_s > start_s:
        return BtworkerError(
            ErrorCode.CORRUPT_AUDIO,
            f"no sound could be decoded from {start_s:.1f} s on, though the file's header promises {length_s:.1f} s: "
            "it may be cut off; upload it again, whole",
        )
    length = f"is {length_s:.1f} s long" if length_s else "is shorter"
    return BtworkerError(
        ErrorCode.BAD_OPTION,
        f"the recording {length}: the range from {start_s:.1f} s on begins behind its end",
        param="ranges",
    )


def ends_early(end_s: float, stretch: Stretch) -> str:
    """Make the warning of a range that the recording ends in."""
    reached_s = stretch.start_s + stretch.count / SAMPLE_RATE
    return (
        f"the recording ends at {reached_s:.1f} s, before the range up to {end_s:.1f} s does; "
        "it was transcribed to its end"
    )
