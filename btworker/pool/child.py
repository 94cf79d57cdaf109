"""What runs in a child: bind to the parent, set the environment, load the engine by name, then as many tasks at once as
the child has slots.

Each task has a thread; the main thread waits for the next task, or for Stop, which ends the process whatever is at
work. While there is no task, it may help with a recording of another child, in a thread more. Another one receives
the control pipe: it notes cancellations, and ends the process at once when the pipe closes, which means that the parent
died. No front end is imported here.
"""

import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import structlog

from btworker import logs
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import JobId
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
    Ready,
    RunTask,
    Started,
    Stop,
    Unready,
)
from btworker.pool.engine_api import Engine, EngineFactory
from btworker.specs import WorkerSpec

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = "500"
"""The kernel's out-of-memory killer takes a child long before the service."""
log = logs.get_logger()


class _Queue:  # what we use of multiprocessing.SimpleQueue, for the annotations
    get: Callable[[], Any]
    put: Callable[[Any], None]


def main(spec: WorkerSpec, tasks: _Queue, events: _Queue, control: Connection) -> None:
    """The child's entry point; returns, or ends the process, at Stop or when the engine cannot be opened."""
    bind_to_parent()
    logs.set_up(spec.logs)
    structlog.contextvars.bind_contextvars(worker=spec.index, childPid=os.getpid())
    _set_environment(spec)
    _or_end(lambda: _work_on(spec, tasks, events, control))


def _work_on(spec: WorkerSpec, tasks: _Queue, events: _Queue, control: Connection) -> None:
    canceled = _receive_commands(control)
    engine = _open(spec, events.put)
    if engine is None:
        return
    work = _Work(engine, events.put, canceled, stop=lambda: tasks.put(Stop()))
    threads = ThreadPoolExecutor(spec.slots + spec.clip_slots + 1, thread_name_prefix="job")
    for task in iter(tasks.get, Stop()):
        work.begin(task)
        run = work.help if isinstance(task, HelpTask) else work.run
        threads.submit(copy_context().run, _or_end, partial(run, task))  # with what log lines say of this child
    if work.is_going_on:
        os._exit(0)  # Python would wait for the threads


def _error_of(work: Callable[[], None]) -> BaseException | None:
    """Return what `work` raises, whatever that is: the edge of the process, of an engine that opens, of an attempt."""
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - see above; of a library that calls sys.exit(), too
        return error
    return None


def _for_user(error: BaseException, event: str, otherwise: str) -> BtworkerError:
    """Make the user's side of an error, and log one that has no code. What is no Exception ends the child."""
    if isinstance(error, BtworkerError):
        return error
    if not isinstance(error, Exception):
        raise error
    log.error(event, exc_info=error)
    return BtworkerError(ErrorCode.PROCESSING_ERROR, otherwise)


def _or_end(work: Callable[[], None]) -> None:
    """An error that nobody foresaw ends the child, in whichever thread it was: a log line, and no other word."""
    error = _error_of(work)
    if error is not None:
        logs.last_words(type(error), error, error.__traceback__)
        os._exit(1)


