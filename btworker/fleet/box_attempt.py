"""One attempt on a box: its files come, a child works, and what the child has made reaches the front end before the
event about it. Runs in the box.
"""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path

import aiohttp

from btworker.errors import BtworkerError, ErrorCode, ErrorInfo
from btworker.fleet.box_lending import Lending
from btworker.fleet.box_prefetch import BoxPrefetches
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FencedError, FrontEnd, UnreachedError
from btworker.fleet.leases import path_of
from btworker.fleet.records import NotTaken, RunOnBox, WorkDone
from btworker.job_folder import JobFolder
from btworker.jobs import Stage
from btworker.logs import get_logger
from btworker.messages import (
    Failed,
    FileDone,
    Finished,
    HelpTask,
    JobEvent,
    Progressed,
    Rendered,
    WindowDone,
    WorkerLost,
)
from btworker.pool.supervisor import Supervisor

log = get_logger()


class BoxAttempt:
    """See the module's docstring. `over` is done when nothing of it is left on the box."""

    def __init__(
        self,
        order: RunOnBox,
        *,
        folder: Path,
        prefetches: BoxPrefetches,
        pool: Supervisor,
        session: aiohttp.ClientSession,
        address: str,
        emit: Callable[[int, JobEvent | NotTaken | WorkDone], None],
        cut_off: Callable[[int, str], None],
    ) -> None:
        self._order = order
        self._prefetches = prefetches
        self._prefetched = prefetches.take(order.task.job_id)
        if self._prefetched is not None:
            folder = self._prefetched.folder
        self._task = replace(order.task, folder=folder)
        self._folder = JobFolder(folder)
        self._pool = pool
        url = address + path_of(self._task.job_id, self._task.attempt)
        self._front_end = FrontEnd(session, url, order.ticket)
        self._courier = Courier(self._front_end, self._folder)
        self._lendings: dict[HelpTask, Lending] = {}
        self._emit_in_session = emit
        self._cut_off = cut_off
        self._events: asyncio.Queue[JobEvent] = asyncio.Queue()
        self._fenced = False
        """Nothing that it makes is of use any more."""
        self._error: ErrorInfo | None = None
        """What it fails with, whatever its child makes."""
        self._files: asyncio.Task[None] | None = None
        """Files that are on their way."""
        self._has_child = False
        self._is_canceled = False
        self.over = asyncio.create_task(self._run(), name=f"attempt-{self._task.job_id}")

    @property
    def number(self) -> int:
        """Of the attempt."""
        return self._task.attempt

    @property
    def largest_bytes(self) -> int:
        """Size of its largest input."""
        return max((one.size_bytes for one in self._task.inputs), default=0)

    def take(self, event: JobEvent) -> None:
        """Take an event of its child. The end is emitted at once: the next job need not wait for this one's files."""
        if isinstance(event, Finished | Failed | WorkerLost) and event.attempt == self._task.attempt:
            self._emit(WorkDone(self._order.session, self._task.job_id, self._task.attempt))
        self._events.put_nowait(event)

    def cancel(self) -> None:
        """Stop the job; its end is emitted."""
        self._is_canceled = True
        if self._has_child:
            self._pool.cancel(self._task.job_id)
        elif self._files is not None:
            self._files.cancel()

    def give_up(self) -> None:
        """Stop the job; nobody wants to know."""
        self._fenced = True
        if self._files is not None:
            self._files.cancel()
        self.cancel()

    def lend(self, offers: Iterable[HelpTask]) -> None:
        """Let other boxes have parts of these recordings, as far as they are its own."""
        for task in offers:
            if task.job_id == self._task.job_id and task not in self._lendings:
                self._lendings[task] = Lending(task, self._front_end, self._courier)

    async def _run(self) -> None:
        lease = asyncio.create_task(self._hold_lease(), name=f"lease-{self._task.job_id}")
        try:
            if await self._begin():
                await self._work()
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            await asyncio.gather(*(lending.stop() for lending in self._lendings.values()))
            if self._prefetched is not None:
                await self._prefetched.drop()
            await asyncio.to_thread(shutil.rmtree, self._folder.path, ignore_errors=True)

    async def _begin(self) -> bool:
        """Bring the files of the attempt here, and give it to its worker; whether a child has it now."""
        try:
            with self._prefetches.giving_way():
                await self._move(self._fetch())
        except FencedError:
            return self._end_unbegun()
        except (BtworkerError, OSError) as error:
            self._note(error)
            return self._end_unbegun()
        if self._is_canceled:  # once there was nothing to break off any more, and no child yet
            return self._end_unbegun()
        self._has_child = not self._fenced and self._pool.send_to(self._order.worker, self._task) is not None
        if not self._has_child:
            self._emit(NotTaken(self._order.session, self._task.job_id, self._task.attempt))
        return self._has_child

    def _end_unbegun(self) -> bool:
        """Tell why no child gets it, where that is not known; False."""
        if self._error is not None or self._is_canceled:
            self._fail(self._error or ErrorInfo(ErrorCode.CANCELED, "the job was canceled"))
        return False

    async def _fetch(self) -> None:
        """Bring here what is not here yet."""
        if self._is_canceled:  # before there was anything to break off
            raise FencedError
        if self._prefetched is not None:
            self._courier.inputs = await self._prefetched.complete()
        await self._courier.fetch(self._task.inputs)

    async def _move(self, work: Coroutine[None, None, None]) -> None:
        """Move files. Raises FencedError, also where that is broken off, and what `work` raises."""
        self._files = asyncio.create_task(work, name=f"files-{self._task.job_id}")
        try:
            await asyncio.wait({self._files})
            if self._files.cancelled():
                raise FencedError
            self._files.result()
        finally:
            self._files = None

    async def _work(self) -> None:
        is_over = False
        while not is_over:
            event = await self._events.get()
            if event.attempt == self._task.attempt:
                is_over = isinstance(event, Finished | Failed | WorkerLost)
                await self._pass_on(event, is_over=is_over)

    async def _pass_on(self, event: JobEvent, *, is_over: bool) -> None:
        """Bring the event's files to the front end, then tell of it."""
        try:
            if not self._fenced and self._error is None:
                await self._move(self._bring(event))
        except FencedError:
            self._fenced = True
        except (BtworkerError, OSError) as error:
            self._note(error)
        if (self._fenced or self._error is not None) and not is_over:
            self._pool.cancel(self._task.job_id)
        elif self._error is not None and is_over:
            self._fail(self._error)
        elif not self._fenced:
            self._emit(event)

    async def _bring(self, event: JobEvent) -> None:
        """Raises FencedError, DISK_FULL, DOWNLOAD_FAILED."""
        match event:
            case Rendered(rendition=rendition):
                await self._courier.put_files(self._folder.rendition(rendition.index).both)
            case Finished():
                await self._courier.push_state()
                await self._courier.publish_results()
            case WindowDone() | FileDone() | Failed() | WorkerLost() | Progressed(stage=Stage.DIARIZING):
                await self._courier.push_state()

    async def _hold_lease(self) -> None:
        """Stop where the front end has given the attempt up, which an event would tell only later, and where nothing
        can be brought to it for too long, which it may know nothing of."""
        try:
            await self._courier.hold()
        except FencedError:
            self.give_up()
        except BtworkerError as error:
            self._note(error)
            self.cancel()

    def _note(self, error: BtworkerError | OSError) -> None:
        """Note what the attempt fails with. Where the way to the front end is shut, it does not: the box is given up,
        and the job goes on elsewhere."""
        if isinstance(error, UnreachedError):
            self._cut_off(self._order.session, error.message)
            self._fenced = True
        self._error = _info(error)

    def _fail(self, error: ErrorInfo) -> None:
        self._emit(Failed(self._task.job_id, self._task.attempt, error))

    def _emit(self, event: JobEvent | NotTaken | WorkDone) -> None:
        if not self._fenced:
            self._emit_in_session(self._order.session, event)


def _info(error: BtworkerError | OSError) -> ErrorInfo:
    if isinstance(error, BtworkerError):
        return error.info
    return ErrorInfo(ErrorCode.DISK_FULL, f"the disk of its box does not take the job's files: {error.strerror}")
