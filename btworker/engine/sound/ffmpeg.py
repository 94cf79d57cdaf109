"""One run of ffmpeg: what it writes goes to a file, what it may cost is bounded. Runs in the child.

Samples are counted as they come out of ffmpeg's pipe: no header is believed about their number, so that a small file
with a week of silence in it ends at the limit and never fills the disk.
"""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from btworker.engine.sound import process
from btworker.engine.sound.ffmpeg_log import BoundedLog, Report, read_report
from btworker.engine.sound.files import DISK_RESERVE_BYTES
from btworker.engine.sound.layout import Channel, Stretch
from btworker.engine.sound.sink import SampleSink
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE

BYTES_PER_SECOND = 2 * SAMPLE_RATE
READ_BYTES = 2**20
POLL_S = 0.2
"""Longest time until a cancel is noticed while ffmpeg writes nothing."""
REPORT_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """Costs that decoding one input may have."""

    max_audio_s: float
    stall_s: float = 120.0
    """Seconds without a sample: a disk that does not answer, an ffmpeg that hangs."""

    @property
    def wall_s(self) -> float:
        """Seconds for the whole decoding: even slow machines decode sound 20 times faster than it plays."""
        return 300 + self.max_audio_s / 10


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded input. Remove the file with `discard`."""

    path: Path
    sample_count: int
    """Number of samples of each channel."""
    warnings: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = ()
    """Channels of the recording, where each is by itself; the file of the first one is `path`."""
    stretches: tuple[Stretch, ...] = ()
    """Ranges of the recording that were decoded, where it was not all of it."""

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.sample_count / SAMPLE_RATE

    @property
    def samples(self) -> npt.NDArray[np.int16]:
        """All samples, memory-mapped; shape (sample_count,)."""
        return np.memmap(self.path, dtype="<i2", mode="r", shape=(self.sample_count,))

    def discard(self) -> None:
        """Remove the scratch files."""
        for path in {self.path, *(channel.path for channel in self.channels)}:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class DecodeProgress:
    """Samples decoded so far, which lie in the file; the total is the header's, 0 where it has none."""

    sample_count: int
    seconds_total: float

    @property
    def seconds_done(self) -> float:
        """Seconds decoded so far."""
        return self.sample_count / SAMPLE_RATE


def room_bytes(longest_s: float) -> int:
    """Free on the disk, this lets a recording of that length be decoded."""
    return int(longest_s * BYTES_PER_SECOND) + DISK_RESERVE_BYTES