def bind_to_parent() -> None:
    """Take an own process group (Ctrl-C is the parent's to handle), die with the parent, go first when memory ends."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before prctl
        os._exit(1)
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write(OOM_SCORE_ADJ)
    except OSError:  # not Linux, or not allowed: a precaution less
        pass


def _set_environment(spec: WorkerSpec) -> None:
    """Before the engine, and so torch, is imported: libraries read these once."""
    if spec.device.kind == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif spec.device.uuid is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = spec.device.uuid
    # A thread that has done its share sleeps: libgomp's own way is to spin for a while, which takes cores from ffmpeg,
    # other children and the front end (docs/benchmarks).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if spec.settings.threads:
        os.environ["OMP_NUM_THREADS"] = str(spec.settings.threads)
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    if spec.settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _receive_commands(control: Connection) -> set[tuple[JobId, int]]:
    """The attempts that are to stop, by job and number."""
    canceled: set[tuple[JobId, int]] = set()

    def receive() -> None:
        while True:
            try:
                command = control.recv()
            except (EOFError, OSError):
                os._exit(1)
            if isinstance(command, Cancel):
                canceled.add((command.job_id, command.attempt))

    threading.Thread(target=receive, name="control", daemon=True).start()
    return canceled


def _open(spec: WorkerSpec, emit: Callable[[ChildEvent], None]) -> Engine | None:
    started = time.monotonic()
    engines: list[Engine] = []

    def open_engine() -> None:
        engines.append(_factory(spec.engine)(spec))
        engines[0].open(emit)

    error = _error_of(open_engine)
    if error is None:
        emit(Ready(os.getpid(), engines[0].model, engines[0].info, time.monotonic() - started))
        return engines[0]
    sentence = f"the engine could not start: {type(error).__name__}: {error}"[:500]
    known = _for_user(error, "engine_failed_to_open", sentence)
    emit(Unready(os.getpid(), known.info, engines[0].info if engines else EngineInfo()))
    return None


def _factory(name: str) -> EngineFactory:
    module, _, attribute = name.partition(":")
    factory: EngineFactory = getattr(importlib.import_module(module), attribute)
    return factory


class _Work:
    """The attempts at work in this child. `stop` has the main thread end the process."""

    def __init__(
        self,
        engine: Engine,
        emit: Callable[[ChildEvent], None],
        canceled: set[tuple[JobId, int]],
        *,
        stop: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._emit = emit
        self._canceled = canceled
        self._stop = stop
        self._info = engine.info
        self._going_on: set[RunTask] = set()
        self._helping: set[HelpTask] = set()

    @property
    def is_going_on(self) -> bool:
        """Something has begun and not ended."""
        return bool(self._going_on or self._helping)

    def begin(self, task: RunTask | HelpTask) -> None:
        """A thread is about to run it."""
        if isinstance(task, HelpTask):
            self._helping.add(task)
        else:
            self._going_on.add(task)

    def run(self, task: RunTask) -> None:
        """One attempt at one job, from its first event to its last; in a thread."""
        with structlog.contextvars.bound_contextvars(workerJobId=task.job_id, attempt=task.attempt):
            fatal = self._attempt(task)
        self._emit_changed_info()
        self._canceled.discard((task.job_id, task.attempt))
        self._going_on.discard(task)
        sys.stdout.flush()
        if fatal:
            self._stop()

    def _emit_changed_info(self) -> None:
        """Of what the parent knows since Ready: a job can show that something does not work."""
        if (info := self._engine.info) != self._info:
            self._info = info
            self._emit(InfoChanged(info))

    def help(self, task: HelpTask) -> None:
        """Windows of another child's recording, until a task comes; in a thread."""
        with structlog.contextvars.bound_contextvars(workerJobId=task.job_id, fileIndex=task.file_index):
            helped = self._help(task)
        self._helping.discard(task)
        self._emit(helped)
        if helped.fatal:
            self._stop()

    def _help(self, task: HelpTask) -> Helped:
        log.info("help_started")
        steps = self._engine.help(task, lambda: bool(self._going_on))
        try:
            while True:
                next(steps)
                self._emit(Helping())
        except StopIteration as end:
            return Helped(task.job_id, task.file_index, task.take, through=end.value)
        except BtworkerError as error:
            log.warning("help_failed", code=error.code.value, message=error.message)
            fatal = error.code is ErrorCode.GPU_ERROR
            return Helped(task.job_id, task.file_index, task.take, error=error.info, fatal=fatal)

    def _attempt(self, task: RunTask) -> bool:
        """True: this process must not be used again (a CUDA context that is broken stays so)."""
        self._emit(Started(task.job_id, task.attempt))
        fatal = False

        def run() -> None:
            nonlocal fatal
            for event in self._engine.run(task, lambda: (task.job_id, task.attempt) in self._canceled):
                fatal = isinstance(event, Finished) and event.fatal
                self._emit(event)

        error = _error_of(run)
        if error is None:
            return fatal
        sentence = f"an unexpected {type(error).__name__} ended the job; the worker's log has the details"
        known = _for_user(error, "job_raised", sentence)
        fatal = known.code is ErrorCode.GPU_ERROR
        self._emit(Failed(task.job_id, task.attempt, known.info, fatal=fatal))
        return fatal
