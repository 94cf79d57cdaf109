"""A box: today's local pool, for a front end on another machine. Runs in a process of its own on the box; no torch.

    commands --> Box --> Attempt: fetch inputs --> pool/supervisor.py --> children
    words    <-- Box <-- Attempt: files to the front end, then the event <--+

What it has on disk is a copy: it is cleared away at each start, and with each attempt.
"""

import asyncio
import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp

from btworker import __version__
from btworker.config import Settings
from btworker.fleet.box_attempt import BoxAttempt
from btworker.fleet.box_help import BoxHelp
from btworker.fleet.box_prefetch import BoxPrefetches
from btworker.fleet.front_end import find_obstacle
from btworker.fleet.records import (
    BoxCommand,
    BoxState,
    BoxWord,
    BoxWorkers,
    DropPrefetch,
    HelpOnBox,
    JobNews,
    Join,
    Joined,
    LoadModels,
    NotTaken,
    Prefetch,
    RunOnBox,
    WorkDone,
)
from btworker.fleet.versions import versions_here
from btworker.jobs import JobId
from btworker.logs import get_logger, last_words
from btworker.messages import Cancel, Failed, Finished, JobEvent, WorkerLost
from btworker.pool import HelpBegun, RoomChanged
from btworker.pool.supervisor import Supervisor

log = get_logger()
SIGN_OF_LIFE_S = 2.0


