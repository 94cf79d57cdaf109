"""How many cores a step of decoding takes: as few as make it nearly as soon as more, as it turns out on this machine.
Runs in the child; pure.

What a core more brings depends on the size of the model, on the rows and on the machine: of few rows BLAS may leave it
idle, or it may bring the memory's other half. So each number is tried on the first steps of each size.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

TRIALS = 3
"""Steps by each number of cores, of which the soonest counts: something else may disturb one."""
SLACK = 1.1
"""How much longer a step may take by fewer cores, which others then have."""


@dataclass(slots=True)
class _Tried:
    steps: int = 0
    soonest_s: float = float("inf")


class Trials:
    """What was tried so far."""

    def __init__(self) -> None:
        self._tried: defaultdict[tuple[int, int], _Tried] = defaultdict(_Tried)
        """By size (`_size`) and number of cores."""

    def choose(self, rows: int, most: int) -> int:
        """Choose how many cores the next step of so many rows takes, of `most`."""
        options = {cores: self._tried[_size(rows), cores] for cores in _numbers(most)}
        least_tried = min(options, key=lambda cores: options[cores].steps)
        if options[least_tried].steps < TRIALS:
            return least_tried
        soonest_s = min(tried.soonest_s for tried in options.values())
        return next(cores for cores, tried in options.items() if tried.soonest_s <= SLACK * soonest_s)

    def note(self, rows: int, cores: int, seconds: float) -> None:
        """Note how long a step took."""
        tried = self._tried[_size(rows), cores]
        tried.steps += 1
        tried.soonest_s = min(tried.soonest_s, seconds)


def _size(rows: int) -> int:
    """Find what a number of rows is tried as: as all up to its double."""
    return rows.bit_length()


def _numbers(most: int) -> Sequence[int]:
    """List the numbers of cores that are tried, the least first: powers of two, and all."""
    return [*(2**power for power in range((most - 1).bit_length())), most]
