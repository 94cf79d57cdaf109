"""Which recordings are on offer for children that have nothing to do, and when one counts as hung."""

from pathlib import Path

import pytest

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Input, JobId, Options, Stage
from btworker.messages import Failed, FileDone, Finished, Helped, HelpTask, Progressed, RunTask, WindowDone, WorkerLost
from btworker.pool import tasks as tasks_module
from btworker.pool.helping import Offers, help_with
from btworker.pool.limits import ChildLimits
from btworker.pool.tasks import Tasks

A, B = JobId("wk_a"), JobId("wk_b")
LIMITS = ChildLimits(load_s=3600, decode_s=150, window_s=600)
BROKEN = ErrorInfo(ErrorCode.WORKER_CRASHED, "was killed")


def task_of(job_id: JobId, model: str = "tiny") -> RunTask:
    """Of two inputs."""
    inputs = tuple(Input(f"in_{n}", f"{n}.wav", str(n), 1, "") for n in range(2))
    return RunTask(job_id, 1, Path("job"), inputs, Options(model=model))


def offers_of(*offered: HelpTask) -> Offers:
    """On offer in this order."""
    offers = Offers()
    for task in offered:
        offers.note(task)
    return offers


def test_the_oldest_offer_of_the_loaded_model_comes_first() -> None:
    """A child does not swap its model to help."""
    other, first, second = help_with(task_of(A, "base"), 0), help_with(task_of(B), 1), help_with(task_of(A), 0)
    offers = offers_of(first, second, other)
    assert offers.of("tiny") == first
    assert (first.file_index, first.source.filename) == (1, "1.wav")
    assert offers.of("large-v3") is None


@pytest.mark.parametrize(
    "event",
    [
        FileDone(A, 1, 0),
        Helped(A, 0, through=True),
        Helped(A, 0, error=BROKEN),
        Finished(A, 1, (), (), ()),
        Failed(A, 1, BROKEN),
        WorkerLost(A, 1, "was killed"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_offer_ends(event: object) -> None:
    """With the recording, with its job, and with a helper's misfortune; those of others stay."""
    offers = offers_of(help_with(task_of(A), 0), help_with(task_of(B), 0))
    offers.note(event)
    left = offers.of("tiny")
    assert left is not None and left.job_id == B


def test_a_helper_that_left_for_its_own_job_may_come_back() -> None:
    """There is something left to do."""
    offers = offers_of(help_with(task_of(A), 0))
    offers.note(Helped(A, 0))
    assert offers.of("tiny") is not None


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one."""
    time = [0.0]
    monkeypatch.setattr(tasks_module.time, "monotonic", lambda: time[0])
    return time


def is_hung(tasks: Tasks, now: list[float], *, after_s: float) -> bool:
    """Two looks, so long after the last word."""
    now[0] += after_s
    tasks.silent(LIMITS)
    return tasks.silent(LIMITS) is not None


def test_the_slowest_stage_of_a_jobs_inputs_is_its_limit(now: list[float]) -> None:
    """One input is decoded ahead while the window of another one takes its time; then only the first is left."""
    tasks = Tasks()
    tasks.begin(task_of(A))
    tasks.note(WindowDone(A, 1, 0, 0, 1.0, 2.0))
    tasks.note(Progressed(A, 1, Stage.INITIALIZING, 1, 0.0, 0.0))
    assert not is_hung(tasks, now, after_s=599)
    tasks.note(FileDone(A, 1, 0))
    assert not is_hung(tasks, now, after_s=149)
    assert is_hung(tasks, now, after_s=1)


def test_the_last_input_counts_until_the_files_are_written(now: list[float]) -> None:
    """With its own limit."""
    tasks = Tasks()
    tasks.begin(task_of(A))
    tasks.note(WindowDone(A, 1, 0, 0, 1.0, 2.0))
    tasks.note(FileDone(A, 1, 0))
    assert not is_hung(tasks, now, after_s=599)
    assert is_hung(tasks, now, after_s=1)


def test_a_silent_helper_is_hung(now: list[float]) -> None:
    """As a silent job is; one that has ended is not."""
    tasks = Tasks()
    tasks.help_with(help_with(task_of(B), 0))
    assert tasks.helps and not tasks
    assert not is_hung(tasks, now, after_s=599)
    tasks.note_help()
    assert not is_hung(tasks, now, after_s=599)
    assert is_hung(tasks, now, after_s=1)
    helped = tasks.help_ended()
    assert helped is not None and helped.job_id == B
    assert tasks.silent(LIMITS) is None
