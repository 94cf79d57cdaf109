"""The longest of what was observed in about the last minute. Pure.

A gauge that a scrape resets shows each of two Prometheus servers half of what happened; this one is the same for all.
"""

from collections.abc import Callable


class RecentMax:
    """The largest value of the last one to two `window_s` seconds. `clock` counts seconds, from anywhere."""

    def __init__(self, *, window_s: float, clock: Callable[[], float]) -> None:
        self._window_s = window_s
        self._clock = clock
        self._began = clock()
        self._current = 0.0
        self._previous = 0.0

    def observe(self, value: float) -> None:
        """Take one value, 0 or more."""
        self._turn()
        self._current = max(self._current, value)

    @property
    def value(self) -> float:
        """The largest value; 0 when there was none."""
        self._turn()
        return max(self._current, self._previous)

    def _turn(self) -> None:
        """Forget what is older than two windows."""
        windows = int((self._clock() - self._began) / self._window_s)
        if windows > 0:
            self._previous = self._current if windows == 1 else 0.0
            self._current = 0.0
            self._began += windows * self._window_s
