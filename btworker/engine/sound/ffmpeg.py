"""Any recording -> one 16 kHz mono s16le file in the scratch folder, by ffmpeg in a sandbox. Runs in the child.

Samples are counted as they come out of ffmpeg's pipe: no header is believed about their number, so that a small file
with a week of silence in it ends at the limit and never fills the disk. Every later stage reads the file through
a memory map: `Audio.samples`, or what is there of it while ffmpeg is at work (pool.py).
"""

import contextlib
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from btworker.engine.sound import process, verdict
from btworker.engine.sound.containers import examine
from btworker.engine.sound.ffmpeg_log import BoundedLog, Report, read_report
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, decode_command, find_ffmpeg
from btworker.logs import get_logger

log = get_logger()
BYTES_PER_SECOND = 2 * SAMPLE_RATE
READ_BYTES = 2**20
POLL_S = 0.2
"""How soon a cancel is noticed while ffmpeg says nothing."""
REPORT_EVERY_S = 0.5
DISK_RESERVE_BYTES = 128 * 2**20
DISK_CHECK_BYTES = 16 * 2**20
RETRY_AFTER_S = (1.0, 5.0)
"""Before ffmpeg is started anew where this machine cut it short: a moment, then a time in which memory may be freed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What decoding one input may cost."""

    max_audio_s: float
    stall_s: float = 120.0
    """Seconds without a sample: a disk that does not answer, an ffmpeg that hangs."""

    @property
    def wall_s(self) -> float:
        """Seconds for the whole decoding: even slow machines decode sound 20 times faster than it plays."""
        return 300 + self.max_audio_s / 10


@dataclass(frozen=True, slots=True)
class Audio:
    """One decoded input. Remove the file with `discard`."""

    path: Path
    sample_count: int
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.sample_count / SAMPLE_RATE

    @property
    def samples(self) -> npt.NDArray[np.int16]:
        """All samples, memory-mapped; shape (sample_count,)."""
        return np.memmap(self.path, dtype="<i2", mode="r", shape=(self.sample_count,))

    def discard(self) -> None:
        """Remove the scratch file."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class DecodeProgress:
    """Samples decoded so far, which lie in the file; the total is the header's word, 0 when it says nothing."""

    sample_count: int
    seconds_total: float

    @property
    def seconds_done(self) -> float:
        """Seconds decoded so far."""
        return self.sample_count / SAMPLE_RATE


def room_bytes(longest_s: float) -> int:
    """Free on the disk, this lets a recording of that length be decoded."""
    return int(longest_s * BYTES_PER_SECOND) + DISK_RESERVE_BYTES


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
    try:
        findings = examine(source)
    except OSError as error:
        raise verdict.cannot_read(error) from error
    command = decode_command(ffmpeg, source, ignore_wav_length=findings.ignore_wav_length)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(target.unlink, missing_ok=True)
        with target.open("wb", buffering=0) as out:
            run = yield from _run_to_the_end(lambda: FfmpegRun(command, out, limits, canceled), source)
        if run.sample_count == 0 or (run.report.guessed and run.report.damaged):
            raise verdict.why_nothing(run.report, findings)
        warnings = tuple(verdict.warnings(run.report, findings, decoded_s=run.sample_count / SAMPLE_RATE))
        on_failure.pop_all()
    return Audio(target, run.sample_count, warnings)


def _run_to_the_end(new_run: "Callable[[], FfmpegRun]", source: Path) -> "Generator[DecodeProgress, None, FfmpegRun]":
    """Run ffmpeg until it comes to the end of the file; raises what hinders it.

    A run that this machine cut short is repeated, and writes the same bytes over those that others may be reading.
    """
    pauses_s, reached = iter(RETRY_AFTER_S), 0
    while True:
        run = new_run()
        with contextlib.closing(run.steps()) as steps:
            for step in steps:
                reached = max(reached, step.sample_count)
                yield replace(step, sample_count=reached)
        has_sound = run.sample_count > 0
        fault = verdict.machine_fault(run.status, run.report, has_sound=has_sound)
        fault = fault or verdict.disk_fault(source, run.report, has_sound=has_sound, check=run.check_canceled)
        if fault is None:
            yield run.progress
            return run
        log.warning("ffmpeg_cut_short", status=run.status, decodedSec=run.progress.seconds_done, error=fault.message)
        pause_s = next(pauses_s, None)
        if pause_s is None:
            raise fault
        run.pause(pause_s)


