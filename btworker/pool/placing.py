"""Which waiting job starts next, and in which worker. Pure; used by the supervisor, in the parent.

Jobs of one child want the same model, since it has one loaded; a job that was in a child which died runs alone. So a
job may have to wait for a whole child: one is then kept for it, and is given nothing that came later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from btworker.jobs import Job, JobId


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


def place(vacancies: Iterable[Vacancy], *, model: str, alone: bool) -> int | None:
    """The index of the worker for such a job: with its model rather than another, then with few jobs; None: none."""

    def takes(vacancy: Vacancy) -> bool:
        return vacancy.free > 0 and (vacancy.jobs == 0 or (vacancy.model == model and not alone))

    fitting = [(vacancy.model != model, vacancy.jobs, vacancy.worker) for vacancy in vacancies if takes(vacancy)]
    return min(fitting)[-1] if fitting else None


def choose(jobs: Iterable[Job], vacancies: Sequence[Vacancy]) -> tuple[JobId | None, int | None]:
    """The first of the jobs, in order, that can start now; and the worker that is kept for one before it.

    What is kept for the first that cannot start is the worker with the fewest jobs: it only gets fewer, so its turn
    comes.
    """
    kept = None
    for job in jobs:
        if not any(vacancy.free for vacancy in vacancies):
            break
        if place(vacancies, model=job.options.model, alone=job.alone) is not None:
            return job.id, kept
        if kept is None:
            kept = min(vacancies, key=lambda vacancy: (vacancy.jobs, vacancy.worker)).worker
            vacancies = [vacancy for vacancy in vacancies if vacancy.worker != kept]
    return None, kept
