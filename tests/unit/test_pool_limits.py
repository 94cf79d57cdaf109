"""How long a child may be silent, when it is worn out, and when a GPU gets a rest: pure rules."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from btworker.jobs import JobId, Options, Stage
from btworker.messages import Alive, FileDone, JobEvent, Progressed, RunTask, WindowDone
from btworker.pool.limits import DECODE_MARGIN_S, ChildLimits, Strikes, child_limits
from btworker.pool.tasks import Tasks
from btworker.specs import Device
from tests.process.pool_of import settings_for

LIMITS = ChildLimits(load_s=3600, decode_s=150, window_s=600, jobs=10, growth_bytes=100)


@pytest.mark.parametrize(
    ("stage", "limit_s"),
    [
        (None, 3600),
        (Stage.LOADING_MODEL, 3600),
        (Stage.INITIALIZING, 150),
        (Stage.TRANSCRIBING, 600),
        (Stage.DIARIZING, 600),
    ],
)
def test_every_stage_has_a_limit(stage: Stage | None, limit_s: float) -> None:
    """A stage that is not listed is held to the limit of a window."""
    assert LIMITS.silence_s(stage) == limit_s


JOB = JobId("wk_job")


class Held:
    """A job of three inputs in a child, at a time of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.tasks = Tasks()

    def hear(self, *events: JobEvent) -> None:
        """The child says this now."""
        for event in events:
            self.tasks.note(event)

    def patience_s(self) -> float:
        """After how many seconds of silence it counts as hung, which two looks find."""
        heard_s = self.now_s
        for limit_s in sorted({LIMITS.decode_s, LIMITS.window_s, LIMITS.load_s}):
            self.now_s = heard_s + limit_s - 1
            assert not self.tasks.silent(LIMITS)
            self.now_s = heard_s + limit_s
            assert not self.tasks.silent(LIMITS), "one look is enough"
            if found := self.tasks.silent(LIMITS):
                assert found[0] == JOB and f"after {limit_s:g} s" in found[1]
                self.hear(Alive(JOB, 1))
                return limit_s
        raise AssertionError("it may be silent for ever")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """It has just begun."""
    job = Held()
    monkeypatch.setattr(
        "btworker.pool.tasks.time", SimpleNamespace(monotonic=lambda: job.now_s, time=lambda: job.now_s)
    )
    job.tasks.begin(RunTask(JOB, 1, Path("unused"), (), Options("tiny")))
    job.hear(Alive(JOB, 1))  # at our time
    return job


def stage(index: int, name: Stage) -> Progressed:
    """Input number `index` is in this stage."""
    return Progressed(JOB, 1, name, index, 0.0, 0.0)


def test_a_job_may_be_as_silent_as_the_slowest_stage_of_its_inputs(held: Held) -> None:
    """Of those at work, whichever was heard of last; a sign of life changes no stage."""
    assert held.patience_s() == LIMITS.decode_s
    held.hear(stage(0, Stage.LOADING_MODEL))
    assert held.patience_s() == LIMITS.load_s
    held.hear(stage(0, Stage.INITIALIZING), stage(1, Stage.INITIALIZING))
    assert held.patience_s() == LIMITS.decode_s
    held.hear(WindowDone(JOB, 1, 0, 0, 30.0, 60.0))
    assert held.patience_s() == LIMITS.window_s
    held.hear(stage(1, Stage.INITIALIZING), stage(2, Stage.INITIALIZING), Alive(JOB, 1))
    assert held.patience_s() == LIMITS.window_s


def test_an_input_that_is_done_holds_nobody(held: Held) -> None:
    """The others are held to their own stages; the last one's stays, since the job still writes its files."""
    held.hear(stage(0, Stage.INITIALIZING), stage(1, Stage.INITIALIZING), stage(0, Stage.DIARIZING))
    assert held.patience_s() == LIMITS.window_s
    held.hear(FileDone(JOB, 1, 0))
    assert held.patience_s() == LIMITS.decode_s
    held.hear(stage(1, Stage.TRANSCRIBING), FileDone(JOB, 1, 1))
    assert held.patience_s() == LIMITS.window_s


def test_any_word_of_any_input_ends_the_silence(held: Held) -> None:
    """Also between the two looks."""
    held.hear(stage(0, Stage.TRANSCRIBING), stage(1, Stage.INITIALIZING))
    for event in (WindowDone(JOB, 1, 0, 0, 1.0, 9.0), stage(1, Stage.INITIALIZING), FileDone(JOB, 1, 1)):
        held.now_s += LIMITS.window_s
        assert not held.tasks.silent(LIMITS)
        held.hear(event)
        assert not held.tasks.silent(LIMITS)


@pytest.mark.parametrize(("kind", "wanted", "limit_s"), [("cuda", 0, 600), ("cpu", 0, 3600), ("cpu", 7, 7)])
def test_a_window_may_take_longer_on_a_slower_device(tmp_path: Path, kind: str, wanted: float, limit_s: float) -> None:
    """The operator's own limit goes before that of the device."""
    settings = settings_for(tmp_path, window_timeout_s=wanted, decode_stall_s=5)
    limits = child_limits(settings, Device(kind))
    assert limits.window_s == limit_s
    assert limits.decode_s == 5 + DECODE_MARGIN_S


@pytest.mark.parametrize(
    ("jobs", "growth_bytes", "word"),
    [(9, 100, ""), (10, 0, "WORKER_RECYCLE_JOBS"), (0, 101, "WORKER_RECYCLE_GROWTH_MB"), (0, -5, "")],
)
def test_worn_out(jobs: int, growth_bytes: int, word: str) -> None:
    """By jobs, by growth, and not before; 0 switches either off."""
    said = LIMITS.worn_out(jobs=jobs, growth_bytes=growth_bytes)
    assert word in said and bool(said) == bool(word)
    assert not ChildLimits(1, 1, 1).worn_out(jobs=10**6, growth_bytes=2**40)


def test_jobs_at_work_may_hold_memory() -> None:
    """What a child has grown by is not held against it where it may be that of the jobs in it."""
    assert not LIMITS.worn_out(jobs=1, growth_bytes=300, at_work=2)
    assert LIMITS.worn_out(jobs=1, growth_bytes=301, at_work=2)


def test_only_different_jobs_in_a_row_count() -> None:
    """The same job twice is one strike; a finished job forgives; after a rest one more is enough."""
    strikes = Strikes()
    a, b, c, d = (JobId(f"wk_{name}") for name in "abcd")
    assert [strikes.strike(job) for job in (a, a, b)] == [False, False, False]
    strikes.clear()
    assert [strikes.strike(job) for job in (a, b, c, d)] == [False, False, True, True]