class Box:
    """See the module's docstring. `emit` takes its words; made inside the event loop."""

    def __init__(self, settings: Settings, emit: Callable[[BoxWord], None]) -> None:
        self._settings = settings
        self._emit = emit
        self._jobs = settings.data_dir / "jobs"
        self._pool = Supervisor(settings, is_box=True)
        self._prefetches = BoxPrefetches(settings, self._jobs)
        self._attempts: dict[JobId, BoxAttempt] = {}
        self._helps: dict[JobId, BoxHelp] = {}
        self._session = 0
        """0: no front end has asked it to join."""
        self._address = ""

    async def run(self, commands: "asyncio.Queue[BoxCommand]") -> None:
        """Follow commands, for ever."""
        self._clear()
        await self._pool.start()
        async with aiohttp.ClientSession(
            headers={"User-Agent": f"btworker-box/{__version__}"}, auto_decompress=False
        ) as session:
            work = (self._follow_pool(), self._give_signs_of_life(), self._follow(commands, session))
            await asyncio.gather(*work)

    async def stop(self) -> None:
        """End the children."""
        await self._pool.stop()

    def _clear(self) -> None:
        shutil.rmtree(self._jobs, ignore_errors=True)
        for path in (self._jobs, self._settings.scratch_dir):
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
        for path in self._settings.scratch_dir.glob("wk_*"):
            path.unlink(missing_ok=True)

    async def _follow(self, commands: "asyncio.Queue[BoxCommand]", session: aiohttp.ClientSession) -> None:
        while True:
            match await commands.get():
                case Join() as join:
                    await self._join(join, session)
                case RunOnBox() as order if order.session == self._session:
                    await self._end_help(order.task.job_id)
                    await self._give_up(order.task.job_id)
                    self._begin(order, session)
                case Cancel(job_id=job_id, attempt=number):
                    if (attempt := self._attempts.get(job_id)) is not None and attempt.number == number:
                        attempt.cancel()
                case LoadModels(jobs=jobs):
                    self._pool.load_for(jobs)
                case Prefetch() as order if order.session == self._session:
                    at_work = [attempt.largest_bytes for attempt in self._attempts.values()]
                    await self._prefetches.begin(order, session=session, address=self._address, at_work=at_work)
                case DropPrefetch(job_id=job_id):
                    await self._prefetches.drop(job_id)
                case HelpOnBox() as order if order.session == self._session:
                    await self._help(order, session)

    async def _join(self, join: Join, session: aiohttp.ClientSession) -> None:
        """Give up what another session left, and see whether jobs could be fetched; then say so: the front end counts
        on empty workers."""
        log.info("box_joins", session=join.session, givesUp=len(self._attempts))
        self._session = 0
        given_up = list(self._attempts.values())
        for attempt in given_up:
            attempt.give_up()
        for job_id in list(self._helps):
            await self._end_help(job_id)
        await asyncio.gather(self._prefetches.drop_all(), *(attempt.over for attempt in given_up))
        obstacle = await find_obstacle(session, join.address)
        self._session, self._address = join.session, join.address
        self._emit(Joined(join.session, versions_here(self._settings.model), self._workers(), obstacle))

    async def _give_up(self, job_id: JobId) -> None:
        """End an attempt that is over for the front end, before another one of the job begins here."""
        if (attempt := self._attempts.get(job_id)) is not None:
            attempt.give_up()
            await asyncio.wait({attempt.over})

    def _begin(self, order: RunOnBox, session: aiohttp.ClientSession) -> None:
        attempt = BoxAttempt(
            order,
            folder=self._jobs / f"{order.task.job_id}.{order.task.attempt}",
            prefetches=self._prefetches,
            pool=self._pool,
            session=session,
            address=self._address,
            emit=self._news,
            cut_off=self._emit_cut_off,
        )
        self._attempts[order.task.job_id] = attempt
        attempt.over.add_done_callback(partial(self._forget, self._attempts, attempt, order.task.job_id))

    async def _help(self, order: HelpOnBox, session: aiohttp.ClientSession) -> None:
        job_id = order.task.job_id
        await self._end_help(job_id)
        self._helps[job_id] = BoxHelp(
            order,
            settings=self._settings,
            folder=self._jobs / f"{job_id}.help-{order.number}",
            pool=self._pool,
            prefetches=self._prefetches,
            session=session,
            address=self._address,
        )
        self._helps[job_id].over.add_done_callback(partial(self._forget, self._helps, self._helps[job_id], job_id))

    async def _end_help(self, job_id: JobId) -> None:
        if (help_ := self._helps.get(job_id)) is not None:
            await help_.stop()

    def _forget(self, among: dict[JobId, Any], ended: object, job_id: JobId, over: "asyncio.Task[None]") -> None:
        if among.get(job_id) is ended:
            del among[job_id]
        if over.cancelled():
            return
        if (error := over.exception()) is not None:  # that nobody foresaw: the job must not stay here for ever
            last_words(type(error), error, error.__traceback__)
            os._exit(1)

    def _news(self, session: int, event: "JobEvent | NotTaken | WorkDone") -> None:
        """The workers' state goes first: who learns that a child was lost must not send the job to it again."""
        if session == self._session:
            if isinstance(event, NotTaken | WorkDone | Failed | Finished | WorkerLost):
                self._emit_state()
            self._emit(event if isinstance(event, NotTaken | WorkDone) else JobNews(session, event))

    def _emit_cut_off(self, session: int, why: str) -> None:
        """Tell the front end that it cannot be reached: it gives this box up, and asks it to join."""
        if session == self._session:
            self._emit(Joined(session, versions_here(self._settings.model), BoxWorkers(), why))

    async def _follow_pool(self) -> None:
        async for event in self._pool.events():
            if isinstance(event, RoomChanged | HelpBegun):
                self._emit_state()
            elif (attempt := self._attempts.get(event.job_id)) is not None:
                attempt.take(event)

    async def _give_signs_of_life(self) -> None:
        while True:
            await asyncio.sleep(SIGN_OF_LIFE_S)
            self._emit_state()

    def _emit_state(self) -> None:
        if self._session:
            workers = self._workers()
            for attempt in self._attempts.values():
                attempt.lend(workers.offers)
            self._emit(BoxState(self._session, workers))

    def _workers(self) -> BoxWorkers:
        offers = tuple(task for task in self._pool.offers if task.job_id in self._attempts)
        return BoxWorkers(self._pool.workers(), self._pool.accepting, offers)
