"""What clients were told, on disk before it counts, and what that means at the end.

A record is one JSON object a line, with `what` and `at` (seconds since the epoch):
    accepted: a 201 or 200 was seen | cancel_asked, cancel_told | delete_asked, deleted | ended: a client saw the end |
    fault | note
"""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.plan import ENDS_FAILED, JobPlan

ENDED = ("complete", "failed", "canceled")
Record = dict[str, Any]


class Ledger:
    """Append only; `add` returns once the record is durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open for the whole run

    def add(self, what: str, **values: Any) -> None:
        """One more record."""
        record = {"what": what, "at": time.time(), **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def of(self, what: str) -> list[Record]:
        """All records of one sort."""
        return [record for record in self.records if record["what"] == what]

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()


@dataclass
class Verdict:
    """What was promised and not kept, in sentences; and counts."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, status) -> accepted jobs."""
    unacknowledged: int = 0
    """Jobs that the server has though no client saw their acceptance: the answer was lost on its way."""
    cancels_lost: int = 0
    """Cancels that were answered, and whose job ended by itself all the same."""

    def count(self, status: str) -> int:
        """Accepted jobs with this outcome."""
        return sum(number for (_, ended), number in self.outcomes.items() if ended == status)


def judge(
    records: Iterable[Record], final: Mapping[str, Any], plans: Mapping[int, JobPlan], *, max_attempts: int
) -> Verdict:
    """Hold the ledger against what the server says at the end: `final` has every job that it knows, by id."""
    told = _Told(records, max_attempts)
    verdict = Verdict()
    for job_id, number in told.accepted.items():
        _judge_accepted(verdict, told, job_id, plans[number], final.get(job_id))
    for job_id, job in final.items():
        if job_id not in told.accepted:
            verdict.unacknowledged += 1
            if job["status"] not in ENDED:
                verdict.lost.append(f"{job_id}: not acknowledged, and still {job['status']}")
    _judge_doubled(verdict, told, final, plans)
    return verdict


class _Told:
    """The ledger, indexed."""

    def __init__(self, records: Iterable[Record], max_attempts: int) -> None:
        self.max_attempts = max_attempts
        by_what: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            by_what[record["what"]].append(record)
        self.accepted = {record["id"]: int(record["number"]) for record in by_what["accepted"]}
        self.accepted_at = {record["id"]: float(record["at"]) for record in by_what["accepted"]}
        self.canceled = {record["id"] for record in by_what["cancel_asked"]}
        self.cancel_told = {record["id"] for record in by_what["cancel_told"]}
        self.delete_asked = {record["id"] for record in by_what["delete_asked"]}
        self.deleted = {record["id"] for record in by_what["deleted"]}
        self.ends: dict[str, list[Record]] = defaultdict(list)
        for record in by_what["ended"]:
            self.ends[record["id"]].append(record)
        self.faults = by_what["fault"]

    def hits(self, kind: str, job_id: str, finished_at: float) -> int:
        """How many faults of a kind there were while a job was there (a second of slack: they are noticed later)."""
        start = self.accepted_at[job_id] - 1
        return sum(fault["kind"] == kind and start <= fault["at"] <= finished_at + 1 for fault in self.faults)


def _judge_accepted(verdict: Verdict, told: _Told, job_id: str, plan: JobPlan, job: Any) -> None:
    if job is None:
        seen = told.ends.get(job_id)
        if seen and job_id in told.delete_asked:
            verdict.outcomes[plan.kind, seen[0]["status"]] += 1
        else:
            verdict.lost.append(f"{job_id} ({plan.kind}): accepted, now unknown")
        return
    status = job["status"]
    verdict.outcomes[plan.kind, status] += 1
    if job_id in told.deleted:
        verdict.doubled.append(f"{job_id} ({plan.kind}): deleted, and there again")
    if status not in ENDED:
        verdict.lost.append(f"{job_id} ({plan.kind}): accepted, still {status}")
    elif status == "canceled":
        if job_id not in told.canceled:
            verdict.lost.append(f"{job_id} ({plan.kind}): canceled, which nobody asked for")
    elif status == "failed":
        if not _may_fail(told, job_id, plan, job):
            verdict.lost.append(f"{job_id} ({plan.kind}): failed with {job['error']} after {job['logs']}")
    elif plan.kind in ENDS_FAILED:
        verdict.lost.append(f"{job_id} ({plan.kind}): complete, though its script says that it fails")
    verdict.cancels_lost += job_id in told.cancel_told and status == "complete"


def _may_fail(told: _Told, job_id: str, plan: JobPlan, job: Any) -> bool:
    """By its script, or because faults killed every attempt that a job gets, or its tool."""
    code = job["error"]["code"]
    finished_at = datetime.fromisoformat(job["finishedAt"].replace("Z", "+00:00")).timestamp()
    if ENDS_FAILED.get(plan.kind) == code:
        return True
    if code == "WORKER_CRASHED":
        kills = told.hits("child_kill", job_id, finished_at) + (plan.kind == "crash_once")
        return kills >= told.max_attempts
    return plan.kind == "tool" and told.hits("tool_kill", job_id, finished_at) > 0


def _judge_doubled(verdict: Verdict, told: _Told, final: Mapping[str, Any], plans: Mapping[int, JobPlan]) -> None:
    by_number: dict[int, set[str]] = defaultdict(set)
    for job_id, number in told.accepted.items():
        by_number[number].add(job_id)
    for job_id, job in final.items():
        by_number[number_of(job)].add(job_id)
    for number, ids in by_number.items():
        gave_up = {i for i in ids if i in final and final[i]["status"] in ("failed", "canceled")}
        # A failed or canceled job gives its key up, so that a client which comes again gets a new one.
        if len(ids - gave_up) > 1 or (len(ids) > 1 and plans[number].key is None):
            verdict.doubled.append(f"submission {number} made {sorted(ids)}")
    for job_id, seen in told.ends.items():
        ends = [*seen, end_of(final[job_id])] if job_id in final else seen
        if len({json.dumps([one[name] for name in END_FIELDS]) for one in ends}) > 1:
            verdict.doubled.append(f"{job_id}: more than one end was seen: {ends}")


END_FIELDS = ("status", "finished_at", "attempt", "results")
"""What must never change once a job was seen to have ended."""


def end_of(job: Any) -> Record:
    """The end of a job as a client sees it."""
    results = [[output["filename"], output["sha256"]] for output in job["outputs"]]
    values = (job["status"], job["finishedAt"], job["attempt"], results)
    return {"id": job["workerJobId"], **dict(zip(END_FIELDS, values, strict=True))}


def number_of(job: Any) -> int:
    """Which submission a job comes from."""
    return int(json.loads(job["options"]["prompt"])["number"])
