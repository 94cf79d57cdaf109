"""One worker: a place for a child on a device, which outlives the children that take it. Runs in the parent's loop.

STARTING --Ready--> IDLE --RunTask--> BUSY --Finished|Failed--> IDLE
    |                 |                 |
    +---- Unready, death ---------------+--> WAITING --back-off--> STARTING
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from btworker.errors import FAILURE_REASONS, ErrorCode, ErrorInfo
from btworker.jobs import JobId
from btworker.logs import get_logger
from btworker.messages import (
    Cancel,
    ChildEvent,
    EngineInfo,
    Failed,
    Finished,
    ModelLoaded,
    Ready,
    RunTask,
    Unready,
    WorkerLost,
    WorkerSpec,
)
from btworker.pool import RESTART_REASONS, Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.backoff import Backoff
from btworker.pool.process import ChildProcess, Gone

log = get_logger()
CANCEL_GRACE_S = 4.0
"""Seconds that a child gets to stop a job by itself; then it is killed, so that a cancel takes 5 s at most."""
STOP_GRACE_S = 2.0
"""Seconds between the steps of the stop ladder."""


class Worker:
    """See the module's docstring. `emit` takes what the service should hear."""

    def __init__(self, spec: WorkerSpec, emit: Callable[[PoolEvent], None]) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.model = ""
        self.task: RunTask | None = None
        self._emit = emit
        self._child: ChildProcess | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._backoff = Backoff()
        self._timer: asyncio.TimerHandle | None = None
        self._info: EngineInfo | None = None
        self._problem: ErrorInfo | None = None
        self._restarts: Counter[str] = Counter()
        self._ends_for: ErrorCode | None = None
        self._last_progress_at: float | None = None
        self._stopping = False

    @property
    def state(self) -> WorkerState:
        """The worker as others see it."""
        return WorkerState(
            index=self.spec.index,
            device=self.spec.device,
            phase=self.phase,
            pid=None if self._child is None else self._child.pid,
            model=self.model,
            job_id=None if self.task is None else self.task.job_id,
            restarts=tuple(self._restarts.items()),
            last_progress_at=self._last_progress_at,
            info=self._info,
            problem=self._problem,
        )

    def start(self) -> None:
        """Spawn a child. Main thread only."""
        self._gone.clear()
        self._ends_for = None
        self.phase = Phase.STARTING
        self._child = ChildProcess(self.spec, self._on_event)
        log.info("child_started", worker=self.spec.index, childPid=self._child.pid, gpu=self.spec.device.label)

    def send(self, task: RunTask) -> None:
        """Give the idle child a task."""
        if self.phase is not Phase.IDLE or self._child is None:
            raise RuntimeError(f"worker {self.spec.index} is {self.phase.value}, not idle")
        self.task = task
        self.phase = Phase.BUSY
        self._last_progress_at = time.time()
        self._child.send(task)

    def cancel(self, job_id: JobId, reason: str) -> None:
        """Ask the child to stop its job, and kill it when it does not."""
        task, child = self.task, self._child
        if task is None or child is None or task.job_id != job_id:
            return
        child.cancel(Cancel(job_id, reason))
        asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._kill_if_still, task, child)

    async def stop(self) -> None:
        """End the child by the ladder, and start no other."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._child is not None:
            await self._child.stop(self._gone, grace_s=STOP_GRACE_S)
        self.phase = Phase.STOPPED

    def _kill_if_still(self, task: RunTask, child: ChildProcess) -> None:
        if self.task is task and self._child is child:
            log.warning("child_killed", worker=self.spec.index, workerJobId=task.job_id, reason="cancel took too long")
            self._ends_for = ErrorCode.CANCELED
            child.kill()

    def _on_event(self, event: "ChildEvent | Gone") -> None:
        match event:
            case Gone():
                self._on_gone(event)
            case Ready():
                self._on_ready(event)
            case Unready():
                self._problem, self._info = event.error, event.info
                self._ends_for = event.error.code
                log.error(
                    "child_unready", worker=self.spec.index, code=event.error.code.value, message=event.error.message
                )
            case _:
                self._on_job_event(event)

    def _on_ready(self, event: Ready) -> None:
        self.phase, self.model, self._info, self._problem = Phase.IDLE, event.model, event.info, None
        seconds = round(event.load_s, 2)
        log.info("child_ready", worker=self.spec.index, childPid=event.pid, model=event.model, seconds=seconds)
        self._emit(RoomChanged())

    def _on_job_event(self, event: ChildEvent) -> None:
        if isinstance(event, Ready | Unready):
            raise TypeError("handled before")
        self._last_progress_at = time.time()
        if isinstance(event, ModelLoaded):
            self.model = event.model
        ended = isinstance(event, Finished | Failed)
        if ended:
            self.task = None
            if isinstance(event, Failed) and event.fatal:
                self.phase, self._ends_for = Phase.STARTING, event.error.code
            else:
                self.phase = Phase.IDLE
            if isinstance(event, Finished):
                self._backoff.worked()
        self._emit(event)
        if ended:
            self._emit(RoomChanged())

    def _on_gone(self, event: Gone) -> None:
        was, task = self.phase, self.task
        self._child, self.task, self.phase, self.model = None, None, Phase.WAITING, ""
        self._gone.set()
        if self._stopping:
            return
        loaded = was is not Phase.STARTING
        if not loaded and self._problem is None:
            sentence = f"the worker process {event.sentence} while it loaded"
            self._problem = ErrorInfo(ErrorCode.WORKER_CRASHED, sentence)
        self._restarts[_restart_reason(self._ends_for)] += 1
        delay_s = self._backoff.after_death(loaded=loaded)
        log.error("child_lost", worker=self.spec.index, message=f"a child {event.sentence}", restartInSeconds=delay_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)
        if task is not None:
            self._emit(WorkerLost(task.job_id, task.attempt, event.sentence))


def _restart_reason(code: ErrorCode | None) -> str:
    """One of RESTART_REASONS, for what a child said before it went; None when it died without a word."""
    reason = FAILURE_REASONS.get(code or ErrorCode.WORKER_CRASHED, "internal")
    return reason if reason in RESTART_REASONS else "internal"
