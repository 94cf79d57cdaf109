"""What happens to a job, as its subscribers see it: one feed a job, however many there are. Parent.

The child appends each finished window to windows/<n>.jsonl; a feed reads the whole lines that are new, so that text is
there as it is decoded. At the job's end the rest comes from the stored transcript, with speakers.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btworker.job_folder import JobFolder
from btworker.jobs import Job, JobId, JobStatus
from btworker.logprobs import TokenLogprob
from btworker.storage import DataFolder

HEARTBEAT_S = 15.0
"""Below the idle limit of any proxy."""
JOURNAL_POLL_S = 0.5
"""Between two looks at a job that waits."""
WORK_POLL_S = 0.1
"""The same while a worker has it, since somebody waits for its text; a look is a read of what is new in a file."""
MOST_NEW_BYTES = 2**22
"""Of a journal, read at one look."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A segment. Its place is where it ends, so that a subscriber who comes back can name what it had."""

    input_index: int
    start: float
    end: float
    text: str
    """As whisper spaces it: in most languages it begins with a blank."""
    speaker: str | None = None
    channel: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of its tokens, where the job asks for them."""

    @property
    def place(self) -> tuple[int, float]:
        """Grows from segment to segment."""
        return self.input_index, self.end


class Feed:
    """A job's segments so far, and its state; looks at the job while there are subscribers."""

    def __init__(
        self, job: Job, look: Callable[[], Awaitable[Job]], data: DataFolder, awaited: Callable[[Job], str]
    ) -> None:
        self.job = job
        self.awaited = awaited(job)
        """What it waits for beside other jobs."""
        self.segments: list[Spoken] = []
        self.listeners = 0
        self.over = False
        """The job has ended, and all of it is here."""
        self.payloads: dict[str, str] = {}
        """What was made of this state for one subscriber, for the next ones: emptied at each change."""
        self._look = look
        self._data = data
        self._awaits = awaited
        self._read_bytes = [0] * len(job.inputs)
        self._first_open = 0
        """The input whose text is emitted: they are at work side by side, but are emitted one after the other."""
        self._changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def changes(self, *, at_most_s: float) -> None:
        """Return at the next change, or after this long."""
        changed = self._changed
        try:
            await asyncio.wait_for(changed.wait(), at_most_s)
        except asyncio.TimeoutError:
            return

    async def run(self) -> None:
        """Follow the job to its end."""
        while not self.over:
            job = await self._look()
            found = await self._data.run(self._rest if job.status.finished else self._new_lines, job)
            self.segments += found
            self.over = job.status.finished
            awaited = self._awaits(job)
            if found or job != self.job or awaited != self.awaited or self.over:
                self.job, self.awaited = job, awaited
                self.wake()
            if not self.over:
                await asyncio.sleep(WORK_POLL_S if job.status is JobStatus.RUNNING else JOURNAL_POLL_S)

    def wake(self) -> None:
        """Wake every subscriber."""
        self.payloads.clear()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _new_lines(self, job: Job) -> list[Spoken]:
        """Blocking: what was appended to the journals since the last look."""
        found: list[Spoken] = []
        folder = self._data.folder(job.id)
        for index in range(self._first_open, len(job.inputs)):
            self._first_open = index
            whole = folder.windows_complete_mark(index).exists()  # asked first: what is read next is then all
            while lines := self._next_lines(folder, index):
                found += [one for line in lines for one in _spoken(index, line.get("segments"))]
            if not whole:
                break
        return self._after_last(found)

    def _next_lines(self, folder: JobFolder, index: int) -> list[dict[str, Any]]:
        lines, self._read_bytes[index] = _whole_lines(folder.windows_of(index), self._read_bytes[index])
        return lines

    def _rest(self, job: Job) -> list[Spoken]:
        """Blocking: what the stored transcripts have behind the last segment."""
        found: list[Spoken] = []
        for index in range(len(job.inputs)):
            try:
                raw = self._data.folder(job.id).transcript(index).read_bytes()
            except OSError:  # it failed, or its files were deleted
                continue
            found += _spoken(index, json.loads(raw).get("segments"))
        return self._after_last(found)

    def _after_last(self, found: list[Spoken]) -> list[Spoken]:
        """A second attempt writes some windows again; nobody gets them twice."""
        last = self.segments[-1].place if self.segments else (-1, 0.0)
        return [one for one in found if one.place > last]


class Feeds:
    """The feeds that have subscribers."""

    def __init__(self, look: Callable[[str], Awaitable[Job]], data: DataFolder, awaited: Callable[[Job], str]) -> None:
        self._look = look
        self._awaited = awaited
        self._data = data
        self._feeds: dict[JobId, Feed] = {}

    async def subscribe(self, job: Job) -> AsyncGenerator[Feed, None]:
        """The job's feed, after each change of it, at the latest after `HEARTBEAT_S`; ends with the job."""
        feed = self._feeds.get(job.id)
        if feed is None:
            feed = self._feeds[job.id] = Feed(job, lambda: self._look(job.id), self._data, self._awaited)
            feed.task = asyncio.create_task(feed.run(), name=f"feed-{job.id}")
        feed.listeners += 1
        try:
            while True:
                over = feed.over
                yield feed
                if over:
                    return
                await feed.changes(at_most_s=HEARTBEAT_S)
                if feed.task is None or (feed.task.cancelled() and not feed.over):
                    return
                if feed.task.done():
                    feed.task.result()  # raises what ended it early
        finally:
            feed.listeners -= 1
            if feed.listeners == 0:
                del self._feeds[job.id]
                await _ended(feed.task)

    async def close(self) -> None:
        """Let every subscriber go."""
        for feed in list(self._feeds.values()):
            await _ended(feed.task)
            feed.wake()


async def _ended(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


def _whole_lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines behind `start`, and where they end; from the beginning where the file became shorter."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = start if start <= size else 0
            file.seek(start)
            raw = file.read(MOST_NEW_BYTES)
    except OSError:
        return [], start
    whole = raw[: raw.rfind(b"\n") + 1]
    lines = []
    for line in whole.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    return lines, start + len(whole)


def _spoken(index: int, segments: object) -> list[Spoken]:
    """Segments of a journal's line or of a transcript, as far as they are any."""
    if not isinstance(segments, list):
        return []
    return [
        Spoken(
            index,
            float(raw["start"]),
            float(raw["end"]),
            str(raw["text"]),
            raw.get("speaker"),
            raw.get("channel"),
            tuple(map(TokenLogprob.from_dict, raw.get("logprobs", ()))),
        )
        for raw in segments
        if isinstance(raw, dict) and {"start", "end", "text"} <= raw.keys()
    ]
