"""Which job starts next, and where: pure rules over what workers vacancy and what jobs want."""

import itertools
from typing import Any

import pytest

from btworker.jobs import Job, JobId, Options
from btworker.pool.placing import Vacancy, choose, place
from btworker.service.waiting import WaitingJobs


def job(name: str, model: str = "a", *, alone: bool = False, priority: int = 5, arrival: int = 0) -> Job:
    """A waiting job."""
    options = Options(model=model, priority=priority)
    return Job(id=JobId(name), options=options, inputs=(), created_at=0.0, alone=alone, arrival=arrival)


@pytest.mark.parametrize(
    ("vacancies", "model", "alone", "worker"),
    [
        ([], "a", False, None),
        ([Vacancy(0, "a", jobs=2, free=0)], "a", False, None),
        ([Vacancy(0, "a", jobs=2, free=1)], "a", False, 0),
        ([Vacancy(0, "a", jobs=2, free=1)], "b", False, None),
        ([Vacancy(0, "a", jobs=2, free=1)], "a", True, None),
        ([Vacancy(0, "a", free=3)], "b", True, 0),
        ([Vacancy(0, "a", free=3), Vacancy(1, "b", jobs=2, free=1)], "b", False, 1),
        (
            [Vacancy(0, "a", jobs=2, free=1), Vacancy(1, "a", jobs=1, free=2), Vacancy(2, "a", jobs=1, free=2)],
            "a",
            False,
            1,
        ),
        ([Vacancy(0, "a", free=3), Vacancy(1, "b", free=3)], "b", True, 1),
    ],
    ids=["nobody", "full", "beside", "other model", "alone", "empty", "its model first", "few jobs first", "both"],
)
def test_place(vacancies: list[Vacancy], model: str, alone: bool, worker: int | None) -> None:
    """Where its model is rather than elsewhere, then where there are few; an empty one for another model, or alone."""
    assert place(vacancies, model=model, alone=alone) == worker


BUSY, BUSIER = Vacancy(0, "a", jobs=1, free=2), Vacancy(1, "a", jobs=2, free=1)


@pytest.mark.parametrize(
    ("jobs", "vacancies", "expected"),
    [
        ([], [BUSY], (None, None)),
        ([job("x")], [], (None, None)),
        ([job("x"), job("y")], [BUSY, BUSIER], ("x", None)),
        ([job("x", alone=True), job("y")], [BUSY], (None, 0)),
        ([job("x", "b"), job("y")], [BUSY], (None, 0)),
        ([job("x", alone=True), job("y")], [BUSY, BUSIER], ("y", 0)),
        ([job("x", alone=True), job("y", alone=True), job("z")], [BUSIER, BUSY], ("z", 0)),
        ([job("x", alone=True), job("y")], [BUSY, Vacancy(1, "a", jobs=3, free=0)], (None, 0)),
        ([job("x", alone=True), job("y")], [BUSY, Vacancy(1, "a", free=3)], ("x", None)),
        ([job("x", "b"), job("y")], [Vacancy(0, "a", jobs=3, free=0)], (None, None)),
    ],
)
def test_choose(jobs: list[Job], vacancies: list[Vacancy], expected: Any) -> None:
    """The first that can start; the worker with the fewest jobs is kept for the first that cannot, and for it alone."""
    assert choose(jobs, vacancies) == expected


def test_nobody_is_overtaken_for_ever() -> None:
    """With jobs that never cease to come, two workers of three slots: the lone job starts once one has run empty."""
    lone, young = job("lone", alone=True), [job(f"new{n}") for n in range(10)]
    running, ends = {0: 3, 1: 3}, itertools.cycle((0, 1))
    for _ in range(40):
        vacancies = [Vacancy(index, "a", jobs, 3 - jobs) for index, jobs in running.items()]
        found, kept = choose([lone, *young], vacancies)
        if found == lone.id:
            break
        if found is None:
            running[next(ends)] -= 1
        else:
            index = place([vacancy for vacancy in vacancies if vacancy.worker != kept], model="a", alone=False)
            running[index] += 1
    assert found == lone.id and sorted(running.values()) == [0, 3]


def test_waiting_jobs_are_in_order() -> None:
    """Higher priority, then arrival; a job can be taken out anywhere, and comes back to its place."""
    waiting = WaitingJobs()
    jobs = [job("c", arrival=2), job("b", arrival=1), job("d", arrival=3), job("a", arrival=9, priority=9)]
    for one in jobs:
        waiting.add(one)
    assert list(waiting) == ["a", "b", "c", "d"]
    assert [waiting.position(JobId(name)) for name in "abcdx"] == [0, 1, 2, 3, None]
    assert waiting.discard(JobId("b")) and not waiting.discard(JobId("b"))
    assert (list(waiting), len(waiting)) == (["a", "c", "d"], 3)
    waiting.add(jobs[1])
    assert list(waiting) == ["a", "b", "c", "d"]
