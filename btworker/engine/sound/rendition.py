"""A recording's sound for players: one mono M4A file, and its peaks. Runs in the child.

Both are made of the decoded samples, and so on the recording's own clock: beginnings that are late, gaps and ranges are
where the transcript has them, whatever the container's time stamps are. ffmpeg reads the samples from a pipe and knows
no file but the one that it writes.
"""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from btworker.checkpoints.hashing import file_sha256
from btworker.durable import publish, write_durably
from btworker.engine.sound import process
from btworker.engine.sound.ffmpeg import POLL_S, Audio
from btworker.engine.sound.ffmpeg_log import BoundedLog
from btworker.engine.sound.files import DISK_RESERVE_BYTES
from btworker.engine.sound.layout import Stretch, sample_at
from btworker.engine.sound.peaks import SAMPLES_PER_PEAK, Peaks
from btworker.engine.sound.recording import Samples, samples_of
from btworker.ffmpeg import SAMPLE_RATE, encode_command, find_ffmpeg
from btworker.logs import get_logger
from btworker.renditions import Rendition, RenditionFiles, StoredPart, bytes_per_second

log = get_logger()
BLOCK = 10 * SAMPLES_PER_PEAK[-1]
"""Samples that are encoded at once: 20 s."""
WRITE_BYTES = 2**16
LOGGED_CHARS = 300
STALL_S = 60.0
"""Seconds in which ffmpeg takes no sample, or comes to no end, after which it is given up."""


class NoRenditionError(Exception):
    """Nothing can be played back, and why, as a sentence."""


class _CanceledError(Exception):
    """Nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a recording is encoded for players."""

    target: RenditionFiles
    kbit_s: int
    canceled: Callable[[], bool]

    def run(self, audio: Audio) -> Rendition | None:
        """Make both files, durably, each in place at once; None where nobody wants them any more. Raises
        NoRenditionError."""
        part = self.target.part
        try:
            self.target.folder.mkdir(exist_ok=True, mode=0o750)
            peaks = self._encode(audio, part)
            stored = StoredPart(part.stat().st_size, file_sha256(part))
            publish(part, self.target.audio)
            data = peaks.to_bytes()
            peaks_stored = StoredPart(len(data), write_durably(part, data))
            publish(part, self.target.peaks)
        except OSError as error:
            raise NoRenditionError((error.strerror or str(error)).lower()) from error
        except _CanceledError:
            return None
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return Rendition(self.target.index, stored, peaks_stored)

    def _encode(self, audio: Audio, part: Path) -> Peaks:
        ffmpeg = find_ffmpeg()
        if ffmpeg is None:
            raise NoRenditionError("there is no ffmpeg")
        most_bytes = 2**20 + 2 * round(_length_s(audio) * bytes_per_second(self.kbit_s))
        if shutil.disk_usage(part.parent).free < most_bytes + DISK_RESERVE_BYTES:
            raise NoRenditionError("the worker's disk has no room")
        part.touch(mode=0o640)
        peaks, command = Peaks(), encode_command(ffmpeg, part, kbit_s=self.kbit_s)
        cpu_s = 60 + _length_s(audio) / 10
        program = process.start_writer(command, cpu_s=cpu_s, output=part, most_bytes=most_bytes)
        try:
            pump = _Pump(program, self.canceled)
            for block in blocks(audio):
                peaks.feed(block)
                pump.write(block.tobytes())
            pump.finish()
        finally:
            process.end(program)
        _sync(part)
        return peaks


class _Pump:
    """The pipes of one ffmpeg: samples go in, its log comes out."""

    def __init__(self, program: subprocess.Popen[bytes], canceled: Callable[[], bool]) -> None:
        assert program.stdin is not None  # noqa: S101 - both are pipes, see process.start_writer
        assert program.stderr is not None  # noqa: S101
        self._program = program
        self._stdin = program.stdin
        self._canceled = canceled
        self._samples, self._log_pipe = program.stdin.fileno(), program.stderr.fileno()
        self._log = BoundedLog()
        self._taken_at = time.monotonic()
        for pipe in (self._samples, self._log_pipe):
            os.set_blocking(pipe, False)

    def write(self, data: bytes) -> None:
        """Write samples. Raises _CanceledError, NoRenditionError."""
        rest = memoryview(data)
        while rest:
            if not self._wait([self._samples]):
                continue
            try:
                rest = rest[os.write(self._samples, rest[:WRITE_BYTES]) :]
            except BrokenPipeError:
                self.finish()
                raise NoRenditionError("ffmpeg ended early") from None
            self._taken_at = time.monotonic()

    def finish(self) -> None:
        """Wait for ffmpeg's end. Raises _CanceledError, and NoRenditionError where that is no good one: before 6.0, its
        status is 0 where only the end of the file could not be written, without which nobody plays it."""
        self._stdin.close()
        while self._program.poll() is None:
            self._wait([])
        self._read_log()
        if self._program.returncode or self._log.text.strip():
            log.warning("encoding_failed", status=self._program.returncode, error=self._log.text[-LOGGED_CHARS:])
            raise NoRenditionError("ffmpeg did not encode it")

    def _wait(self, writers: list[int]) -> bool:
        """Wait until ffmpeg takes samples, writes to its log, or ends; returns whether it takes some."""
        if self._canceled():
            raise _CanceledError
        if time.monotonic() - self._taken_at > STALL_S:
            raise NoRenditionError(f"ffmpeg stood still for {STALL_S:g} s")
        has_written, takes, _ = select.select([self._log_pipe], writers, [], POLL_S)
        if has_written and not self._read_log():
            time.sleep(POLL_S / 10)  # it has closed its log, and is about to end
        return bool(takes)

    def _read_log(self) -> bool:
        """Read what ffmpeg wrote about its work; False at the log's end."""
        with suppress(BlockingIOError):
            while data := os.read(self._log_pipe, WRITE_BYTES):
                self._log.add(data)
            return False
        return True


def blocks(audio: Audio) -> Iterator[Samples]:
    """Yield all samples from the recording's beginning on, its channels as one, with silence where none are wanted; all
    blocks but the last one have the same length."""
    rest = np.empty(0, np.int16)
    for piece in _pieces(audio):
        rest = piece if not len(rest) else np.concatenate((rest, piece))
        while len(rest) >= BLOCK:
            yield rest[:BLOCK]
            rest = rest[BLOCK:]
    if len(rest):
        yield rest


def _pieces(audio: Audio) -> Iterator[Samples]:
    position = 0
    for stretch in audio.stretches or (Stretch(0, audio.sample_count),):
        begin = sample_at(stretch.start_s)
        for start in range(position, begin, BLOCK):
            yield np.zeros(min(BLOCK, begin - start), np.int16)
        for offset in range(0, stretch.count, BLOCK):
            yield _mixed(audio, stretch.first + offset, min(BLOCK, stretch.count - offset))
        position = begin + stretch.count


def _mixed(audio: Audio, first: int, count: int) -> Samples:
    """Take samples of the mix, or the mean of all channels that have sound of their own."""
    paths = [channel.path for channel in audio.channels if channel.is_own] or [audio.path]
    channels = [samples_of(path, count, first=first) for path in paths]
    if len(channels) == 1:
        return channels[0]
    mean: Samples = np.asarray(channels).mean(axis=0, dtype=np.float32).astype(np.int16)
    return mean


def _length_s(audio: Audio) -> float:
    if not audio.stretches:
        return audio.duration_s
    return max(stretch.start_s + stretch.count / SAMPLE_RATE for stretch in audio.stretches)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
