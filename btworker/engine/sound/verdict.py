"""What ffmpeg's end means: is the sound whole, and where it is not, is that the file's doing or this machine's?

ffmpeg exits with 0 when a signal or a failing disk has cut its input short, and with an error where only the file is
to blame: neither its status nor its log says enough alone. Runs in the child.
"""

import os
import signal
from collections.abc import Callable, Iterator
from errno import EACCES, EAGAIN, EMFILE, ENFILE, ENOENT, ENOMEM
from pathlib import Path

from btworker.engine.sound.containers import Findings
from btworker.engine.sound.ffmpeg_log import Report
from btworker.errors import BtworkerError, ErrorCode

TOLERANCE = 0.02
"""Part of a header's duration that may be missing without a word; encoders pad, and round."""
CAME_TO_THE_END = frozenset({0, 69})
"""ffmpeg's status when it has read all that the file has; 69: most of that was damaged."""
NOT_STARTED = frozenset({123, 126, 127})
"""What shells, loaders and an ffmpeg that was told thrice to stop exit with; no file makes it do so."""
SHORTAGES = tuple(os.strerror(number) for number in (EAGAIN, EMFILE, ENFILE, EACCES, ENOENT))
NO_MEMORY = os.strerror(ENOMEM)
READ_BYTES = 2**22


def machine_fault(status: int, report: Report, *, has_sound: bool) -> BtworkerError | None:
    """Find why ffmpeg stopped before the end of its input; None where it did not, or the file is to blame.

    `status` is negative for the number of a signal.
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
    reason = _interruption(status, report, has_sound=has_sound)
    if reason is None:
        return None
    return BtworkerError(
        ErrorCode.PROCESSING_ERROR,
        f"ffmpeg {reason} before it came to the end of the recording; try again, or convert the file, to FLAC say",
    )


def _interruption(status: int, report: Report, *, has_sound: bool) -> str | None:
    """Find what stopped ffmpeg: the rest of the sentence "ffmpeg …"."""
    number = report.signal if report.signal is not None else -status
    if number > 0:
        return f"was stopped by {_signal_name(number)}"
    if not report.wrote or status in NOT_STARTED:
        return f"could not be started (status {status})"
    if not report.opened and report.reason(*SHORTAGES):
        return f"could not open the file ({report.reason(*SHORTAGES)})"
    if status not in CAME_TO_THE_END and (has_sound or report.reason(*SHORTAGES)):
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
    if report.opened and report.audio_tracks == 0:
        what = "has pictures but no sound" if report.video_tracks else "has no audio track"
        return BtworkerError(ErrorCode.NO_AUDIO, f"the file {what}; there is nothing to transcribe")
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
        ErrorCode.CORRUPT_AUDIO, "the file is not a recording in any format that ffmpeg knows, or it is damaged"
    )


def warnings(report: Report, findings: Findings, *, decoded_s: float) -> Iterator[str]:
    """Yield what the user has to know of a recording that could be decoded."""
    if report.audio_tracks > 1:
        yield f"the file has {report.audio_tracks} audio tracks; the first one was transcribed"
    promised_s = report.duration_s or 0.0
    if promised_s - decoded_s > max(1.0, TOLERANCE * promised_s):
        yield (
            f"the file may be cut off: its header promises {promised_s:.0f} s, "
            f"but only {decoded_s:.0f} s of sound could be decoded"
        )
    elif report.cut_off or report.read_failed or findings.cut_off:
        yield f"the file may be cut off: it ends early; {decoded_s:.0f} s of sound could be decoded"
    elif report.damaged:
        yield "parts of the file are damaged and were left out"
