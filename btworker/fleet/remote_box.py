"""A box as the front end knows it: its session, its workers, the tasks that it was given. Front end's loop.

FOUND --Join--> JOINING --Joined--> READY --silence, its end--> LOST --any word--> JOINING
                  ^ |       +--another release--> REFUSED
                  +-+ it cannot reach the front end: asked again
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import chain

from btworker.errors import ErrorCode, ErrorInfo
from btworker.fleet.records import BoxWorkers, Joined, Versions
from btworker.jobs import JobId
from btworker.messages import Blame, Failed, Finished, JobEvent, RunTask, WorkerLost
from btworker.pool import BoxStatus, BoxSummary, Phase, WorkerState
from btworker.pool.placing import Vacancy
from btworker.pool.tasks import Tasks
from btworker.specs import Device

MOST_WORKERS = 1000
"""Of one box: what its workers' indices among all of the fleet are counted by."""
FORGOTTEN_S = 24 * 3600.0
"""Seconds for which a box that was lost is shown."""
REJOIN_S = 10.0
"""Seconds that a box has to answer a Join before it is asked again."""
LATE_S = 60.0
"""Seconds without an answer after which the operator should look: a box answers once its process has started."""


class BoxPhase(str, Enum):
    """Where a box is."""

    JOINING = "joining"
    READY = "ready"
    REFUSED = "refused"
    """It is of another version."""
    LOST = "lost"


