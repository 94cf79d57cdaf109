"""One worker: a place for a child on a device, which outlives the children that take it. Runs in the parent's loop.

STARTING --Ready--> IDLE --RunTask--> BUSY --Finished|Failed--> IDLE
    ^ |               |                 |
    | +-- Unready, death, silence ------+--> WAITING | QUARANTINED --time--> STARTING
    +---- worn out, between two jobs ---+
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from btworker.errors import FAILURE_REASONS, ErrorCode, ErrorInfo
from btworker.jobs import JobId, Stage
from btworker.logs import get_logger
from btworker.messages import (
    Cancel,
    ChildEvent,
    EngineInfo,
    Failed,
    Finished,
    ModelLoaded,
    Progressed,
    Ready,
    RunTask,
    Stop,
    Unready,
    WindowDone,
    WorkerLost,
    WorkerSpec,
)
from btworker.pool import RESTART_REASONS, Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.backoff import Backoff
from btworker.pool.limits import STRIKES, ChildLimits, Strikes
from btworker.pool.process import ChildProcess, Gone

log = get_logger()
CANCEL_GRACE_S = 4.0
"""Seconds that a child gets to stop a job by itself; then it is killed, so that a cancel takes 5 s at most."""
GPU_BROKE_LATE = "the GPU reported an error while speakers were told apart"
STOP_GRACE_S = 2.0
"""Seconds between the steps of the stop ladder."""


class Worker:
    """See the module's docstring. `emit` takes what the service should hear."""

    def __init__(self, spec: WorkerSpec, limits: ChildLimits, emit: Callable[[PoolEvent], None]) -> None:
        self.spec = spec
        self._limits = limits
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
        self._last_progress_at: float | None = None
        self._life = _Life()
        self._strikes = Strikes()
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
        self.phase = Phase.STARTING
        self._life = _Life()
        try:
            self._child = ChildProcess(self.spec, self._on_event)
        except OSError as error:  # no memory, processes or descriptors left: that may change
            self._gone.set()
            self._restarts["internal"] += 1
            self._start_later(f"could not be started: {error.strerror}", self._life)
            return
        log.info("child_started", worker=self.spec.index, childPid=self._child.pid, gpu=self.spec.device.label)

    def send(self, task: RunTask) -> None:
        """Give the idle child a task."""
        if self.phase is not Phase.IDLE or self._child is None:
            raise RuntimeError(f"worker {self.spec.index} is {self.phase.value}, not idle")
        self.task = task
        self.phase = Phase.BUSY
        self._life.stage = Stage.INITIALIZING
        self._heard()
        self._child.send(task)

    def cancel(self, job_id: JobId, reason: str) -> None:
        """Ask the child to stop its job, and kill it when it does not."""
        task, child = self.task, self._child
        if task is None or child is None or task.job_id != job_id:
            return
        child.cancel(Cancel(job_id, reason))
        asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._kill_if_still, task, child)

    def look(self) -> None:
        """Kill a child that has been silent for too long. Called again and again; a single late look kills nothing."""
        if self._child is None or self.phase not in (Phase.STARTING, Phase.BUSY) or self._stopping:
            return
        life = self._life
        limit_s = self._limits.silence_s(life.stage)
        if time.monotonic() - life.heard_at < limit_s:
            life.suspected = False
        elif not life.suspected:  # our own loop may have stood still: what was said meanwhile is heard before the next
            life.suspected = True
        elif not life.hung:
            doing = "loading" if life.stage is None else life.stage.value.replace("_", " ")
            life.ends_for = ErrorCode.TIMEOUT
            life.hung = f"was killed after {limit_s:g} s without a sign of life while {doing}"
            log.error("child_killed", worker=self.spec.index, childPid=self._child.pid, reason=f"it {life.hung}")
            self._child.kill()

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
            self._life.ends_for = ErrorCode.CANCELED
            child.kill()

    def _on_event(self, event: "ChildEvent | Gone") -> None:
        match event:
            case Gone():
                self._on_gone(event)
            case Ready():
                self._on_ready(event)
            case Unready():
                self._problem, self._info = event.error, event.info
                self._life.ends_for = event.error.code
                log.error(
                    "child_unready", worker=self.spec.index, code=event.error.code.value, message=event.error.message
                )
            case _:
                self._on_job_event(event)

    def _on_ready(self, event: Ready) -> None:
        self.phase, self.model, self._info, self._problem = Phase.IDLE, event.model, event.info, None
        self._life.loaded = True
        self._life.rss_bytes = 0 if self._child is None else self._child.rss_bytes()
        seconds = round(event.load_s, 2)
        log.info("child_ready", worker=self.spec.index, childPid=event.pid, model=event.model, seconds=seconds)
        self._emit(RoomChanged())

    def _on_job_event(self, event: ChildEvent) -> None:
        if isinstance(event, Ready | Unready):
            raise TypeError("handled before")
        self._heard()
        if isinstance(event, ModelLoaded):
            self.model = event.model
        elif isinstance(event, Progressed):
            self._life.stage = event.stage
        elif isinstance(event, WindowDone):
            self._life.stage = Stage.TRANSCRIBING
        if isinstance(event, Finished | Failed):
            self._on_end(event)
        self._emit(event)
        if self.phase is Phase.IDLE:
            self._emit(RoomChanged())

    def _on_end(self, event: Finished | Failed) -> None:
        self.task = None
        self._life.jobs += 1
        if event.fatal:  # the child ends by itself
            self.phase = Phase.STARTING
            self._life.ends_for = ErrorCode.GPU_ERROR
            self._life.gpu_error = event.error.message if isinstance(event, Failed) else GPU_BROKE_LATE
            self._life.struck = self._strikes.strike(event.job_id)
            return
        if isinstance(event, Finished):
            self._backoff.worked()
            self._strikes.clear()
        self.phase = Phase.IDLE
        if (why := self._worn_out()) is not None:
            self._recycle(why)

    def _worn_out(self) -> str | None:
        rss = 0 if self._child is None else self._child.rss_bytes()
        return self._limits.worn_out(jobs=self._life.jobs, growth_bytes=rss - self._life.rss_bytes)

    def _recycle(self, why: str) -> None:
        """Let the child go between two jobs; `_on_gone` starts the next at once."""
        if (child := self._child) is None:
            return
        log.info("child_recycled", worker=self.spec.index, childPid=child.pid, reason=why)
        self.phase, self._life.recycled = Phase.STARTING, True
        child.send(Stop())
        asyncio.get_running_loop().call_later(STOP_GRACE_S, child.kill)

    def _heard(self) -> None:
        self._last_progress_at = time.time()
        self._life.heard_at, self._life.suspected = time.monotonic(), False

    def _on_gone(self, event: Gone) -> None:
        task, life = self.task, self._life
        self._child, self.task, self.model = None, None, ""
        self._gone.set()
        if self._stopping:
            return
        self._restarts[life.restart_reason] += 1
        if life.recycled:
            self.start()
            return
        sentence = life.sentence(event)
        if task is not None and life.hung and self.spec.device.kind == "cuda":
            life.struck = self._strikes.strike(task.job_id)
        self._start_later(sentence, life)
        if task is not None:
            code = ErrorCode.TIMEOUT if life.hung else ErrorCode.WORKER_CRASHED
            self._emit(WorkerLost(task.job_id, task.attempt, sentence, code))

    def _start_later(self, sentence: str, life: "_Life") -> None:
        delay_s = self._backoff.after_death(loaded=life.loaded)
        self.phase = Phase.QUARANTINED if life.struck else Phase.WAITING
        if life.struck:
            delay_s = self._limits.quarantine_s
            self._problem = ErrorInfo(ErrorCode.GPU_ERROR, self._quarantine_sentence(sentence))
            log.error("gpu_quarantined", worker=self.spec.index, message=self._problem.message)
        elif not life.loaded and self._problem is None:
            self._problem = ErrorInfo(ErrorCode.WORKER_CRASHED, f"the worker process {sentence}")
        log.error("child_lost", worker=self.spec.index, message=f"a child {sentence}", restartInSeconds=delay_s)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.start)

    def _quarantine_sentence(self, sentence: str) -> str:
        device, rest_s = self.spec.device, self._limits.quarantine_s
        return (
            f"GPU {device.label} ({device.name or 'unnamed'}) failed {STRIKES} different jobs in a row and is left "
            f"alone for {rest_s / 60:g} minutes; look at nvidia-smi and the kernel's log; last, its process {sentence}"
        )


@dataclass(slots=True)
class _Life:
    """What is known of the one child that has the place now."""

    stage: Stage | None = None
    """None while it starts."""
    heard_at: float = field(default_factory=time.monotonic)
    suspected: bool = False
    hung: str = ""
    """Why it was killed; empty when it was not."""
    ends_for: ErrorCode | None = None
    """What it said before it went, or what we killed it for; None: it died without a word."""
    gpu_error: str = ""
    """What it said of a broken CUDA context before it ended."""
    struck: bool = False
    """It was the last of several: the GPU gets a rest."""
    recycled: bool = False
    loaded: bool = False
    jobs: int = 0
    rss_bytes: int = 0
    """When it became ready."""

    @property
    def restart_reason(self) -> str:
        """One of RESTART_REASONS."""
        if self.recycled:
            return "recycled"
        reason = FAILURE_REASONS.get(self.ends_for or ErrorCode.WORKER_CRASHED, "internal")
        return reason if reason in RESTART_REASONS else "internal"

    def sentence(self, event: Gone) -> str:
        """How it ended; follows a subject."""
        if self.gpu_error:
            return f"ended itself, since {self.gpu_error}"
        return self.hung or (event.sentence if self.loaded else f"{event.sentence} while it loaded")
