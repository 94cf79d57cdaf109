"""ffmpeg's output -> 16 kHz samples in files, each at its time in the recording. Runs in the child."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from btworker.engine.sound.clock import Gap, MediaClock, Packet
from btworker.engine.sound.ffmpeg_log import Report
from btworker.engine.sound.files import SAMPLE_BYTES, SoundFiles
from btworker.engine.sound.layout import Layout
from btworker.engine.sound.mix import SUM_AND_DIFFERENCE, Mixdown
from btworker.engine.sound.packets import PacketReader
from btworker.errors import BtworkerError, ErrorCode

COUNTED = frozenset({"aac", "loas", "mp3", "ac3", "eac3", "dts"})
"""Raw streams, whose time stamps ffmpeg counts at the pace of the first packet: wrong where the rate changes."""
HALF = 2**31
"""Half of the milliseconds that a packet's 32 bits can count."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where in the recording the packets of one run begin, and what is made of their channels."""

    at: int = 0
    """Sample of the recording with which the run begins."""
    stamp_s: float | None = None
    """Time stamp of that sample; None: the file's first one."""
    mixed: int | None = None
    """Number of channels, where their sum and their difference come (mix.py); None: they come as they are."""
    first_file: int = 0
    """Number of the file that the first channel goes to."""


class SampleSink:
    """Sink of the samples of one run of ffmpeg: what the layout keeps of them goes to its place in the files.

    Samples of an earlier run are overwritten and never cut off: others may have them mapped.
    """

    def __init__(self, files: SoundFiles, layout: Layout, source: Source, *, report: Callable[[], Report]) -> None:
        """Begin where `source` says. `report` returns what ffmpeg has reported so far, which has the file's start and
        duration."""
        self.at = source.at
        self._files = files
        self._layout = layout
        self._source = source
        self._report = report
        self._reader = PacketReader()
        self._mixdown = Mixdown(source.mixed) if source.mixed else None
        self._ready: list[bytes] = []
        self.sample_count = 0
        """Number of samples that came, silence among them; of each channel."""
        self.has_sound = False
        """Whether a packet has come, though it may be held back."""

    @property
    def position(self) -> int:
        """Sample of the recording up to which it is decoded."""
        return self.at + self.sample_count

    @property
    def placed(self) -> int:
        """Number of samples that are in each of the files."""
        return self._layout.place_of(self.position)

    @property
    def written(self) -> int:
        """Number of samples that are in all files up to this run's."""
        return self.placed * (self._source.first_file + self.channels)

    @property
    def channels(self) -> int:
        """Number of channels that go to the files."""
        return 1 if self._mixdown else self._reader.channels

    @property
    def is_over(self) -> bool:
        """Whether nothing of what comes is wanted."""
        return self.position >= self._layout.end

    @property
    def is_complete(self) -> bool:
        """Whether ffmpeg's own mark at the end of its samples has come, or all that is wanted."""
        return self._reader.ended or self.is_over

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
        promised_s = report.duration_s
        if promised_s is not None and self._source.stamp_s is not None:
            promised_s = max(promised_s - (self._source.stamp_s - report.start_s), 0.0)
        return MediaClock(
            promised_s,
            channels=SUM_AND_DIFFERENCE if self._mixdown else self._reader.channels,
            is_counted=report.container in COUNTED,
            is_measured=report.promised_s is None,
        )

    @cached_property
    def _start_ms(self) -> int:
        """Return the time stamp at which the run's clock is 0: the first one of any track, unless another is known."""
        start_s = self._source.stamp_s
        return round((self._report().start_s if start_s is None else start_s) * 1000)

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
        self.sample_count += count

    def _write(self) -> None:
        data, self._ready = b"".join(self._ready), []
        frame, first_file = SAMPLE_BYTES * self.channels, self._source.first_file
        for offset, count, place in self._layout.kept(self.position, len(data) // frame):
            kept = data[offset * frame : (offset + count) * frame]
            self._files.write(kept, place, first=first_file, channels=self.channels)
        self.sample_count += len(data) // frame
