"""ffmpeg's output -> 16 kHz mono samples in a file, each at its time in the recording. Runs in the child."""

import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO

from btworker.engine.sound.clock import Gap, MediaClock, Packet
from btworker.engine.sound.ffmpeg_log import Report
from btworker.engine.sound.mix import SUM_AND_DIFFERENCE, Mixdown
from btworker.engine.sound.packets import PacketReader
from btworker.errors import BtworkerError, ErrorCode

DISK_RESERVE_BYTES = 128 * 2**20
DISK_CHECK_BYTES = 16 * 2**20
SAMPLE_BYTES = 2
COUNTED = frozenset({"aac", "loas", "mp3", "ac3", "eac3", "dts"})
"""Raw streams, whose time stamps ffmpeg counts at the pace of the first packet: wrong where the rate changes."""
HALF = 2**31
"""Half of the milliseconds that a packet's 32 bits can count."""


class SampleSink:
    """Sink of the samples of one run of ffmpeg, from a place in the file on.

    Samples of an earlier run are overwritten and never cut off: others may have them mapped.
    """

    def __init__(self, out: IO[bytes], *, at: int, channels: int | None, report: Callable[[], Report]) -> None:
        """Begin at sample `at`. With `channels`, sums and differences of so many come (mix.py). `report` returns what
        ffmpeg has reported so far, which has the file's start and duration."""
        self.at = at
        self._out = out
        self._report = report
        self._reader = PacketReader()
        self._channels = SUM_AND_DIFFERENCE if channels else 1
        self._mixdown = Mixdown(channels) if channels else None
        self._ready: list[bytes] = []
        self._bytes = 0
        self._checked_bytes = -DISK_CHECK_BYTES
        self.has_sound = False
        """Whether a packet has come, though it may be held back."""
        out.seek(at * SAMPLE_BYTES)

    @property
    def sample_count(self) -> int:
        """Number of samples that are in the file, silence among them."""
        return self._bytes // SAMPLE_BYTES

    @property
    def is_complete(self) -> bool:
        """Whether ffmpeg's own mark at the end of its samples has come."""
        return self._reader.ended

    @property
    def gaps(self) -> list[Gap]:
        """Gaps of the recording."""
        return self._clock.gaps

    @property
    def late_s(self) -> float:
        """Seconds of silence before the first sample."""
        return self._clock.late_s

    @property
    def silent_sum_s(self) -> float:
        """Seconds in which the channels cancel each other."""
        return self._mixdown.silent_s if self._mixdown else 0.0

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of ffmpeg's output. Raises DISK_FULL; PROCESSING_ERROR where they are no samples."""
        try:
            for stamp_ms, samples in self._reader.feed(data):
                self.has_sound = True
                self._put(self._clock.place(self._since_start_s(stamp_ms), samples))
        except ValueError as error:
            raise BtworkerError(
                ErrorCode.PROCESSING_ERROR, f"ffmpeg did not write what it was asked for: {error}"
            ) from error
        self._write()

    def finish(self) -> None:
        """Write what was held back, when ffmpeg came to the end of its input. Raises DISK_FULL."""
        self._put(self._clock.finish())
        if self._mixdown:
            self._ready.append(self._mixdown.flush())
        self._write()

    @cached_property
    def _clock(self) -> MediaClock:
        report = self._report()
        return MediaClock(
            report.duration_s,
            channels=self._channels,
            is_counted=report.container in COUNTED,
            is_measured=report.promised_s is None,
        )

    @cached_property
    def _start_ms(self) -> int:
        """Return the first time stamp of any track."""
        return round(self._report().start_s * 1000)

    def _since_start_s(self, stamp_ms: int) -> float:
        return ((stamp_ms - self._start_ms + HALF) % (2 * HALF) - HALF) / 1000

    def _put(self, packets: list[Packet]) -> None:
        for packet in packets:
            if packet.silence:
                self._skip(packet.silence)
            self._ready.append(self._mixdown.feed(packet.data) if self._mixdown else packet.data)

    def _skip(self, count: int) -> None:
        """Leave a hole, which takes no room on the disk and reads as zeros."""
        if self._mixdown:
            self._ready.append(self._mixdown.flush())
        self._write()
        self._out.seek(count * SAMPLE_BYTES, os.SEEK_CUR)
        self._bytes += count * SAMPLE_BYTES

    def _write(self) -> None:
        data, self._ready = b"".join(self._ready), []
        if data and self._bytes - self._checked_bytes >= DISK_CHECK_BYTES:
            self._checked_bytes = self._bytes
            if shutil.disk_usage(Path(self._out.name).parent).free < DISK_RESERVE_BYTES:
                raise _disk_full()
        self._bytes += len(data)
        while data:
            data = data[self._out.write(data) :]


def _disk_full() -> BtworkerError:
    return BtworkerError(
        ErrorCode.DISK_FULL, "the worker's disk has no room for the decoded sound (115 MB an hour); try again later"
    )