class FfmpegRun:
    """One run of ffmpeg: its pipes, what came out of them, and the limits."""

    def __init__(self, command: list[str], out: IO[bytes], limits: Limits, canceled: Callable[[], bool]) -> None:
        self._command = command
        self._out = out
        self._limits = limits
        self._canceled = canceled
        self._bytes = 0
        self._checked_bytes = -DISK_CHECK_BYTES
        self._last_sample_at = time.monotonic()
        self._log = BoundedLog()
        self.status = 0
        """ffmpeg's exit status once it has ended; the number of a signal is negative."""

    @property
    def sample_count(self) -> int:
        """Whole samples written so far."""
        return self._bytes // 2

    @property
    def report(self) -> Report:
        """What ffmpeg told so far."""
        return read_report(self._log.text)

    @property
    def progress(self) -> DecodeProgress:
        """How far it is."""
        done, promised = self.sample_count / SAMPLE_RATE, self.report.duration_s or 0.0
        return DecodeProgress(self.sample_count, max(done, promised) if promised else 0.0)

    def steps(self) -> Generator[DecodeProgress, None, None]:
        """Run ffmpeg to its end, or kill it."""
        self._out.seek(0)
        program = process.start(self._command, cpu_s=self._limits.wall_s)
        try:
            yield from self._pump(program)
            self.status = program.wait(timeout=process.EXIT_S)
        except subprocess.TimeoutExpired as error:
            raise BtworkerError(ErrorCode.TIMEOUT, "ffmpeg did not end after the recording was decoded") from error
        finally:
            process.end(program)

    def pause(self, seconds: float) -> None:
        """Wait before the next run. Raises CANCELED."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check_canceled()
            time.sleep(POLL_S)

    def _pump(self, program: subprocess.Popen[bytes]) -> Generator[DecodeProgress, None, None]:
        assert program.stdout is not None  # noqa: S101 - both are pipes, see process.start
        assert program.stderr is not None  # noqa: S101
        deadline = time.monotonic() + self._limits.wall_s
        next_report = time.monotonic()
        with selectors.DefaultSelector() as pipes:
            pipes.register(program.stdout, selectors.EVENT_READ, self._write)
            pipes.register(program.stderr, selectors.EVENT_READ, self._log.add)
            while pipes.get_map():
                for key, _ in pipes.select(POLL_S):
                    self._take(pipes, key)
                self._check(deadline)
                if time.monotonic() >= next_report:
                    next_report = time.monotonic() + REPORT_EVERY_S
                    yield self.progress

    def _take(self, pipes: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        data = os.read(key.fd, READ_BYTES)
        if data:
            key.data(data)
        else:
            pipes.unregister(key.fileobj)

    def _write(self, data: bytes) -> None:
        if self._bytes - self._checked_bytes >= DISK_CHECK_BYTES:
            self._checked_bytes = self._bytes
            if shutil.disk_usage(Path(self._out.name).parent).free < DISK_RESERVE_BYTES:
                raise _disk_full()
        self._bytes += len(data)
        self._last_sample_at = time.monotonic()
        while data:
            data = data[self._out.write(data) :]

    def check_canceled(self) -> None:
        """Raise CANCELED where the job was."""
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled while the recording was decoded")

    def _check(self, deadline: float) -> None:
        self.check_canceled()
        if self._bytes > self._limits.max_audio_s * BYTES_PER_SECOND:
            raise BtworkerError(
                ErrorCode.AUDIO_TOO_LONG,
                f"the recording is longer than the {_hours(self._limits.max_audio_s)} that this worker takes; "
                "split it, or have WORKER_MAX_AUDIO_HOURS raised",
            )
        now = time.monotonic()
        if now > deadline:
            raise BtworkerError(ErrorCode.TIMEOUT, "decoding the recording took too long and was given up")
        if now - self._last_sample_at > self._limits.stall_s:
            message = f"decoding the recording stood still for {self._limits.stall_s:g} s and was given up"
            raise BtworkerError(ErrorCode.TIMEOUT, message)


def _disk_full() -> BtworkerError:
    return BtworkerError(
        ErrorCode.DISK_FULL, "the worker's disk has no room for the decoded sound (115 MB an hour); try again later"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.3g} seconds"
