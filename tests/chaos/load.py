"""The clients: they send what the plan says, cancel, delete, and look at what becomes of their jobs."""

import asyncio
import random
import time
from collections import Counter
from typing import Any

from tests.chaos.client import NO_ANSWER, Answer, Body, request, upload
from tests.chaos.ledger import ENDED, Ledger, end_of, number_of
from tests.chaos.plan import JobPlan, Plan
from tests.chaos.server import ServerProcess

CLIENTS_AT_ONCE = 24
GIVE_UP_S = 240.0
"""A client that still has no answer by then stops asking; its submission was then never accepted."""
REFUSALS = (429, 503, 507)
"""Answers that say: not accepted, come again. (After a 500, only a client with a key may come again.)"""
LOOK_EVERY_S = 1.0
LOOK_AT = 50
"""Ended jobs of each sort that a look covers, newest first."""


class Load:
    """All clients of one run."""

    def __init__(self, plan: Plan, server: ServerProcess, ledger: Ledger) -> None:
        self.plan = plan
        self.plans: dict[int, JobPlan] = {job.number: job for job in plan.jobs}
        """By number; faults may add uploads of their own."""
        self.answers: Counter[str] = Counter()
        self.accept_s: list[float] = []
        self.end_s: list[float] = []
        """From the acceptance to the end, for jobs that ended well."""
        self.problems: list[str] = []
        """Answers that no fault explains."""
        self.accepted: dict[str, float] = {}
        self._server = server
        self._ledger = ledger
        self._room = asyncio.Semaphore(CLIENTS_AT_ONCE)
        self._ended: set[str] = set()
        self._work: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start every planned job at its time; returns when the last one was started."""
        started = time.monotonic()
        for job in self.plan.jobs:
            await asyncio.sleep(max(0.0, job.at_s - (time.monotonic() - started)))
            await self._room.acquire()
            self._spawn(job)

    async def finish(self) -> None:
        """Wait for every client."""
        while self._work:
            await asyncio.wait(self._work)

    def _spawn(self, job: JobPlan) -> None:
        task = asyncio.create_task(self._client(job), name=f"client-{job.number}")
        self._work.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        self._room.release()
        task.result()  # a mistake in the harness itself must not stay unseen

    async def _client(self, job: JobPlan) -> None:
        job_id = await self.submit(job)
        if job_id is not None and job.cancel_after_s is not None:
            await asyncio.sleep(job.cancel_after_s)
            self._ledger.add("cancel_asked", id=job_id)
            if await self._insist("POST", f"/v1/jobs/{job_id}/cancel"):
                self._ledger.add("cancel_told", id=job_id)

    async def submit(self, job: JobPlan, *, pause_s: float = 0.0) -> str | None:
        """Send until there is an answer, or no way to know: the id, or None."""
        body = Body(job)
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            await self._server.up.wait()
            began = time.monotonic()
            try:
                answer = await upload(self._server.url, body, pause_s=pause_s)
            except NO_ANSWER:
                self.answers["none"] += 1
                if job.key is None:
                    return None
                await asyncio.sleep(0.2)
                continue
            self.answers[str(answer.status)] += 1
            if answer.status in (200, 201):
                self.accept_s.append(time.monotonic() - began)
                return self._accept(job, answer, body)
            if answer.status not in REFUSALS and job.key is None:
                return None
            await asyncio.sleep(0.5)
        return None

    def _accept(self, job: JobPlan, answer: Answer, body: Body) -> str:
        job_id = str(answer.body["workerJobId"])
        sha256 = answer.body["inputs"][0]["sha256"]
        if sha256 != body.sha256:
            self.problems.append(f"{job_id}: its input's SHA-256 is {sha256}, not that of what was sent")
        self._ledger.add("accepted", id=job_id, number=job.number, status=answer.status)
        self.accepted[job_id] = time.time()
        return job_id

    async def _insist(self, method: str, path: str) -> bool:
        """Ask until there is an answer; whether it was a good one."""
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            await self._server.up.wait()
            try:
                answer = await request(self._server.url, method, path)
            except NO_ANSWER:
                await asyncio.sleep(0.2)
                continue
            if answer.status < 500:
                return answer.status < 300
            await asyncio.sleep(0.5)
        return False

    async def watch(self) -> None:
        """For ever: look at the newest jobs, note every end that is new, and whether an old one has changed."""
        rng = random.Random(self.plan.seed)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._server.up.wait()
            for status in ENDED:
                try:
                    page = await request(self._server.url, "GET", f"/v1/jobs?limit={LOOK_AT}&status={status}")
                except NO_ANSWER:
                    continue
                for job in page.body["jobs"] if page.status == 200 else ():
                    await self._saw_end(job, again=rng.random() < 0.02)

    async def _saw_end(self, job: Any, *, again: bool) -> None:
        job_id = job["workerJobId"]
        if job_id not in self.accepted or (job_id in self._ended and not again):
            return
        first = job_id not in self._ended
        self._ended.add(job_id)
        self._ledger.add("ended", **end_of(job))
        if first and job["status"] == "complete":
            self.end_s.append(time.time() - self.accepted[job_id])
        if first and self.plans[number_of(job)].delete:
            self._ledger.add("delete_asked", id=job_id)
            if await self._insist("DELETE", f"/v1/jobs/{job_id}"):
                self._ledger.add("deleted", id=job_id)
