"""Which waiting job starts next, and in which worker. Pure; used by the supervisor, in the parent.

Jobs of one child want the same model, since it has one loaded; a job that was in a child which died runs alone. So a
job may have to wait for a whole child: one is then kept for it, and is given nothing that came later.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from btworker.jobs import Job, JobId
from btworker.messages import RunTask


@dataclass(frozen=True, slots=True)
class Vacancy:
    """What a worker has to give that is ready and takes jobs."""

    worker: int
    """Its index."""
    model: str
    """The loaded one, or the one that the jobs in it want."""
    jobs: int = 0
    """At work in it."""
    free: int = 1
    """Slots; 0 where it is full, or its job is to be alone."""
    free_for_clips: int = 0
    """Places that only clips get, beside those."""
    crowd: int = 0
    """Jobs at work on its whole machine, where there are several machines."""

    def room(self, *, is_clip: bool) -> int:
        """Places for such a job."""
        return self.free + (self.free_for_clips if is_clip else 0)


def place(vacancies: Iterable[Vacancy], *, model: str, alone: bool, is_clip: bool = False) -> int | None:
    """The index of the worker for such a job: with its model rather than another, then with few jobs, on a machine with
    few; None: none."""

    def takes(vacancy: Vacancy) -> bool:
        room = vacancy.room(is_clip=is_clip)
        return room > 0 and (vacancy.jobs == 0 or (vacancy.model == model and not alone))

    fitting = [
        (vacancy.model != model, vacancy.jobs, vacancy.crowd, vacancy.worker) for vacancy in vacancies if takes(vacancy)
    ]
    return min(fitting)[-1] if fitting else None


StartsIn = Callable[[JobId, Vacancy], bool]
"""Whether a job is to start in this worker, rather than in one that has its inputs already."""


def anywhere(_job_id: JobId, _vacancy: Vacancy) -> bool:
    """No worker has inputs that others lack."""
    return True


def choose(
    jobs: Iterable[Job],
    vacancies: Sequence[Vacancy],
    goes_beside: Callable[[Job], bool] = lambda _: False,
    starts_in: StartsIn = anywhere,
) -> tuple[JobId | None, int | None]:
    """The first of the jobs, in order, that can start now; and the worker that is kept for one before it. Those that go
    beside may take a place for clips. A job whose inputs are elsewhere starts only where no other one can.

    What is kept for the first that cannot start is the worker with the fewest jobs: it only gets fewer, so its turn
    comes.
    """
    kept = last = None
    roomy = _with_room(vacancies)
    for job in jobs:
        clip = goes_beside(job)
        if not roomy[clip]:
            break  # behind the first longer one, clips wait with it: nobody looks through 100,000 recordings for them
        near = [vacancy for vacancy in roomy[clip] if starts_in(job.id, vacancy)]
        if near and place(near, model=job.options.model, alone=job.alone, is_clip=clip) is not None:
            return job.id, kept
        elsewhere = len(near) < len(roomy[clip])
        if elsewhere and last is not None:
            continue
        if elsewhere and place(roomy[clip], model=job.options.model, alone=job.alone, is_clip=clip) is not None:
            last = job.id
        elif last is not None:
            break
        elif kept is None and roomy[False]:
            kept = min(vacancies, key=lambda vacancy: (vacancy.jobs, vacancy.worker)).worker
            roomy = _with_room([vacancy for vacancy in vacancies if vacancy.worker != kept])
    return last, kept


def _with_room(vacancies: Sequence[Vacancy]) -> dict[bool, list[Vacancy]]:
    """The few that have a place, for recordings and for clips: a fleet has hundreds of workers, most of them full."""
    return {clip: [vacancy for vacancy in vacancies if vacancy.room(is_clip=clip)] for clip in (False, True)}


class Placement:
    """Which job is next and where it goes, with what was kept for one that waits for a whole worker."""

    def __init__(self, starts_in: StartsIn = anywhere) -> None:
        self._starts_in = starts_in
        self._kept: int | None = None
        """The worker that is kept for a job which waits for a whole one."""

    def pick(
        self, waiting: Iterable[Job], vacancies: Sequence[Vacancy], goes_beside: Callable[[Job], bool], *, slots: int
    ) -> tuple[JobId | None, tuple[Job, ...]]:
        """The job that starts now, and those whose turn it is: as many as there are slots."""
        rest = iter(waiting)
        first = tuple(islice(rest, slots))
        job_id, self._kept = choose(chain(first, rest), vacancies, goes_beside, self._starts_in)
        return job_id, first

    def worker_for(self, task: RunTask, vacancies: Iterable[Vacancy]) -> int | None:
        """The index of the worker for the job that was picked last, but not of one that is kept for a job before it."""
        free = [vacancy for vacancy in vacancies if vacancy.worker != self._kept]
        near = [vacancy for vacancy in free if self._starts_in(task.job_id, vacancy)]
        found = (place(some, model=task.options.model, alone=task.alone, is_clip=task.is_clip) for some in (near, free))
        return next((worker for worker in found if worker is not None), None)
