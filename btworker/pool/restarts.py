"""When a worker's next child starts after one that was lost, and how many were. Bookkeeping of worker.py; parent."""

import asyncio
from collections import Counter
from collections.abc import Callable

from btworker.errors import ErrorCode, ErrorInfo
from btworker.logs import get_logger
from btworker.pool import Phase
from btworker.pool.backoff import Backoff
from btworker.pool.child_record import End, NextStart
from btworker.pool.limits import ChildLimits, quarantined
from btworker.specs import WorkerSpec

log = get_logger()


class Restarts:
    """The children that one worker lost. `start` starts the next one."""

    def __init__(self, spec: WorkerSpec, limits: ChildLimits, start: Callable[[], None]) -> None:
        self._spec = spec
        self._limits = limits
        self._start = start
        self._backoff = Backoff()
        self._counts: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """Pairs of a reason and how many were lost for it."""
        return tuple(self._counts.items())

    def count(self, end: End) -> None:
        """Count a child that was lost."""
        self._counts[end.restart_reason] += 1

    def worked(self) -> None:
        """A job was finished."""
        self._backoff.worked()

    def cancel(self) -> None:
        """Start no other child."""
        if self._timer is not None:
            self._timer.cancel()

    def later(self, end: End, problem: ErrorInfo | None) -> tuple[Phase, ErrorInfo | None]:
        """Start the next child after a pause; return the phase until then, and what is wrong. `problem` is what was."""
        delay_s = self._backoff.after_death(loaded=end.next_start is not NextStart.AFTER_FAILED_LOAD)
        phase = Phase.WAITING
        if end.next_start is NextStart.AFTER_QUARANTINE:
            delay_s, phase = self._limits.quarantine_s, Phase.QUARANTINED
            problem = quarantined(self._spec.device, self._limits, end.sentence)
            log.error("gpu_quarantined", worker=self._spec.index, message=problem.message)
        elif end.next_start is NextStart.AFTER_FAILED_LOAD and problem is None:
            problem = ErrorInfo(ErrorCode.WORKER_CRASHED, f"the worker process {end.sentence}")
        log.error("child_lost", worker=self._spec.index, message=f"a child {end.sentence}", restartInSeconds=delay_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._start)
        return phase, problem
