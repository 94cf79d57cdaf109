"""One worker: a place for a child on a device, which outlives the children that take it. Runs in the parent's loop.

STARTING --Ready--> IDLE --RunTask--> BUSY --its last job's Finished|Failed--> IDLE
    ^ |               |                 |
    | +-- Unready, death, silence ------+--> WAITING | QUARANTINED --time--> STARTING
    +---- worn out, between two jobs ---+
IDLE --no job for long--> UNLOADED (no child) --a job waits--> RELOADING --Ready--> IDLE

A child has as many jobs at once as it has slots. When it dies with several in it, nobody knows which of them was the
cause: each is lost with that Blame, and is to run again alone.
"""

import asyncio
import time
from collections.abc import Callable

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import JobId
from btworker.logs import get_logger
from btworker.messages import (
    Cancel,
    ChildEvent,
    EngineInfo,
    Failed,
    Finished,
    Helped,
    Helping,
    HelpTask,
    InfoChanged,
    JobEvent,
    Loading,
    ModelLoaded,
    Ready,
    RunTask,
    ShareOffered,
    Unready,
    WorkerLost,
)
from btworker.pool import Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.child_record import GPU_BROKE_LATE, NOT_CANCELED, ChildRecord, End, NextStart, end_of, not_started
from btworker.pool.helping import HelpEvent, help_with
from btworker.pool.limits import CANCEL_GRACE_S, STOP_GRACE_S, ChildLimits, Strikes
from btworker.pool.placing import Vacancy
from btworker.pool.process import ChildProcess, Gone, Spawned
from btworker.pool.restarts import Restarts
from btworker.pool.tasks import Tasks
from btworker.specs import WorkerSpec

log = get_logger()


