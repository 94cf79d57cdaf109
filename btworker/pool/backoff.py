"""How long a worker waits before it starts its next child. Pure."""

FIRST_DELAY_S = 0.1
"""After the first death: the cause is most often the job, not the box."""
LONGEST_CRASH_DELAY_S = 60.0
LOAD_DELAYS_S = (5.0, 15.0, 60.0, 300.0)
"""After a child that could not load: what it lacks (a model, a driver) rarely comes by itself."""


class Backoff:
    """Delays that grow with each death in a row, and start again after a job that was finished."""

    def __init__(self) -> None:
        self._crashes = 0
        self._failed_loads = 0

    def worked(self) -> None:
        """A job was finished."""
        self._crashes = self._failed_loads = 0

    def after_death(self, *, loaded: bool) -> float:
        """Seconds to wait now. `loaded`: the child had been ready."""
        if not loaded:
            self._failed_loads += 1
            return LOAD_DELAYS_S[min(self._failed_loads, len(LOAD_DELAYS_S)) - 1]
        self._failed_loads = 0
        self._crashes += 1
        return float(min(FIRST_DELAY_S * 2 ** (self._crashes - 1), LONGEST_CRASH_DELAY_S))
