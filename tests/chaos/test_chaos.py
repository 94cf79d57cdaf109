"""The harness itself, and a short run of it."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ledger import judge
from tests.chaos.plan import CHAOS_FAULTS, JobPlan, Shape, make_plan
from tests.chaos.server import ROOT
from tests.chaos.soak import slope
from tests.slices import FULL

SHAPE = Shape(seconds=60, jobs_per_s=2, fault_gap_s=2, fault_kinds=CHAOS_FAULTS)
END = {
    "what": "ended",
    "at": 1767225605.0,
    "id": "wk_a",
    "status": "complete",
    "attempt": 1,
    "results": [],
    "finished_at": "2026-01-01T00:00:10.000Z",
}
PLAN = JobPlan(1, 0.0, "plain", 100, (["windows", 1],))


def job(job_id: str = "wk_a", status: str = "complete", **changes: Any) -> dict[str, Any]:
    """A job as the API shows it, with what the ledger looks at."""
    error = {"code": changes.pop("code", "PROCESSING_ERROR")} if status == "failed" else None
    return {
        "workerJobId": job_id,
        "status": status,
        "error": error,
        "logs": [],
        "attempt": 1,
        "finishedAt": "2026-01-01T00:00:10.000Z",
        "outputs": [],
        "options": {"prompt": '{"number": 1}'},
        **changes,
    }


def verdict(jobs: list[dict[str, Any]], *records: dict[str, Any], plan: JobPlan = PLAN) -> Any:
    """What the ledger says of these jobs, after one acceptance of wk_a."""
    accepted = {"what": "accepted", "at": 1767225600.0, "id": "wk_a", "number": 1}
    return judge([accepted, *records], {one["workerJobId"]: one for one in jobs}, {1: plan}, max_attempts=2)


def test_same_seed_gives_the_same_schedule() -> None:
    """Jobs and faults; another seed gives others; a denser load leaves the faults as they are."""
    plan = make_plan(7, SHAPE)
    assert plan == make_plan(7, SHAPE)
    assert plan.jobs != make_plan(8, SHAPE).jobs and plan.faults != make_plan(8, SHAPE).faults
    assert plan.faults == make_plan(7, replace(SHAPE, jobs_per_s=9)).faults


def test_every_kind_of_fault_comes_early() -> None:
    """A short run meets each of them once before any comes again."""
    kinds = [fault.kind for fault in make_plan(7, SHAPE).faults[: len(CHAOS_FAULTS)]]
    assert sorted(kinds) == sorted(CHAOS_FAULTS)


@pytest.mark.parametrize(
    ("jobs", "plan"),
    [
        ([], PLAN),
        ([job(status="running")], PLAN),
        ([job(status="failed")], PLAN),
        ([job(status="failed", code="WORKER_CRASHED")], PLAN),
        ([job(status="canceled")], PLAN),
        ([job()], replace(PLAN, kind="poison")),
        ([job(), job("wk_b", "queued")], replace(PLAN, key="k")),
    ],
)
def test_ledger_sees_what_is_lost(jobs: list[dict[str, Any]], plan: JobPlan) -> None:
    """Unknown, not ended, failed or canceled for no reason, complete against its script."""
    assert verdict(jobs, plan=plan).lost


def test_ledger_sees_what_is_doubled() -> None:
    """Two jobs of one submission; two ends of one job; a deleted job that is back."""
    keyed = replace(PLAN, key="k")
    assert verdict([job(), job("wk_b")], plan=keyed).doubled
    assert verdict([job(), job("wk_b", "failed")]).doubled
    assert verdict([job()], {**END, "finished_at": "2026-01-01T00:00:11.000Z"}).doubled
    assert verdict([job()], {"what": "deleted", "at": 0.0, "id": "wk_a"}).doubled


def test_ledger_is_content_with_what_was_to_be_expected() -> None:
    """Its script's failure, a cancel that was asked for, every attempt killed by a fault, a key that was given up."""
    at = {"at": 1767225605.0}
    kill = {"what": "fault", "kind": "child_kill", **at}
    for found in (
        verdict([job()]),
        verdict([job(status="canceled")], {"what": "cancel_asked", "id": "wk_a", **at}),
        verdict([job(status="failed", code="WORKER_CRASHED")], kill, kill),
        verdict([job(status="failed", code="CORRUPT_AUDIO")], plan=replace(PLAN, kind="refused")),
        verdict([job(), job("wk_b", "failed")], plan=replace(PLAN, key="k")),
    ):
        assert not found.lost and not found.doubled
    gone = [END, {"what": "delete_asked", "id": "wk_a", **at}]
    assert not verdict([], *gone).lost


def test_slope_of_a_straight_line() -> None:
    """Least squares, and nothing where there is nothing to fit."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 1)]) == 0


@pytest.mark.serial
@pytest.mark.timeout(1800)
def test_nothing_is_lost_in_a_short_run(tmp_path: Path) -> None:
    """Every kind of fault under load: nothing lost, doubled, wrong or left over. `make chaos` is the long form."""
    minutes, faults = ("1", "25") if FULL else ("0.5", "15")
    command = [sys.executable, "-m", "tests.chaos", "--seed", "1", "--fault-gap-seconds", "1.8", "--folder", tmp_path]
    done = subprocess.run(
        [*command, "--minutes", minutes, "--min-faults", faults], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = re.search(r"^RESULT faults=(\d+) .* lost=0 doubled=0 leftovers=0$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and found, done.stdout + done.stderr
    assert int(found[1]) >= int(faults)
