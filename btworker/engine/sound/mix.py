"""Several channels -> one: the filter graphs of the mix, and the choice where the sum is silent. Runs in the child.

The sum is openai-whisper's own (`-ac 1`), which goes by the names of the channels. A voice that is in two of them with
opposite signs (a balanced line, a wire that was swapped) is not in it, so ffmpeg gives a difference of the channels
beside the sum, in the same run, and each block is taken from that where the sum is far weaker.
"""

from collections.abc import Iterator

import numpy as np

from btworker.engine.sound.ffmpeg_log import Track
from btworker.ffmpeg import SAMPLE_RATE

NAMED_CHANNELS = 8
"""Most channels that have names by which ffmpeg mixes them."""
MOST_CHANNELS = 64
"""Most channels that ffmpeg's pan filter takes."""
BLOCK = SAMPLE_RATE // 4
"""Samples that are taken together from the sum or from the difference: a syllable."""
WEAKER = 10.0
"""Ratio of the difference's power to the sum's from which the sum is silent: no two channels reach it by chance."""
LOUD, AUDIBLE = 10**-4.5, 10**-6.5
"""Power of a difference (of full scale: -45 and -65 dB) with which a voice begins, and with which it goes on."""
SUM_AND_DIFFERENCE = 2
"""Number of channels that come out of ffmpeg."""
BLOCK_BYTES = BLOCK * 2 * SUM_AND_DIFFERENCE


def mixes(track: Track) -> Iterator[str | None]:
    """Yield filter graphs for a track, from `[in]` to `[out]`, the best first; None: ffmpeg's own `-ac 1`."""
    count = track.channels
    if count is None or count < 2:
        yield None
        if count is None:
            yield f"[in]pan=mono|c0=c0,{_samples('mono')}[out]"
        return
    if count <= NAMED_CHANNELS and not track.is_ambisonic:
        known = "" if track.layout is None else f"aformat=channel_layouts={track.layout},"
        yield (
            "[in]asplit[a][b];"
            f"[a]{_samples('mono')}[sum];"
            f"[b]{known}pan=mono|c0={_weighted(_differing(count))},{_samples('mono')}[difference];"
            "[sum][difference]amerge[out]"
        )
    if count <= MOST_CHANNELS:
        even = "c0" if track.is_ambisonic else _weighted([1 / count] * count)
        yield f"[in]pan=stereo|c0={even}|c1={_weighted(_differing(count))},{_samples('stereo')}[out]"


def _samples(layout: str) -> str:
    return f"aformat=sample_rates={SAMPLE_RATE}:sample_fmts=s16:channel_layouts={layout}"


def _differing(count: int) -> list[float]:
    """Compute a weight for each channel: all differ, neighbours have opposite signs, their sizes add up to 1."""
    pairs = (count + 1) // 2
    weights = [(-1) ** number * (1 - number // 2 / pairs / 2) for number in range(count)]
    return [weight / sum(map(abs, weights)) for weight in weights]


def _weighted(weights: list[float]) -> str:
    return "".join(f"{weight:+.6f}*c{number}" for number, weight in enumerate(weights)).removeprefix("+")


class Mixdown:
    """Choice of the sum, or of the difference where the sum is silent, block by block."""

    def __init__(self, channels: int) -> None:
        """Begin with the sum. The more `channels` the recording has, the weaker is one of them in both signals."""
        self._full_scale = (32768.0 * 2 / channels) ** 2
        self._rest = b""
        self._takes_difference = False
        self._blocks_of_difference = 0

    @property
    def silent_s(self) -> float:
        """Seconds in which the difference was taken."""
        return self._blocks_of_difference * BLOCK / SAMPLE_RATE

    def feed(self, data: bytes) -> bytes:
        """Choose samples from interleaved sums and differences, as far as blocks are complete."""
        self._rest += data
        whole = len(self._rest) // BLOCK_BYTES * BLOCK_BYTES
        ready, self._rest = self._rest[:whole], self._rest[whole:]
        return self._mixed(ready, BLOCK)

    def flush(self) -> bytes:
        """Choose the samples of the last block, which may be shorter."""
        last, self._rest = self._rest, b""
        return self._mixed(last, len(last) // 2 // SUM_AND_DIFFERENCE)

    def _mixed(self, data: bytes, block: int) -> bytes:
        if not data:
            return b""
        both = np.frombuffer(data, dtype="<i2").reshape(-1, block, SUM_AND_DIFFERENCE)
        power = (both.astype(np.float32) ** 2).mean(axis=1, dtype=np.float64) / self._full_scale
        taken = np.array([self._is_silent(*pair) for pair in power.tolist()])
        self._blocks_of_difference += int(taken.sum())
        return np.where(taken[:, None], both[:, :, 1], both[:, :, 0]).tobytes()

    def _is_silent(self, sum_power: float, difference_power: float) -> bool:
        """Whether the sum is silent in one more block, and the difference is not."""
        if difference_power < AUDIBLE:
            return False
        needed = AUDIBLE if self._takes_difference else LOUD
        self._takes_difference = sum_power * WEAKER < difference_power and difference_power >= needed
        return self._takes_difference
