"""How long a child may be silent, when it is worn out, and when a GPU gets a rest: pure rules."""

import pytest

from btworker.jobs import JobId, Stage
from btworker.pool.limits import DECODE_MARGIN_S, ChildLimits, Strikes, child_limits
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
def test_every_stage_has_a_limit(stage, limit_s):
    """A stage that is not listed is held to the limit of a window."""
    assert LIMITS.silence_s(stage) == limit_s


@pytest.mark.parametrize(("kind", "wanted", "limit_s"), [("cuda", 0, 600), ("cpu", 0, 3600), ("cpu", 7, 7)])
def test_a_window_may_take_longer_on_a_slower_device(tmp_path, kind, wanted, limit_s):
    """The operator's own limit goes before that of the device."""
    settings = settings_for(tmp_path, window_timeout_s=wanted, decode_stall_s=5)
    limits = child_limits(settings, Device(kind))
    assert limits.window_s == limit_s
    assert limits.decode_s == 5 + DECODE_MARGIN_S


@pytest.mark.parametrize(
    ("jobs", "growth_bytes", "word"),
    [(9, 100, ""), (10, 0, "WORKER_RECYCLE_JOBS"), (0, 101, "WORKER_RECYCLE_GROWTH_MB"), (0, -5, "")],
)
def test_worn_out(jobs, growth_bytes, word):
    """By jobs, by growth, and not before; 0 switches either off."""
    said = LIMITS.worn_out(jobs=jobs, growth_bytes=growth_bytes)
    assert word in said and bool(said) == bool(word)
    assert not ChildLimits(1, 1, 1).worn_out(jobs=10**6, growth_bytes=2**40)


def test_jobs_at_work_may_hold_memory():
    """What a child has grown by is not held against it where it may be that of the jobs in it."""
    assert not LIMITS.worn_out(jobs=1, growth_bytes=300, at_work=2)
    assert LIMITS.worn_out(jobs=1, growth_bytes=301, at_work=2)


def test_only_different_jobs_in_a_row_count():
    """The same job twice is one strike; a finished job forgives; after a rest one more is enough."""
    strikes = Strikes()
    a, b, c, d = (JobId(f"wk_{name}") for name in "abcd")
    assert [strikes.strike(job) for job in (a, a, b)] == [False, False, False]
    strikes.clear()
    assert [strikes.strike(job) for job in (a, b, c, d)] == [False, False, True, True]