class Worker:
    """See the module's docstring. `emit` takes the events for the service."""

    def __init__(self, spec: WorkerSpec, limits: ChildLimits, emit: Callable[[PoolEvent | HelpEvent], None]) -> None:
        self.spec = spec
        self._limits = limits
        self.phase = Phase.WAITING
        self.model = ""
        self._tasks = Tasks()
        self._emit = emit
        self._child: ChildProcess[ChildEvent] | None = None
        self._restarts = Restarts(spec, limits, self.start)
        self._info: EngineInfo | None = None
        self._problem: ErrorInfo | None = None
        self._record = ChildRecord()
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
            slots=self.spec.slots,
            clip_slots=self.spec.clip_slots,
            job_ids=self._tasks.ids,
            restarts=self._restarts.counts,
            last_progress_at=self._tasks.last_progress_at,
            info=self._info,
            problem=self._problem,
            loads_in_s=self._record.loads_in_s,
            loading=self._record.loading,
        )

    @property
    def vacancy(self) -> Vacancy | None:
        """What it has for waiting jobs; None where it is not ready, or its child is about to give way."""
        if self.phase not in (Phase.IDLE, Phase.BUSY) or self._record.worn_out or self._record.why:
            return None
        return self._tasks.vacancy(self.spec, self.model)

    @property
    def can_help(self) -> bool:
        """It has nothing to do."""
        return self.phase is Phase.IDLE and not self._tasks.helps and not self._record.worn_out

    def start(self, phase: Phase = Phase.STARTING, *, first: Spawned | None = None) -> None:
        """Spawn a child, or take the `first` one, which was spawned before. Main thread only."""
        self.phase = phase
        self._record = ChildRecord(load_s=self._record.load_s)
        try:
            self._child = ChildProcess[ChildEvent](first or Spawned(self.spec), self._on_event)
        except OSError as error:  # no memory, processes or descriptors left: that may change
            self._start_next(not_started(error.strerror or type(error).__name__))
            return
        log.info("child_started", worker=self.spec.index, childPid=self._child.pid, gpu=self.spec.device.label)

    def send(self, task: RunTask) -> None:
        """Give the child a task that fits its vacancy."""
        if self._child is None or (vacancy := self.vacancy) is None or not vacancy.room(is_clip=task.is_clip):
            raise RuntimeError(f"worker {self.spec.index} is {self.phase.value}, and has no slot")
        self._tasks.begin(task)
        self.phase = Phase.BUSY
        self._child.send(task)

    def help(self, task: HelpTask) -> None:
        """Have the child, which has nothing to do, help with a recording of another one."""
        if self._child is not None:
            self._tasks.help_with(task)
            self._child.send(task)

    def cancel(self, job_id: JobId) -> None:
        """Ask the child to stop this job, and kill it when it does not."""
        task, child = self._tasks.get(job_id), self._child
        if task is None or child is None:
            return
        child.cancel(Cancel(job_id, task.attempt))
        asyncio.get_running_loop().call_later(CANCEL_GRACE_S, self._kill_if_still, task, child)

    def look(self) -> None:
        """Kill a child that, or a job in which, has been silent for too long. Called again and again."""
        record, child = self._record, self._child
        if child is None or self._stopping or record.why or record.leaves:
            return
        why = "" if record.loaded else record.start.silence(self._limits)
        if (silent := self._tasks.silent(self._limits)) is not None:
            job_id, why = silent
            if self.spec.device.kind == "cuda":
                record.quarantines_gpu = self._strikes.strike(job_id)
        if why:
            log.error("child_killed", worker=self.spec.index, childPid=child.pid, reason=f"it {why}")
            self._kill(child, ErrorCode.TIMEOUT, why)
        elif self.can_help and record.idle_for(self._limits.idle_s):
            self._unload(child)

    def load(self) -> None:
        """Start a child for a job that waits, where the last one ended for want of jobs."""
        if self.phase is Phase.UNLOADED:
            self.phase = Phase.RELOADING
            if self._child is None:  # else once it is gone
                self.start(Phase.RELOADING)

    def stay(self) -> None:
        """Note that a job is on its way to a worker, so that this one does not end meanwhile."""
        self._record.idle_at = time.monotonic()

    async def stop(self) -> None:
        """End the child by the ladder, and start no other."""
        self._stopping = True
        self._restarts.cancel()
        if self._child is not None:
            await self._child.stop(grace_s=STOP_GRACE_S)
        self.phase = Phase.STOPPED

    def _kill_if_still(self, task: RunTask, child: ChildProcess[ChildEvent]) -> None:
        if task in self._tasks and self._child is child and not self._record.why:
            log.warning("child_killed", worker=self.spec.index, workerJobId=task.job_id, reason="cancel took too long")
            self._kill(child, ErrorCode.CANCELED, NOT_CANCELED)

    def _kill(self, child: ChildProcess[ChildEvent], code: ErrorCode, why: str) -> None:
        self._record.ends_for, self._record.why = code, why
        child.kill()

    def _on_event(self, event: "ChildEvent | Gone") -> None:
        match event:
            case Gone():
                self._on_gone(event)
            case Ready():
                self._on_ready(event)
            case Loading():
                self._record.loading = event.sentence
            case InfoChanged():
                self._info = event.info
            case Unready(error=error, info=info):
                self._problem, self._info = error, info
                self._record.ends_for = error.code
                log.error("child_unready", worker=self.spec.index, code=error.code.value, message=error.message)
            case Helping():
                self._tasks.note_help()
            case Helped():
                self._on_helped(event)
            case ShareOffered():
                if (task := self._tasks.get(event.job_id)) is not None:
                    self._emit(help_with(task, event.file_index, event.take))
            case _:
                self._on_job_event(event)

    def _on_ready(self, event: Ready) -> None:
        self.phase, self.model, self._info, self._problem = Phase.IDLE, event.model, event.info, None
        self._record.is_ready(rss_bytes=0 if self._child is None else self._child.rss_bytes())
        facts = {"childPid": event.pid, "model": event.model, "seconds": round(event.load_s, 2)}
        log.info("child_ready", worker=self.spec.index, **facts)
        self._emit(RoomChanged())

    def _on_helped(self, event: Helped) -> None:
        self._tasks.help_ended()
        self.stay()
        self._emit(event)
        if event.fatal and event.error is not None:
            self.phase = Phase.STARTING
            self._ends_itself(event.error.message)

    def _on_job_event(self, event: JobEvent) -> None:
        self._tasks.note(event)
        if isinstance(event, ModelLoaded):
            self.model, self._record.loading = event.model, ""
        if isinstance(event, Finished | Failed):
            if event.fatal:
                self._on_broken_gpu(event)
                if isinstance(event, Failed) and self._record.shared:
                    return  # whichever of them broke the GPU: it is reported with the others, when the child is gone
            self._on_end(event)
        self._emit(event)
        if isinstance(event, Finished | Failed):
            self._emit(RoomChanged())

    def _on_broken_gpu(self, event: Finished | Failed) -> None:
        """The child ends by itself. Every job in it may say so before it does: that is one failure of the GPU."""
        record = self._record
        self.phase = Phase.STARTING
        record.shared = record.shared or len(self._tasks) > 1
        if record.why:
            return
        record.quarantines_gpu = self._strikes.strike(event.job_id)
        self._ends_itself(event.error.message if isinstance(event, Failed) else GPU_BROKE_LATE)

    def _ends_itself(self, why: str) -> None:
        self._record.ends_for, self._record.why = ErrorCode.GPU_ERROR, f"ended itself, since {why}"
        if self._child is not None:
            asyncio.get_running_loop().call_later(STOP_GRACE_S, self._child.kill)

    def _on_end(self, event: Finished | Failed) -> None:
        self._tasks.end(event.job_id)
        self.stay()
        self._record.jobs += 1
        if isinstance(event, Finished) and not event.fatal:
            self._restarts.worked()
            self._strikes.clear()
        if self.phase is not Phase.BUSY:
            return
        rss = 0 if self._child is None else self._child.rss_bytes()
        self._record.wear(self._limits, rss_bytes=rss, at_work=len(self._tasks))
        if not self._tasks:
            self.phase = Phase.IDLE
            self._recycle()

    def _recycle(self) -> None:
        """Let a worn-out child go between two jobs; `_on_gone` starts the next at once."""
        if (child := self._child) is None or not self._record.worn_out:
            return
        log.info("child_recycled", worker=self.spec.index, childPid=child.pid, reason=self._record.worn_out)
        self.phase, self._record.recycled = Phase.STARTING, True
        child.dismiss(grace_s=STOP_GRACE_S)

    def _unload(self, child: ChildProcess[ChildEvent]) -> None:
        """Let a child go that has nothing to do; `_on_gone` starts the next where a job came meanwhile."""
        log.info("child_unloaded", worker=self.spec.index, childPid=child.pid, idleSeconds=self._limits.idle_s)
        self.phase, self._record.unloaded = Phase.UNLOADED, True
        child.dismiss(grace_s=STOP_GRACE_S)

    def _on_gone(self, event: Gone) -> None:
        helping, tasks = self._tasks.help_ended(), self._tasks.take_all()
        self._child, self.model = None, ""
        if self._stopping:
            return
        end = end_of(self._record, exited=event.sentence, jobs_left=len(tasks))
        self._start_next(end)
        if helping is not None and end.next_start is not NextStart.AT_ONCE:
            error = ErrorInfo(end.code, end.sentence)
            self._emit(Helped(helping.job_id, helping.file_index, helping.take, error=error))
        for task in tasks:
            self._emit(WorkerLost(task.job_id, task.attempt, end.sentence, end.code, end.blame))

    def _start_next(self, end: End) -> None:
        if end.next_start is NextStart.WITH_A_JOB:
            if self.phase is Phase.RELOADING:
                self.start(Phase.RELOADING)
            return
        self._restarts.count(end)
        if end.next_start is NextStart.AT_ONCE:
            self.start()
        else:
            self.phase, self._problem = self._restarts.later(end, self._problem)
