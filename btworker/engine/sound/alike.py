"""Which channels are silent, and which have the same sound: as many recorders write one microphone twice. Runs in the
child, when all channels are decoded."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from btworker.engine.sound.layout import Channel
from btworker.engine.sound.mix import AUDIBLE, BLOCK

SILENT_PEAK = 16
"""Largest sample of a silent channel: -66 dB."""
ALIKE = 1e-2
"""Power of the difference of two channels, beside the louder one's, below which they have the same sound if that holds
for each block: -20 dB. Of two voices that are in both channels, one that speaks alone is as loud in both, by 1 dB."""
AVERAGED = 8
"""Samples of which the mean is compared: below 1 kHz voices differ most, and above it lossy codecs put noise of its own
into each channel."""
CHUNK = 256 * BLOCK
"""Samples that are compared at a time: 64 s."""


def compared(paths: Sequence[Path], sample_count: int, check: Callable[[], None]) -> tuple[Channel, ...]:
    """Compare the files of all channels, to the first difference of each two. `check` is called often and may raise."""
    silent = set(range(len(paths)))
    alike = set(combinations(range(len(paths)), 2))
    for first in range(0, sample_count, CHUNK):
        if not silent and not alike:
            break
        check()
        needed = silent.union(*alike)
        chunks = {number: _chunk(paths[number], first, min(CHUNK, sample_count - first)) for number in needed}
        silent -= {number for number in silent if np.abs(chunks[number]).max() > SILENT_PEAK}
        alike -= {pair for pair in alike if _differ(chunks[pair[0]], chunks[pair[1]])}
    return tuple(_channel(number, path, silent, alike) for number, path in enumerate(paths))


def _channel(number: int, path: Path, silent: set[int], alike: set[tuple[int, int]]) -> Channel:
    earlier = [one for one, other in alike if other == number and one not in silent]
    same_as = min(earlier) + 1 if earlier and number not in silent else None
    return Channel(number + 1, path, is_silent=number in silent, same_as=same_as)


def _chunk(path: Path, first: int, count: int) -> npt.NDArray[np.float32]:
    samples = np.memmap(path, dtype="<i2", mode="r", offset=2 * first, shape=(count,))
    return np.array(samples, np.float32)


def _differ(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    """Whether two channels have another sound in any block."""
    difference, louder = _powers(one - other), np.maximum(_powers(one), _powers(other))
    return bool((difference > np.maximum(ALIKE * louder, AUDIBLE * 32768.0**2)).any())


def _powers(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Compute the power of each block."""
    padded = np.pad(samples, (0, -len(samples) % BLOCK))
    means = padded.reshape(-1, BLOCK // AVERAGED, AVERAGED).mean(axis=2, dtype=np.float64)
    powers: npt.NDArray[np.float64] = (means**2).mean(axis=1)
    return powers
