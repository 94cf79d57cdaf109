"""The local pool: workers over the GPUs of this box, and their events as one stream. Runs in the parent's loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from btworker.config import Settings
from btworker.jobs import Job, JobId
from btworker.logs import wants_json
from btworker.messages import Helped, HelpTask, RunTask
from btworker.pool import Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.devices import ffmpegs_per_child, find_gpus, places, threads_per_child
from btworker.pool.helping import HelpEvent, Offers
from btworker.pool.limits import child_limits
from btworker.pool.placing import Placement, Vacancy, place
from btworker.pool.process import Spawned
from btworker.pool.stream import EventStream
from btworker.pool.worker import Worker
from btworker.specs import EngineSettings, LogSettings, WorkerSpec

FirstChildren = Mapping[WorkerSpec, Spawned | None]
"""First child of each worker; None where start() is to spawn it."""
WATCH_INTERVAL_S = 1.0
"""Seconds between two looks for a hung child, of which it takes two to kill one, and for an idle one."""


class Supervisor:
    """Implements pool.Pool with spawned processes."""

    def __init__(self, settings: Settings, first: FirstChildren | None = None, *, is_box: bool = False) -> None:
        """`first` are those of first_children(); None: start() spawns them. `is_box`: other machines may help."""
        self._events = EventStream()
        self._first = dict.fromkeys(worker_specs(settings, is_box=is_box)) if first is None else first
        self._workers = tuple(Worker(spec, child_limits(settings, spec.device), self._on_event) for spec in self._first)
        self._placement = Placement()
        self._offers = Offers()
        self._watch: asyncio.Task[None] | None = None

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once."""
        return sum(worker.spec.slots for worker in self._workers)

    def workers(self) -> tuple[WorkerState, ...]:
        """The state of every worker, by index."""
        return tuple(worker.state for worker in self._workers)

    def boxes(self) -> None:
        """None: it is this machine alone."""

    async def start(self) -> None:
        """Spawn the children; they report when they are ready."""
        for worker in self._workers:
            worker.start(first=self._first[worker.spec])
        self._watch = asyncio.create_task(self._look_around(), name="pool-watch")
        self._events.depend_on(self._watch)

    def pick(self, waiting: Iterable[Job], goes_beside: Callable[[Job], bool]) -> JobId | None:
        """The first job that can start now, see placing.py. Where none can, children that ended are started again."""
        job_id, first = self._placement.pick(waiting, self._room(), goes_beside, slots=self.slots)
        if job_id is None:
            self.load_for(len(first))
        else:
            for worker in self._workers:
                worker.stay()
        return job_id

    def load_for(self, jobs: int) -> None:
        """Start as many of the children that ended for want of jobs as it takes for so many that wait."""
        for worker in self._workers:
            coming = sum(other.spec.slots for other in self._workers if other.phase is Phase.RELOADING)
            if jobs > coming:
                worker.load()

    def send(self, task: RunTask) -> WorkerState | None:
        """Give the task to a worker, but not to the one that is kept for a job before it."""
        index = self._placement.worker_for(task, self._room())
        return None if index is None else self._send_to(index, task)

    def send_to(self, index: int, task: RunTask) -> WorkerState | None:
        """Give the task to this worker, which somebody else has chosen; None where it has no place for it any more."""
        vacancies = [vacancy for vacancy in self._room() if vacancy.worker == index]
        found = place(vacancies, model=task.options.model, alone=task.alone, is_clip=task.is_clip)
        return None if found is None else self._send_to(found, task)

    @property
    def accepting(self) -> frozenset[int]:
        """Indices of the workers that have a child which takes jobs, or would if it had a slot."""
        return frozenset(vacancy.worker for vacancy in self._room())

    @property
    def offers(self) -> tuple[HelpTask, ...]:
        """Recordings with which children that have nothing to do help."""
        return self._offers.tasks

    def offer(self, task: HelpTask) -> None:
        """Have idle children help with a recording of another machine."""
        self._offers.note(task)
        self._send_helpers()

    def withdraw(self, task: HelpTask) -> None:
        """Let no more children help with it."""
        self._offers.note(Helped(task.job_id, task.file_index, task.take, through=True))

    def why_no_help(self, task: HelpTask) -> str:
        """Say in a word why no child is at such a recording, or about to be; empty where one is."""
        if task not in self._offers.tasks:
            return "failed" if self._offers.has_failed(task.job_id) else "cannot"
        able = (worker.phase is Phase.IDLE and worker.model == task.options.model for worker in self._workers)
        return "" if any(able) else "busy"

    def _send_to(self, index: int, task: RunTask) -> WorkerState:
        self._workers[index].send(task)
        return self._workers[index].state

    def _room(self) -> list[Vacancy]:
        return [vacancy for worker in self._workers if (vacancy := worker.vacancy) is not None]

    def cancel(self, job_id: JobId) -> None:
        """Ask whichever child has this job to stop it."""
        for worker in self._workers:
            worker.cancel(job_id)

    def events(self) -> AsyncIterator[PoolEvent]:
        """The one stream of events; ends after `stop`, and fails where hung children would go unnoticed."""
        return aiter(self._events)

    async def stop(self) -> None:
        """Stop all children at the same time."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._events.end()

    def _on_event(self, event: PoolEvent | HelpEvent) -> None:
        self._offers.note(event)
        self._events.put(RoomChanged() if isinstance(event, HelpEvent) else event)

    async def _look_around(self) -> None:
        """For hung children, and for idle ones: nothing that waits could start in them, or it would have."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            for worker in self._workers:
                worker.look()
            self._send_helpers()

    def _send_helpers(self) -> None:
        for worker in self._workers:
            if worker.can_help and (task := self._offers.of(worker.model)) is not None:
                worker.help(task)


@contextmanager
def first_children(settings: Settings) -> Iterator[FirstChildren]:
    """Spawn the first child of each worker, in the main thread, before there is an event loop: they import what they
    need while the parent does. After the block none of them is left. Where there is a fleet, there are none."""
    specs = worker_specs(settings) if settings.pool == "local" else ()
    spawned: dict[WorkerSpec, Spawned | None] = dict.fromkeys(specs)
    try:
        with suppress(OSError):  # no memory, processes or descriptors left: start() tries again, and says so
            for spec in spawned:
                spawned[spec] = Spawned(spec)
        yield spawned
    finally:
        for child in spawned.values():
            if child is not None:
                child.process.kill()
                child.process.join()


def worker_specs(settings: Settings, *, is_box: bool = False) -> tuple[WorkerSpec, ...]:
    """One spec per child, from the settings and the GPUs that are there."""
    gpus = () if settings.device == "cpu" else find_gpus(settings.cuda_visible_devices)
    slots, processes = settings.max_concurrent_jobs, settings.processes_per_gpu
    children = places(choice=settings.device, gpus=gpus, slots=slots, processes_per_device=processes)
    engine = EngineSettings.of(
        settings,
        threads=threads_per_child(wanted=settings.cpu_threads, children=len(children)),
        ffmpeg_processes=settings.ffmpeg_processes or ffmpegs_per_child(children=len(children)),
    )
    logs = LogSettings(settings.log_level, json=wants_json(settings.log_format))
    return tuple(
        WorkerSpec(
            index,
            child.device,
            settings.engine,
            engine,
            logs,
            child.slots,
            settings.clip_slots,
            has_siblings=is_box or len(children) > 1,
        )
        for index, child in enumerate(children)
    )
