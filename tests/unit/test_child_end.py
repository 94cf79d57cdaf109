"""What the end of a child means: a table of what was known of it, and what follows."""

import time
from typing import Any

import pytest

from btworker.errors import ErrorCode
from btworker.messages import Blame
from btworker.pool import RESTART_REASONS
from btworker.pool.child_record import ChildRecord, End, NextStart, end_of, not_started

CRASHED, TIMEOUT = ErrorCode.WORKER_CRASHED, ErrorCode.TIMEOUT
KILLED = "was killed by SIGKILL"


@pytest.mark.parametrize(
    ("facts", "jobs_left", "end"),
    [
        pytest.param(
            {"loaded": True}, 1,
            End(CRASHED, KILLED, "worker_crash", Blame.OWN, NextStart.AFTER_CRASH),
            id="it died without a word, with one job",
        ),
        pytest.param(
            {"loaded": True}, 2,
            End(CRASHED, KILLED, "worker_crash", Blame.SHARED, NextStart.AFTER_CRASH),
            id="with several",
        ),
        pytest.param(
            {"loaded": True}, 0,
            End(CRASHED, KILLED, "worker_crash", Blame.OWN, NextStart.AFTER_CRASH),
            id="with none",
        ),
        pytest.param(
            {}, 0,
            End(CRASHED, f"{KILLED} while it loaded", "worker_crash", Blame.OWN, NextStart.AFTER_FAILED_LOAD),
            id="while it loaded",
        ),
        pytest.param(
            {"ends_for": ErrorCode.MODEL_UNAVAILABLE}, 0,
            End(CRASHED, f"{KILLED} while it loaded", "internal", Blame.OWN, NextStart.AFTER_FAILED_LOAD),
            id="it could not load",
        ),
        pytest.param(
            {"ends_for": ErrorCode.OUT_OF_MEMORY}, 0,
            End(CRASHED, f"{KILLED} while it loaded", "gpu_oom", Blame.OWN, NextStart.AFTER_FAILED_LOAD),
            id="it had no memory to load in",
        ),
        pytest.param(
            {"ends_for": TIMEOUT, "why": "was silent"}, 0,
            End(TIMEOUT, "was silent", "timeout", Blame.OWN, NextStart.AFTER_FAILED_LOAD),
            id="it hung while it loaded",
        ),
        pytest.param(
            {"loaded": True, "ends_for": TIMEOUT, "why": "was silent"}, 2,
            End(TIMEOUT, "was silent", "timeout", Blame.SHARED, NextStart.AFTER_CRASH),
            id="one of its jobs hung",
        ),
        pytest.param(
            {"loaded": True, "ends_for": TIMEOUT, "why": "was silent", "quarantines_gpu": True}, 1,
            End(TIMEOUT, "was silent", "timeout", Blame.OWN, NextStart.AFTER_QUARANTINE),
            id="the last of several jobs that hung on a GPU",
        ),
        pytest.param(
            {"loaded": True, "ends_for": ErrorCode.CANCELED, "why": "did not stop"}, 2,
            End(CRASHED, "did not stop", "canceled", Blame.NONE, NextStart.AFTER_CRASH),
            id="it was killed for a cancel, which is nobody else's fault",
        ),
        pytest.param(
            {"loaded": True, "ends_for": ErrorCode.GPU_ERROR, "why": "ended itself", "shared": True}, 1,
            End(CRASHED, "ended itself", "gpu_error", Blame.SHARED, NextStart.AFTER_CRASH),
            id="its GPU broke with several jobs in it, of which one is left",
        ),
        pytest.param(
            {"loaded": True, "ends_for": ErrorCode.GPU_ERROR, "why": "ended itself", "quarantines_gpu": True}, 0,
            End(CRASHED, "ended itself", "gpu_error", Blame.OWN, NextStart.AFTER_QUARANTINE),
            id="its GPU broke again",
        ),
        pytest.param(
            {"loaded": True, "worn_out": "it has done 9 jobs", "recycled": True}, 0,
            End(CRASHED, KILLED, "recycled", Blame.OWN, NextStart.AT_ONCE),
            id="it gave way",
        ),
        pytest.param(
            {"loaded": True, "unloaded": True}, 0,
            End(CRASHED, KILLED, "worker_crash", Blame.OWN, NextStart.WITH_A_JOB),
            id="it had nothing to do, and was killed before it had ended",
        ),
    ],
)  # fmt: skip
def test_what_the_end_of_a_child_means(facts: dict[str, Any], jobs_left: int, end: End) -> None:
    """For the jobs in it, for the counters, and for the next child."""
    assert end_of(ChildRecord(**facts), exited=KILLED, jobs_left=jobs_left) == end


@pytest.mark.parametrize("code", [None, *ErrorCode])
def test_every_end_is_counted_under_a_known_reason(code: ErrorCode | None) -> None:
    """The label of a metric is a closed list."""
    assert end_of(ChildRecord(ends_for=code), exited=KILLED, jobs_left=0).restart_reason in RESTART_REASONS


def test_a_child_that_the_system_does_not_start_costs_no_job() -> None:
    """And is tried again with the long delays."""
    end = not_started("Cannot allocate memory")
    assert end.sentence == "could not be started: Cannot allocate memory"
    assert (end.restart_reason, end.blame, end.next_start) == ("internal", Blame.NONE, NextStart.AFTER_FAILED_LOAD)


def test_a_child_is_idle_only_after_its_limit_and_never_without_one() -> None:
    """0 stands for never."""
    record = ChildRecord(idle_at=time.monotonic() - 100)
    assert [record.idle_for(limit_s) for limit_s in (0, 99, 200)] == [False, True, False]