class Budget:
    """Limits that all runs on one file share."""

    def __init__(self, limits: Limits, canceled: Callable[[], bool]) -> None:
        self.limits = limits
        self._canceled = canceled
        self._deadline = time.monotonic() + limits.wall_s

    def check_canceled(self) -> None:
        """Raise CANCELED where the job was."""
        if self._canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled while the recording was decoded")

    def check(self, sample_count: int, *, silent_s: float) -> None:
        """Raise AUDIO_TOO_LONG, TIMEOUT or CANCELED. `silent_s`: how long no sample has come."""
        self.check_canceled()
        limits = self.limits
        if sample_count > limits.max_audio_s * SAMPLE_RATE:
            raise BtworkerError(
                ErrorCode.AUDIO_TOO_LONG,
                f"the recording is longer than the {_hours(limits.max_audio_s)} that this worker takes, in which each "
                "channel counts that is transcribed by itself; split it, or have WORKER_MAX_AUDIO_HOURS raised",
            )
        if time.monotonic() > self._deadline:
            raise BtworkerError(ErrorCode.TIMEOUT, "decoding the recording took too long and was given up")
        if silent_s > limits.stall_s:
            message = f"decoding the recording stood still for {limits.stall_s:g} s and was given up"
            raise BtworkerError(ErrorCode.TIMEOUT, message)

    def pause(self, seconds: float) -> None:
        """Wait. Raises CANCELED."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check_canceled()
            time.sleep(POLL_S)


class FfmpegRun:
    """One run of ffmpeg: its pipes, and what came out of them."""

    def __init__(
        self,
        command: list[str],
        source: Path,
        new_sink: Callable[[Callable[[], Report]], SampleSink],
        budget: Budget,
        *,
        begins_s: float = 0.0,
        suits: Callable[[Report], bool] = lambda _: True,
    ) -> None:
        """Prepare a run, which may read `source`, a recording that begins at `begins_s` of the file's sound.

        `new_sink` gets a function that returns the report so far, and makes the sink of the samples. A run whose report
        `suits` refuses is stopped at its first sample, when the log has listed the tracks.
        """
        self._command = command
        self._source = source
        self._sink = new_sink(lambda: self.report)
        self._budget = budget
        self._begins_s = begins_s
        self._suits = suits
        self._last_sample_at = time.monotonic()
        self._log = BoundedLog()
        self._began = False
        self.is_unsuited = False
        """Whether the run was stopped before it left a sample."""
        self.status = 0
        """Exit status of ffmpeg once it has ended; the number of a signal is negative."""

    @property
    def sound(self) -> SampleSink:
        """Sound that came out so far."""
        return self._sink

    @property
    def report(self) -> Report:
        """Report of what ffmpeg has logged so far."""
        return read_report(self._log.text)

    @property
    def progress(self) -> DecodeProgress:
        """Progress of the run."""
        reached_s, promised_s = self._sink.position / SAMPLE_RATE, self.report.duration_s
        total_s = 0.0 if promised_s is None else max(reached_s, self._begins_s + promised_s)
        return DecodeProgress(self._sink.placed, total_s)

    def steps(self) -> Generator[DecodeProgress, None, None]:
        """Run ffmpeg to its end, or kill it. Raises TIMEOUT, and what the budget and the sink raise."""
        program = process.start(self._command, cpu_s=self._budget.limits.wall_s, source=self._source)
        try:
            yield from self._pump(program)
            if not (self.is_unsuited or self._sink.is_over):
                self.status = program.wait(timeout=process.EXIT_S)
        except subprocess.TimeoutExpired as error:
            raise BtworkerError(ErrorCode.TIMEOUT, "ffmpeg did not end after the recording was decoded") from error
        finally:
            process.end(program)

    def _pump(self, program: subprocess.Popen[bytes]) -> Generator[DecodeProgress, None, None]:
        assert program.stdout is not None  # noqa: S101 - both are pipes, see process.start
        assert program.stderr is not None  # noqa: S101
        log_pipe = program.stderr.fileno()
        os.set_blocking(log_pipe, False)
        next_report = time.monotonic()
        with selectors.DefaultSelector() as pipes:
            pipes.register(program.stdout, selectors.EVENT_READ, lambda data: self._take_sound(data, log_pipe))
            pipes.register(program.stderr, selectors.EVENT_READ, self._log.add)
            while pipes.get_map() and not (self.is_unsuited or self._sink.is_over):
                for key, _ in pipes.select(POLL_S):
                    self._take(pipes, key)
                silent_s = time.monotonic() - self._last_sample_at
                self._budget.check(self._sink.written, silent_s=silent_s)
                if time.monotonic() >= next_report:
                    next_report = time.monotonic() + REPORT_EVERY_S
                    yield self.progress

    def _take(self, pipes: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        try:
            data = os.read(key.fd, READ_BYTES)
        except BlockingIOError:  # the log, which was read meanwhile
            return
        if data:
            key.data(data)
        else:
            pipes.unregister(key.fileobj)

    def _take_sound(self, data: bytes, log_pipe: int) -> None:
        if not self._began:
            self._began = True
            self._read_log(log_pipe)
            self.is_unsuited = not self._suits(self.report)
        if not self.is_unsuited:
            self._last_sample_at = time.monotonic()
            self._sink.feed(data)

    def _read_log(self, log_pipe: int) -> None:
        """Read all that was written before the first sample: which tracks there are, and how long the file is."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(log_pipe, READ_BYTES):
                self._log.add(data)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds:.3g} seconds"