@dataclass(slots=True)
class RemoteBox:
    """See the module's docstring. `first_index` is the index of its first worker among all of the fleet."""

    name: str
    first_index: int
    session: int = 0
    phase: BoxPhase = BoxPhase.JOINING
    problem: ErrorInfo | None = None
    workers: BoxWorkers = field(default_factory=BoxWorkers)
    tasks: dict[int, Tasks] = field(default_factory=dict)
    """Of each of its workers, by its index on the box."""
    delivering: dict[int, Tasks] = field(default_factory=dict)
    """The same with which children are done, and whose files are on their way: at most one for each slot, so that a
    slow line does not fill the box."""
    last_seen_at: float = field(default_factory=time.monotonic)
    """When its last word came, by the monotonic clock."""
    asked_at: float = field(default_factory=time.monotonic)
    """When it was last asked to join."""

    woken: bool = False
    """It was notified since its last event that jobs wait."""
    _vacancies: list[Vacancy] | None = field(default=None, init=False)
    _states: list[WorkerState] | None = field(default=None, init=False)
    """What was made of the above, until it changes: each job that starts and each answer about one asks all boxes."""

    @property
    def job_ids(self) -> list[JobId]:
        """All jobs that it has."""
        return [job_id for tasks in self._all_tasks() for job_id in tasks.ids]

    @property
    def prefetch_slots(self) -> int:
        """Jobs whose inputs it may fetch before they start: one for each slot."""
        return sum(state.slots for state in self.workers.states if state.index in self.workers.accepting)

    def has(self, worker: int) -> bool:
        """Whether a worker, by its index among all of the fleet, is one of its own."""
        return 0 <= worker - self.first_index < MOST_WORKERS

    def has_loaded(self, model: str) -> bool:
        """Whether one of its workers has this model."""
        return any(state.model == model for state in self.workers.states)

    @property
    def wants_wake(self) -> bool:
        """A child of it ended for want of jobs, and it was not notified yet that some wait."""
        return not self.woken and any(state.phase is Phase.UNLOADED for state in self.workers.states)

    @property
    def problem_sentence(self) -> str:
        """Why it takes no jobs; empty where it does."""
        return "" if self.problem is None else self.problem.message

    def is_silent(self, limit_s: float) -> bool:
        """Whether it has given no sign of life for so long."""
        return self.phase in (BoxPhase.READY, BoxPhase.REFUSED) and time.monotonic() - self.last_seen_at > limit_s

    @property
    def is_forgotten(self) -> bool:
        """It was lost so long ago that nobody waits for it."""
        return self.phase is BoxPhase.LOST and time.monotonic() - self.last_seen_at > FORGOTTEN_S

    @property
    def may_be_asked(self) -> bool:
        """It is to be asked to join, again where it did not answer."""
        waits = self.phase in (BoxPhase.JOINING, BoxPhase.LOST, BoxPhase.REFUSED)
        return waits and time.monotonic() - self.asked_at > REJOIN_S

    def begin_session(self, session: int) -> None:
        """Ask it to join."""
        self.session, self.asked_at = session, time.monotonic()
        if self.phase is BoxPhase.READY:
            self.phase = BoxPhase.JOINING
        self._changed()

    def spoke(self) -> None:
        """Note a sign of life."""
        self.last_seen_at = time.monotonic()

    def show(self, workers: BoxWorkers) -> None:
        """Take in what it says of its workers."""
        if self.phase is BoxPhase.READY:
            self.workers, self.woken = workers, False
            for state in workers.states:
                self.tasks.setdefault(state.index, Tasks())
        self._changed()

    def joined(self, word: Joined, ours: Versions, address: str) -> bool:
        """Take in its first word; whether that is news: what cannot reach the front end says so every few seconds.
        `address` is that of the front end's listener, as it was given to the box."""
        before, self.tasks, self.delivering = self.problem, {}, {}
        if sentence := difference(self.name, word.versions, ours):
            self.phase, self.workers = BoxPhase.REFUSED, word.workers
        elif word.obstacle:  # it says more soon, and is asked again
            self.phase, self.workers = BoxPhase.JOINING, BoxWorkers()
            sentence = (
                f"the box {self.name} takes no jobs: it cannot reach the front end at {address} ({word.obstacle}); "
                "is the way there open (WORKER_FLEET_HOST, a firewall)? (docs/fleet.md, What the network needs)"
            )
        else:
            self.phase, self.workers = BoxPhase.READY, word.workers
            self.tasks = {state.index: Tasks() for state in word.workers.states}
        self.problem = ErrorInfo(ErrorCode.NOT_READY, sentence) if sentence else None
        self._changed()
        return self.phase is not BoxPhase.JOINING or self.problem != before

    def begin(self, worker: int, task: RunTask) -> None:
        """Note that a worker, by its index on the box, was given a task."""
        self.tasks[worker].begin(task)
        self._changed()

    def vacancies(self) -> list[Vacancy]:
        """What its workers have for waiting jobs."""
        if self._vacancies is None:
            self._vacancies = self._find_vacancies()
        return self._vacancies

    def _find_vacancies(self) -> list[Vacancy]:
        if self.phase is not BoxPhase.READY:
            return []
        jobs = sum(map(len, self.tasks.values()))
        return [
            replace(
                self.tasks[state.index].vacancy(state, state.model),
                worker=self.first_index + state.index,
                crowd=jobs,
            )
            for state in self.workers.states
            if state.index in self.workers.accepting
        ]

    def states(self) -> list[WorkerState]:
        """Its workers as ping, ready and metrics show them; one that stands for all of them where it takes no jobs."""
        if self._states is None:
            self._states = self._find_states()
        return self._states

    def _find_states(self) -> list[WorkerState]:
        if self.phase is not BoxPhase.READY:
            doing = "" if self.problem else f"waiting for the box {self.name} to join"
            stands = WorkerState(self.first_index, Device("box"), Phase.WAITING, problem=self.problem, loading=doing)
            return [replace(stands, box=self.name)]
        return [
            replace(
                state,
                index=self.first_index + state.index,
                box=self.name,
                job_ids=self.tasks[state.index].ids,
                phase=self._phase(state),
                last_progress_at=self.tasks[state.index].last_progress_at,
            )
            for state in self.workers.states
        ]

    def summary(self, *, drained: bool) -> BoxSummary:
        """The box as the operator sees it."""
        states = self.workers.states
        ready = sum(state.ready for state in states)
        if drained:
            status = BoxStatus.DRAINED
        elif self.phase is BoxPhase.READY and not ready:
            status = BoxStatus.LOADING
        else:
            status = BoxStatus(self.phase.value)
        slots, jobs = sum(state.slots for state in states), len(self.job_ids)
        problem = self.problem_sentence or (self._no_answer if self.phase is BoxPhase.JOINING else "")
        return BoxSummary(self.name, status, len(states), ready, slots, jobs, problem)

    @property
    def _no_answer(self) -> str:
        """That it does not answer, once it should have."""
        if time.monotonic() - self.asked_at < LATE_S:
            return ""
        return f"the box {self.name} has not answered for over {LATE_S:g} s; Ray's logs there say why (docs/fleet.md)"

    def _phase(self, state: WorkerState) -> Phase:
        """What the front end knows of its jobs counts: its word may be older."""
        if state.phase not in (Phase.IDLE, Phase.BUSY):
            return state.phase
        return Phase.BUSY if self.tasks[state.index] else Phase.IDLE

    def note(self, event: JobEvent) -> bool:
        """Take in an event of one of its jobs; whether it ends the attempt."""
        ends = isinstance(event, Finished | Failed | WorkerLost)
        for tasks in self._all_tasks():
            task = tasks.get(event.job_id)
            if task is not None and task.attempt == event.attempt:
                tasks.note(event)
                self._states = None
                if ends:
                    tasks.end(event.job_id)
                    self._changed()
        return ends

    def note_work_done(self, job_id: JobId, attempt: int) -> None:
        """Give the slot of a job back, with which its child is done."""
        for state in self.workers.states:
            tasks, delivering = self.tasks[state.index], self.delivering.setdefault(state.index, Tasks())
            task = tasks.get(job_id)
            if task is not None and task.attempt == attempt and len(delivering) < state.slots:
                tasks.end(job_id)
                delivering.begin(task)
        self._changed()

    def task(self, job_id: JobId) -> RunTask | None:
        """The task of this job, where the box has it."""
        return next((task for tasks in self._all_tasks() if (task := tasks.get(job_id)) is not None), None)

    def is_at_work(self, job_id: JobId) -> bool:
        """Whether a child of it has the job, and not only its files on their way."""
        return any(tasks.get(job_id) is not None for tasks in self.tasks.values())

    def lose(self, why: str, *, innocent: bool = False, refused: bool = False) -> list[WorkerLost]:
        """Give it up; the events for its jobs. `innocent`: no job can have been the cause, as none can be with which a
        child was done. `refused`: it is there, of another release."""
        done = [task for tasks in self.delivering.values() for task in tasks.take_all()]
        taken = [task for tasks in self.tasks.values() for task in tasks.take_all()]
        blame = Blame.NONE if innocent else Blame.SHARED if len(taken) > 1 else Blame.OWN
        self.phase, self.workers = BoxPhase.REFUSED if refused else BoxPhase.LOST, BoxWorkers()
        self.tasks, self.delivering = {}, {}
        self._changed()
        self.problem = ErrorInfo(ErrorCode.NOT_READY, f"the box {self.name} {why}")
        sentence = f"was lost with the box {self.name}, which {why}"
        return [
            WorkerLost(task.job_id, task.attempt, sentence, ErrorCode.WORKER_CRASHED, whose)
            for tasks, whose in ((done, Blame.NONE), (taken, blame))
            for task in tasks
        ]

    def _changed(self) -> None:
        self._vacancies = self._states = None

    def _all_tasks(self) -> Iterator[Tasks]:
        return chain(self.tasks.values(), self.delivering.values())


def difference(box: str, theirs: Versions, ours: Versions) -> str:
    """Say in one sentence what keeps a box from taking jobs; empty where nothing does."""
    names = {
        "btworker": "btworker",
        "python": "Python",
        "whisper": "openai-whisper",
        "torch": "torch",
        "ray": "Ray",
        "model": "WORKER_MODEL",
    }
    for field_name, shown in names.items():
        here, there = getattr(ours, field_name), getattr(theirs, field_name)
        if here != there:
            theirs_shown, ours_shown = there or "none", here or "none"
            return (
                f"the box {box} takes no jobs: it has {shown} {theirs_shown}, and the front end {ours_shown}; "
                "give both the same (docs/fleet.md, Upgrade)"
            )
    return ""
