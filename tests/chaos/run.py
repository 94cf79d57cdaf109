"""One run from its seed to its RESULT line: server, load and faults side by side, then the checks."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import checks
from tests.chaos.faults import Faults
from tests.chaos.ledger import Ledger, Verdict, judge
from tests.chaos.load import Load
from tests.chaos.plan import Plan, Shape, make_plan
from tests.chaos.server import ServerProcess

MAX_ATTEMPTS = 3
DRAIN_S = 3
ENVIRONMENT = {
    "WORKER_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "WORKER_DRAIN_SECONDS": str(DRAIN_S),
    "WORKER_MAX_FILE_MB": "100",
    "WORKER_QUARANTINE_MINUTES": "0.01",  # its half hour is right for a GPU, and too long for a run that kills children
}


@dataclass
class Findings:
    """Everything that a run has found."""

    verdict: Verdict = field(default_factory=Verdict)
    wrong: list[str] = field(default_factory=list)
    """Results, answers and exits that are not as they should be."""
    leftovers: list[str] = field(default_factory=list)
    """Files, processes and descriptors."""

    @property
    def clean(self) -> bool:
        """Nothing was found."""
        return not (self.verdict.lost or self.verdict.doubled or self.wrong or self.leftovers)

    def sentences(self) -> list[str]:
        """All of it."""
        return [
            *(f"lost: {line}" for line in self.verdict.lost),
            *(f"doubled: {line}" for line in self.verdict.doubled),
            *(f"wrong: {line}" for line in self.wrong),
            *(f"left over: {line}" for line in self.leftovers),
        ]


class Run:
    """What a run is made of."""

    def __init__(self, folder: Path, *, seed: int, shape: Shape, min_faults: int = 0) -> None:
        self.plan: Plan = make_plan(seed, shape)
        self.server = ServerProcess(folder, **ENVIRONMENT)
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.load = Load(self.plan, self.server, self.ledger)
        self.faults = Faults(self.server, self.load, self.ledger)
        self.findings = Findings()
        self.seconds = 0.0
        self._min_faults = min_faults

    async def go(self, *besides: Coroutine[Any, Any, None]) -> None:
        """The whole run; `besides` are tasks that go on while it is under load."""
        await self.server.start()
        before = await self._settled_descriptors()
        started = time.monotonic()
        async with _in_background(self.server.keep_alive(), self.faults.wake_stopped(), self.load.watch()):
            async with _in_background(*besides):
                await asyncio.gather(self.load.run(), self._make_faults(started))
            self.seconds = time.monotonic() - started
            await self.load.finish()
            is_quiet = await checks.quiet(self.server)
        await self._check(is_quiet=is_quiet, descriptors_before=before)
        self.ledger.close()

    async def _settled_descriptors(self) -> int:
        """Of an idle parent with both children there."""
        while len(self.server.children()) < 2:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        return checks.descriptors(self.server.pid)

    async def _make_faults(self, started: float) -> None:
        for fault in self.plan.faults:
            late_s = time.monotonic() - started
            if max(late_s, fault.at_s) > self.plan.seconds and self.faults.made.total() >= self._min_faults:
                return
            await asyncio.sleep(max(0.0, fault.at_s - late_s))
            await self.faults.make(fault)

    async def _check(self, *, is_quiet: bool, descriptors_before: int) -> None:
        jobs = await checks.all_jobs(self.server)
        found = self.findings
        found.verdict = judge(self.ledger.records, jobs, self.load.plans, max_attempts=MAX_ATTEMPTS)
        found.wrong += checks.wrong_results(self.server.data, jobs, self.load.plans)
        found.wrong += self.load.problems + self.faults.problems
        if not is_quiet:
            found.wrong.append(f"{checks.unended(jobs)} jobs did not end")
        found.leftovers += await checks.leftover_files(self.server.data, jobs)
        found.leftovers += await checks.leaked_descriptors(self.server, before=descriptors_before)
        await self.server.stop()
        found.leftovers += await checks.leftover_processes(self.server)

    def table(self) -> list[tuple[str, str]]:
        """What happened, as label and value."""
        verdict, load = self.findings.verdict, self.load
        rows = [(f"fault {kind}", str(count)) for kind, count in sorted(self.faults.made.items())]
        rows += [(f"  {kind}: nothing to hit", str(count)) for kind, count in sorted(self.faults.missed.items())]
        rows += [(f"job {kind} -> {status}", str(count)) for (kind, status), count in sorted(verdict.outcomes.items())]
        rows += [(f"upload answered {status}", str(count)) for status, count in sorted(load.answers.items())]
        rows += [(f"log error {name}", str(count)) for name, count in sorted(checks.errors_in(self.server.log).items())]
        rows += [(f"server ended {how}", str(self.server.exits.count(how))) for how in sorted(set(self.server.exits))]
        rows += [
            ("jobs whose acceptance nobody saw", str(verdict.unacknowledged)),
            ("cancels answered, job complete all the same", str(verdict.cancels_lost)),
            ("seconds under load", f"{self.seconds:.0f}"),
            ("start to listening, s", _spread(self.server.starts_s)),
            ("upload to its answer, s", _spread(load.accept_s)),
            ("acceptance to a complete job seen, s", _spread(load.end_s)),
        ]
        return rows

    @property
    def result(self) -> dict[str, int]:
        """The RESULT line's values. What is wrong but neither lost nor doubled shows in the exit code only."""
        verdict = self.findings.verdict
        return {
            "faults": self.faults.made.total(),
            "accepted": verdict.outcomes.total() + sum("now unknown" in line for line in verdict.lost),
            "completed": verdict.count("complete"),
            "failed": verdict.count("failed"),
            "canceled": verdict.count("canceled"),
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "leftovers": len(self.findings.leftovers),
        }


@contextlib.asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Tasks that go on meanwhile; a mistake in one of them ends the run."""
    tasks = [asyncio.create_task(one) for one in work]
    own = asyncio.current_task()

    def broke(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and own is not None:
            own.cancel()

    for task in tasks:
        task.add_done_callback(broke)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return f"median {statistics.median(ordered):.2f}, p99 {p99:.2f}, most {ordered[-1]:.2f}"
