"""What is made of ffmpeg's exit status and log, without running ffmpeg."""

import signal
from pathlib import Path

import pytest

from btworker.engine.sound.clock import Gap
from btworker.engine.sound.containers import Findings
from btworker.engine.sound.ffmpeg_log import read_report
from btworker.engine.sound.verdict import Outcome, disk_fault, machine_fault, warnings
from btworker.errors import ErrorCode

OPENED = "[info] Input #0, wav, from 'file:/x/0':\n[info]   Stream #0:0: Audio: pcm_s16le, 16000 Hz, mono, s16\n"
STOPPED = OPENED + "[info] Exiting normally, received signal 24.\n"
NO_READ_5 = OPENED + "[error] file:/x/0: Input/output error\n"
NO_READ_9 = OPENED + "[in#0/wav @ 0x55ab] [error] Error during demuxing: Input/output error\n"
NO_MEMORY = OPENED + "[error] file:/x/0: Cannot allocate memory\n"
TAGGED = OPENED + "[info]     title           : Cannot allocate memory\n"
HUGE_HEADER = "[wav @ 0x1] [error] Failed to read extradata of size 32720\n[error] file:/x/0: Cannot allocate memory\n"
NO_THREADS = OPENED + "[error] pthread_create() failed: Resource temporarily unavailable\n"
GONE = "[error] file:/x/0: No such file or directory\n"
GARBAGE = "[error] file:/x/0: Invalid data found when processing input\n"
DENIED = OPENED + "[fatal] Error opening output files: Operation not permitted\n"
"""From an FLV whose decoder does not open: ffmpeg 9 then exits with 255, as after a signal."""

M, P = ErrorCode.OUT_OF_MEMORY, ErrorCode.PROCESSING_ERROR


@pytest.mark.parametrize(
    ("status", "log", "has_sound", "code"),
    [
        (0, OPENED, True, None),
        (0, OPENED, False, None),
        (69, OPENED, True, None),
        (0, TAGGED, True, None),
        (1, GARBAGE, False, None),
        (183, GARBAGE, False, None),
        (187, GARBAGE, False, None),
        (244, HUGE_HEADER, False, None),
        (255, DENIED, False, None),
        (0, NO_READ_9, True, None),
        (-signal.SIGKILL, OPENED, True, M),
        (-signal.SIGKILL, "", False, M),
        (0, NO_MEMORY, True, M),
        (244, NO_MEMORY, False, M),
        (-signal.SIGSEGV, OPENED, True, P),
        (-signal.SIGXCPU, "", False, P),
        (-40, OPENED, True, P),
        (255, STOPPED, True, P),
        (69, STOPPED, True, P),
        (0, STOPPED, False, P),
        (123, OPENED, True, P),
        (127, "", False, P),
        (1, "Traceback (most recent call last):\n", False, P),
        (1, OPENED, True, P),
        (234, OPENED, True, P),
        (245, NO_THREADS, False, P),
        (254, GONE, False, P),
    ],
)  # fmt: skip
def test_the_file_or_the_machine(status: int, log: str, has_sound: bool, code: ErrorCode | None) -> None:
    """A file makes ffmpeg exit with some statuses and say some things; anything else is the machine's doing."""
    fault = machine_fault(status, read_report(log), has_sound=has_sound, is_complete=True)
    assert (fault and fault.code) == code


@pytest.mark.parametrize("log", [NO_READ_5, NO_READ_9], ids=["5.1", "9"])
def test_what_could_not_be_read_is_the_files_only_where_the_disk_gives_it(log: str, tmp_path: Path) -> None:
    """Some demuxers call the end of a file that is cut off an input/output error."""
    whole = tmp_path / "0"
    whole.write_bytes(bytes(100))
    report = read_report(log)
    assert disk_fault(whole, report, has_sound=True, check=lambda: None) is None
    assert "cut off" in next(warnings(Outcome(report, 3.0), Findings(), is_cut_off=False))
    fault = disk_fault(tmp_path, report, has_sound=True, check=lambda: None)  # a folder cannot be read, either
    assert fault is not None
    assert fault.code is P
    assert disk_fault(tmp_path, read_report(OPENED), has_sound=True, check=lambda: None) is None, "no need to look"


def test_gaps_are_named_and_a_clock_that_drifts_is_none() -> None:
    """The first five with place and length; steps of a tenth of a second are how a drift is followed."""
    report = read_report(OPENED)
    drift = [Gap(60.0 * n, 0.12) for n in range(100)]
    assert list(warnings(Outcome(report, 6000.0, gaps=drift), Findings(), is_cut_off=False)) == []
    gaps = [*drift, *(Gap(100.0 * n, 2.5) for n in range(1, 8))]
    (warning,) = warnings(Outcome(report, 6000.0, begins_s=30.0, gaps=gaps), Findings(), is_cut_off=False)
    assert "2.5 s from 130.0 s on" in warning
    assert "2.5 s from 530.0 s on, and 2 more" in warning
    assert "630.0" not in warning
