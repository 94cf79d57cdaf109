"""Where each packet lies in the recording, by the recording's own time stamps. Runs in the child.

Sound that begins after the picture, pauses of a recorder and lost packets become silence of their length, so that all
times are those of the recording. Nothing is ever dropped: where the stamps go back, as in recordings one behind the
other, or jump further than can be, the sound goes on where it is, and the clock is set anew.
"""

from collections import deque
from dataclasses import dataclass

from btworker.ffmpeg import SAMPLE_RATE

TOLERANCE_S = 0.1
"""Deviation of a stamp that moves nothing: stamps are rounded and jitter, and aresample=async=1 lets as much pass."""
CONFIRM_S = 2.0
"""Length of the sound after a jump in which the stamps have to go on from there: one damaged stamp is no gap."""
MOST_HELD = 500
"""Most packets that are held for that, however small."""
LONGEST_GAP_S = 3600.0
"""Longest jump that is a gap where no header has the whole duration; a longer one is another recording's clock."""
LONGEST_UNCONFIRMED_S = 10.0
"""Longest gap before the very last packet, where no header confirms it."""
PRIMING_S = 0.2
"""Sound before a first gap that an encoder needs to begin: what follows is late, and no gap."""
PROMISE_TOLERANCE = 0.02
"""Fraction of the container's duration by which a stamp may exceed that."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Stretch of the recording without sound, in seconds."""

    start_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class Packet:
    """Frames of `channels` 16-bit samples, after `silence` frames of zeros."""

    silence: int
    data: bytes


class MediaClock:
    """Clock of one stream, which places its packets."""

    def __init__(
        self, promised_s: float | None, *, channels: int = 1, is_counted: bool = False, is_measured: bool = False
    ) -> None:
        """Begin at 0. `promised_s` is the container's duration, where it has one.

        With `is_counted`, stamps count packets: they jump where some are damaged, but their pace means nothing. With
        `is_measured`, the duration is only the distance of the first and the last stamp.
        """
        self._promised_s = promised_s
        self._is_measured = is_measured
        self._is_counted = is_counted
        self._frame_bytes = 2 * channels
        self._position = 0
        self._base_s = 0.0
        """Stamp of the recording's beginning."""
        self._held: list[tuple[float, bytes]] = []
        """Packets after a jump that is not confirmed yet."""
        self._held_count = 0
        self._coming: deque[tuple[float, bytes]] = deque()
        """Packets that are to be placed next."""
        self._astray: tuple[float, int] | None = None
        """(seconds by which impossible stamps are ahead, sample since which they are)."""
        self.gaps: list[Gap] = []
        """Gaps found so far, without that before the sound begins."""
        self.late_s = 0.0
        """Length of the silence before the sound begins."""

    def place(self, time_s: float, data: bytes) -> list[Packet]:
        """Take in the samples with the stamp `time_s`; return the packets that can be placed by now."""
        placed: list[Packet] = []
        self._coming.append((time_s, data))
        while self._coming:
            placed += self._place(*self._coming.popleft())
        return placed

    def _place(self, time_s: float, data: bytes) -> list[Packet]:
        if self._held:
            return self._decide(time_s, data)
        ahead_s = self._ahead_s(time_s)
        if ahead_s > TOLERANCE_S and self._can_be(ahead_s, time_s):
            self._hold(time_s, data)
            return []
        is_pace = self._is_counted and abs(ahead_s) <= TOLERANCE_S
        self._set_anew(ahead_s, at_once=is_pace or not self._position)
        return [self._placed(data)]

    def finish(self) -> list[Packet]:
        """Place what is still held, at the end of the stream."""
        placed: list[Packet] = []
        while self._held or self._coming:
            placed += self._place(*self._coming.popleft()) if self._coming else self._judged()
        return placed

    def _ahead_s(self, time_s: float) -> float:
        return time_s - self._base_s - self._position / SAMPLE_RATE

    def _can_be(self, gap_s: float, end_s: float) -> bool:
        """Whether there may be a gap up to a stamp."""
        if self._promised_s is None:
            return gap_s <= LONGEST_GAP_S
        is_within = end_s <= self._promised_s * (1 + PROMISE_TOLERANCE) + 1
        return is_within and (gap_s <= LONGEST_GAP_S or not self._is_measured)

    def _set_anew(self, ahead_s: float, *, at_once: bool) -> None:
        """Follow stamps that are astray, once they go on from where they are."""
        if at_once:
            self._base_s += ahead_s
        elif abs(ahead_s) <= TOLERANCE_S:
            self._astray = None
        elif self._astray is None or abs(ahead_s - self._astray[0]) > TOLERANCE_S:
            self._astray = ahead_s, self._position
        elif self._position - self._astray[1] >= CONFIRM_S * SAMPLE_RATE:
            self._base_s += ahead_s
            self._astray = None

    def _hold(self, time_s: float, data: bytes) -> None:
        self._held.append((time_s, data))
        self._held_count += len(data) // self._frame_bytes

    def _decide(self, time_s: float, data: bytes) -> list[Packet]:
        """Confirm or reject the jump before the held packets, by the stamp of one more."""
        came_back = abs(self._ahead_s(time_s) - self._held_count / SAMPLE_RATE) <= TOLERANCE_S
        came_back |= time_s < self._held[0][0]
        confirmed = self._held_count >= CONFIRM_S * SAMPLE_RATE or len(self._held) >= MOST_HELD
        self._hold(time_s, data)
        if came_back:
            return self._without_gap()
        return self._judged() if confirmed else []

    def _judged(self) -> list[Packet]:
        return self._with_gap() if self._goes_on else self._without_gap()

    @property
    def _goes_on(self) -> bool:
        """Whether stamps advance with the sound: after one that was too large, ffmpeg repeats it for a while."""
        if len(self._held) < 2:
            has_promise = self._promised_s is not None and not self._is_measured
            return has_promise or self._ahead_s(self._held[0][0]) <= LONGEST_UNCONFIRMED_S
        last_count = len(self._held[-1][1]) // self._frame_bytes
        advanced_s = self._held[-1][0] - self._held[0][0]
        return advanced_s >= (self._held_count - last_count) / SAMPLE_RATE / 2

    def _without_gap(self) -> list[Packet]:
        return [self._placed(data) for _, data in self._released()]

    def _with_gap(self) -> list[Packet]:
        """Place the first of the held packets behind its gap, and let the others come anew: each later jump among them
        has to be confirmed as well."""
        (time_s, data), *others = self._released()
        self._coming.extendleft(reversed(others))
        return [self._placed(data, silence_s=self._ahead_s(time_s))]

    def _released(self) -> list[tuple[float, bytes]]:
        held, self._held, self._held_count = self._held, [], 0
        return held

    def _placed(self, data: bytes, *, silence_s: float = 0.0) -> Packet:
        silence = round(silence_s * SAMPLE_RATE)
        if silence and self._position >= PRIMING_S * SAMPLE_RATE:
            self.gaps.append(Gap(self._position / SAMPLE_RATE, silence / SAMPLE_RATE))
        elif silence:
            self.late_s = silence / SAMPLE_RATE
        self._position += silence + len(data) // self._frame_bytes
        return Packet(silence, data)
