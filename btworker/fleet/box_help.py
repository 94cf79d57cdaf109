"""Help with a long recording of another box: its parts come one after the other, idle children decode them, the texts
go back. Runs in the box that helps; box_lending.py is the other side.

The children find a copy of the folder that those of the other box share (btworker/shared_windows.py), in which a part
may be claimed once its sound is there. One part waits for them at a time, so that none lies here while others could do
it. The help ends where no child is left for it: each leaves for a job of its own at once.
"""

import asyncio
import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet.box_prefetch import BoxPrefetches
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FencedError, FrontEnd
from btworker.fleet.leases import HELPS, path_of
from btworker.fleet.records import HelpOnBox
from btworker.job_folder import JobFolder
from btworker.logs import get_logger
from btworker.messages import HelpTask
from btworker.pool.supervisor import Supervisor
from btworker.shared_windows import PLAN, claim, copy_pieces, packed, pieces, write_whole
from btworker.stems import numbered

log = get_logger()
POLL_S = 0.1
"""Seconds between two looks at what the children have done."""
LEASE_S = 5.0
"""Seconds between two looks whether the recording still waits for its parts: else a GPU works for nothing."""
SLOWEST_PART_S = 30.0
"""Seconds that the sound of a part may take to come: a slower line helps nobody (shares.PATIENCE_S)."""


class NoHelpError(Exception):
    """The help ends: a word for the front end."""


class BoxHelp:
    """See the module's docstring. `over` is done when nothing of it is left on the box."""

    def __init__(
        self,
        order: HelpOnBox,
        *,
        settings: Settings,
        folder: Path,
        pool: Supervisor,
        prefetches: BoxPrefetches,
        session: aiohttp.ClientSession,
        address: str,
    ) -> None:
        self.task: HelpTask = replace(order.task, folder=folder)
        self._settings = settings
        self._pool = pool
        self._prefetches = prefetches
        self._job = JobFolder(folder)
        self._name = f"shares/{numbered(self.task.file_index, self.task.take)}"
        self._shares = self._job.shares(self.task.file_index, self.task.take)
        self._front_end = FrontEnd(session, address + path_of(self.task.job_id, order.number, HELPS), order.ticket)
        self._courier = Courier(self._front_end, self._job)
        self._plan: dict[str, Any] = {}
        self._here: set[int] = set()
        """Parts whose sound is here, and whose texts the front end has not."""
        self.over = asyncio.create_task(self._run(), name=f"help-{self.task.job_id}")

    async def stop(self) -> None:
        """Leave; the parts that are here go back."""
        self.over.cancel()
        await asyncio.gather(self.over, return_exceptions=True)

    async def _run(self) -> None:
        why = "done"
        try:
            await self._help()
        except FencedError:
            why = "fenced"
        except NoHelpError as error:
            why = str(error)
        except (BtworkerError, OSError, EOFError, ValueError, KeyError) as error:
            log.warning("help_failed", workerJobId=self.task.job_id, error=type(error).__name__)
            why = "cannot"
        finally:
            self._pool.withdraw(self.task)
            await asyncio.to_thread(shutil.rmtree, self._job.path, ignore_errors=True)
        with suppress(FencedError, BtworkerError):  # a part may have been refused alone, and others wait for help
            await self._front_end.insist(lambda: self._front_end.ask("DELETE", "", params={"why": why}))

    async def _help(self) -> None:
        """Have a part here that no child has begun, and return the texts of others, until none is left anywhere. What
        an attempt waits for goes first.

        Raises NoHelpError, FencedError, and what moving files raises.
        """
        bringing: asyncio.Task[bool] | None = None
        lease = asyncio.create_task(self._front_end.hold(LEASE_S), name=f"help-lease-{self.task.job_id}")
        try:
            if is_more := await self._bring_part():
                self._pool.offer(self.task)
            while is_more or self._here:
                await self._return_texts()
                if why := self._pool.why_no_help(self.task):
                    raise NoHelpError(why)
                may_bring = bringing is None and is_more and not self._prefetches.gives_way
                if may_bring and not await asyncio.to_thread(self._has_unbegun):
                    bringing = asyncio.create_task(self._bring_part(), name=f"part-{self.task.job_id}")
                if bringing is not None and bringing.done():
                    is_more, bringing = bringing.result(), None
                if lease.done():
                    lease.result()
                await asyncio.sleep(POLL_S)
        finally:
            tasks = [lease] if bringing is None else [lease, bringing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring_part(self) -> bool:
        """Bring one more part here; whether there was one. Raises NoHelpError where the line is too slow."""
        began = time.monotonic()
        try:
            part = await self._front_end.insist(self._ask)
        except BtworkerError as error:
            if error.code is ErrorCode.NOT_FOUND:
                return False
            raise
        if not self._plan:
            await asyncio.to_thread(self._lay_out, part["plan"])
        number, sound = int(part["number"]), part["sound"]
        await self._courier.fetch_file(f"{self._name}/{number}.s16", int(sound["sizeBytes"]), str(sound["sha256"]))
        await asyncio.to_thread(self._put_in_place, number)
        self._here.add(number)
        if time.monotonic() - began > SLOWEST_PART_S:
            raise NoHelpError("cannot")
        return True

    def _lay_out(self, plan: dict[str, Any]) -> None:
        """Make a copy of the other box's folder, with a file as large as the sound, and nothing in it yet. Blocking;
        raises NoHelpError."""
        self._shares.mkdir(parents=True)
        sound, size_bytes = self._job.path / "sound", 2 * int(plan["samples"])
        if shutil.disk_usage(self._job.path).free - size_bytes < self._settings.disk_reserve_bytes:
            raise NoHelpError("cannot")
        with open(sound, "wb") as file:
            file.truncate(size_bytes)
        self._plan = {**plan, "sound": str(sound), "first": 0, "sound_comes": True}
        write_whole(self._shares / PLAN, self._plan)

    async def _ask(self) -> Any:
        return await self._front_end.ask("POST", "parts", json={"has": sorted(self._here)})

    def _put_in_place(self, number: int) -> None:
        """Blocking."""
        packed_sound = self._shares / f"{number}.s16"
        places = [(at, piece.offset, piece.count) for piece, at in packed(pieces(self._plan, number))]
        with open(packed_sound, "rb") as source, open(self._plan["sound"], "r+b") as file:
            copy_pieces(source, file, places)
        packed_sound.unlink()
        (self._shares / f"{number}.here").touch()

    def _has_unbegun(self) -> bool:
        """Whether a child could begin a part now. Blocking."""
        for number in self._here:
            if not self._texts(number).exists() and (lock := claim(self._shares, number)) is not None:
                lock.close()
                return True
        return False

    async def _return_texts(self) -> None:
        """Bring the texts to the front end of parts that are done."""
        for number in sorted(self._here):
            if self._texts(number).exists():
                path = self._shares / f"{number}.texts"
                os.link(self._texts(number), path)
                await self._courier.put_files((path,))
                self._here.discard(number)
                log.info("texts_returned", workerJobId=self.task.job_id, part=number)

    def _texts(self, number: int) -> Path:
        return self._shares / f"{number}.json"
