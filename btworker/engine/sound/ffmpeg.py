"""Any recording -> one 16 kHz mono s16le file in the scratch folder, by ffmpeg in a sandbox. Runs in the child.

Samples are counted as they come out of ffmpeg's pipe: no header is believed about their number, so that a small file
with a week of silence in it ends at the limit and never fills the disk. Every later stage reads the file through
a memory map: `Audio.samples`, or what is there of it while ffmpeg is at work (pool.py).
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from btworker.engine.sound.containers import Findings, examine
from btworker.engine.sound.ffmpeg_log import BoundedLog, Report, read_report
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, decode_command, find_ffmpeg

SANDBOX = Path(__file__).with_name("sandbox.py")
MEMORY_BYTES = 4 * 2**30
BYTES_PER_SECOND = 2 * SAMPLE_RATE
READ_BYTES = 2**20
POLL_S = 0.2
"""How soon a cancel is noticed while ffmpeg says nothing."""
REPORT_EVERY_S = 0.5
DISK_RESERVE_BYTES = 128 * 2**20
DISK_CHECK_BYTES = 16 * 2**20
TOLERANCE = 0.02
"""Part of a header's duration that may be missing without a word; encoders pad, and round."""


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

    Raises BtworkerError: NO_AUDIO, CORRUPT_AUDIO, AUDIO_TOO_LONG, DISK_FULL, TIMEOUT, CANCELED, PROCESSING_ERROR
    (no ffmpeg). The target is removed on every error, and when the generator is closed.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise BtworkerError(
            ErrorCode.PROCESSING_ERROR, "this worker has no ffmpeg; install it, or the Python package imageio-ffmpeg"
        )
    findings = examine(source)
    command = decode_command(ffmpeg, source, ignore_wav_length=findings.ignore_wav_length)
    target.parent.mkdir(parents=True, exist_ok=True)
    decoding = _Decoding(command, target, limits=limits, canceled=canceled)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(target.unlink, missing_ok=True)
        yield from decoding.run()
        audio = _judge(decoding, target, findings)
        on_failure.pop_all()
    return audio


class _Decoding:
    """One run of ffmpeg: its pipes, what came out of them, and the limits."""

    def __init__(self, command: list[str], target: Path, *, limits: Limits, canceled: Callable[[], bool]) -> None:
        self._command = command
        self._target = target
        self._limits = limits
        self._canceled = canceled
        self._bytes = 0
        self._checked_bytes = -DISK_CHECK_BYTES
        self._last_sample_at = time.monotonic()
        self.log = BoundedLog()

    @property
    def sample_count(self) -> int:
        """Whole samples written so far."""
        return self._bytes // 2

    def run(self) -> Generator[DecodeProgress, None, None]:
        """Run ffmpeg to its end, or kill it."""
        process = _start(self._command, self._limits)
        try:
            with self._target.open("wb", buffering=0) as out:
                yield from self._pump(process, out)
            process.wait(timeout=POLL_S * 50)
        finally:
            _end(process)

    def _pump(self, process: subprocess.Popen[bytes], out: IO[bytes]) -> Generator[DecodeProgress, None, None]:
        assert process.stdout is not None  # noqa: S101 - both are pipes, see _start
        assert process.stderr is not None  # noqa: S101
        deadline = time.monotonic() + self._limits.wall_s
        next_report = time.monotonic()
        with selectors.DefaultSelector() as pipes:
            pipes.register(process.stdout, selectors.EVENT_READ, lambda data: self._write(out, data))
            pipes.register(process.stderr, selectors.EVENT_READ, self.log.add)
            while pipes.get_map():
                for key, _ in pipes.select(POLL_S):
                    self._take(pipes, key)
                self._check(deadline)
                if time.monotonic() >= next_report:
                    next_report = time.monotonic() + REPORT_EVERY_S
                    yield self._progress()
        yield self._progress()

    def _take(self, pipes: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        data = os.read(key.fd, READ_BYTES)
        if data:
            key.data(data)
        else:
            pipes.unregister(key.fileobj)

    def _write(self, out: IO[bytes], data: bytes) -> None:
        if self._bytes - self._checked_bytes >= DISK_CHECK_BYTES:
            self._checked_bytes = self._bytes
            if shutil.disk_usage(self._target.parent).free < DISK_RESERVE_BYTES:
                raise _disk_full()
        self._bytes += len(data)
        self._last_sample_at = time.monotonic()
        while data:
            data = data[out.write(data) :]

    def _check(self, deadline: float) -> None:
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled while the recording was decoded")
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

    def _progress(self) -> DecodeProgress:
        done = self.sample_count / SAMPLE_RATE
        promised = read_report(self.log.text).duration_s or 0.0
        return DecodeProgress(self.sample_count, max(done, promised) if promised else 0.0)


def _judge(decoding: _Decoding, target: Path, findings: Findings) -> Audio:
    report = read_report(decoding.log.text)
    if decoding.sample_count == 0 or (report.guessed and report.damaged):
        raise _why_nothing(report, findings)
    warnings = tuple(_warnings(report, findings, decoding.sample_count / SAMPLE_RATE))
    return Audio(target, decoding.sample_count, warnings)


def _start(command: list[str], limits: Limits) -> subprocess.Popen[bytes]:
    restrict = [sys.executable, "-I", "-S", str(SANDBOX), str(os.getpid()), str(MEMORY_BYTES), str(int(limits.wall_s))]
    return subprocess.Popen(
        [*restrict, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"},
        start_new_session=True,
    )


def _end(process: subprocess.Popen[Any]) -> None:
    """Leave nothing of it: what still runs is killed, with its whole process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _disk_full() -> BtworkerError:
    return BtworkerError(
        ErrorCode.DISK_FULL, "the worker's disk has no room for the decoded sound (115 MB an hour); try again later"
    )


def _why_nothing(report: Report, findings: Findings) -> BtworkerError:
    """The reason why no sound came out, as the user can understand it."""
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


def _warnings(report: Report, findings: Findings, decoded_s: float) -> Generator[str, None, None]:
    if report.audio_tracks > 1:
        yield f"the file has {report.audio_tracks} audio tracks; the first one was transcribed"
    promised_s = report.duration_s or 0.0
    if promised_s - decoded_s > max(1.0, TOLERANCE * promised_s):
        yield (
            f"the file may be cut off: its header promises {promised_s:.0f} s, "
            f"but only {decoded_s:.0f} s of sound could be decoded"
        )
    elif report.cut_off or findings.cut_off:
        yield f"the file may be cut off: it ends early; {decoded_s:.0f} s of sound could be decoded"
    elif report.damaged:
        yield "parts of the file are damaged and were left out"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.3g} seconds"
