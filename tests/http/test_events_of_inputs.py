"""The events of a job with several inputs, whose windows come side by side: they are told one input after the other."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from btworker.job_folder import JobFolder
from btworker.jobs import Job, JobId
from btworker.service import live
from btworker.service.live import Feed, Spoken
from tests.http.event_stream import heard, segments
from tests.http.server import FORM, Running, field, file, form
from tests.waiting import eventually

DEADLINE_S = 20.0
Told = tuple[str, str | None, dict[str, Any]]


class Inputs:
    """A running job of two inputs, whose child we are."""

    def __init__(self, job_id: str, folder: JobFolder) -> None:
        self.job_id = job_id
        self.looks = 0
        """At the journals, by whoever listens."""
        self._folder = folder
        folder.windows.mkdir(exist_ok=True)

    def window(self, index: int, first: int, count: int = 1) -> None:
        """Input number `index` has one more window, with these segments: a second each."""
        with self._folder.windows_of(index).open("a") as journal:
            journal.write(json.dumps({"index": first, "segments": segments(first, count)}) + "\n")

    def all_said(self, index: int) -> None:
        """These were all windows of input number `index`."""
        self._folder.windows_complete_mark(index).touch()

    def second_attempt(self, index: int) -> None:
        """It has begun with input number `index`."""
        self._folder.windows_complete_mark(index).unlink()

    def is_journal(self, path: Path, index: int) -> bool:
        """Of this input."""
        return path == self._folder.windows_of(index)

    async def looked_at(self) -> None:
        """What is there now was seen, and what came of it was told."""
        before = self.looks
        await eventually(lambda: self.looks >= before + 2)


@pytest.fixture
async def inputs(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Inputs]:
    """It runs until it is released."""
    monkeypatch.setattr("btworker.service.live.JOURNAL_POLL_S", 0.02)
    monkeypatch.setattr("btworker.service.live.WORK_POLL_S", 0.02)
    files = [file(b"a", filename="a.wav"), file(b"b", filename="b.wav")]
    async with client.post("/v1/jobs", data=form(*files, field("prompt", "hold")), headers=FORM) as response:
        job_id = str((await response.json())["workerJobId"])
    await eventually(lambda: server.service._table.live[JobId(job_id)].status.value == "running")
    inputs = Inputs(job_id, server.service.data.folder(JobId(job_id)))
    look: Callable[[Feed, Job], list[Spoken]] = Feed._new_lines

    def counted(feed: Feed, job: Job) -> list[Spoken]:
        found = look(feed, job)
        inputs.looks += 1
        return found

    monkeypatch.setattr(Feed, "_new_lines", counted)
    yield inputs
    server.pool.release.set()


async def next_segments(events: AsyncIterator[Told], count: int) -> list[tuple[int, str]]:
    """(input, text) of the next ones; nothing else comes between them."""
    found = [await asyncio.wait_for(anext(events), DEADLINE_S) for _ in range(count)]
    assert {name for name, _, _ in found} == {"segment"}
    return [(data["inputIndex"], data["text"]) for _, _, data in found]


async def begun(client: aiohttp.ClientSession, inputs: Inputs, **headers: str) -> AsyncIterator[Told]:
    """The job's events, behind its status and its progress."""
    events = heard(client, inputs.job_id, **headers)
    assert [(await anext(events))[0] for _ in range(2)] == ["status", "progress"]
    return events


async def names_of_rest(events: AsyncIterator[Told]) -> list[str]:
    """Until the stream ends, but for those of the job's state."""

    async def names() -> list[str]:
        return [name async for name, _, _ in events if name not in ("status", "progress")]

    return await asyncio.wait_for(names(), DEADLINE_S)


def said(index: int, first: int, count: int) -> list[tuple[int, str]]:
    """As next_segments."""
    return [(index, f"said {n}") for n in range(first, first + count)]


async def test_the_second_input_is_told_after_the_first(
    client: aiohttp.ClientSession, server: Running, inputs: Inputs
) -> None:
    """Its windows that are there before those of the first wait, and all are told once the first one's are all there,
    while the job still runs; from then on they are told as they come."""
    events = await begun(client, inputs)
    inputs.window(1, 0, 2)
    await inputs.looked_at()
    inputs.window(0, 0)
    assert await next_segments(events, 1) == said(0, 0, 1)
    inputs.window(1, 2)
    await inputs.looked_at()
    inputs.window(0, 1, 2)
    assert await next_segments(events, 2) == said(0, 1, 2)
    inputs.all_said(0)
    assert await next_segments(events, 3) == said(1, 0, 3)
    inputs.window(1, 3)
    assert await next_segments(events, 1) == said(1, 3, 1)
    inputs.all_said(1)
    await inputs.looked_at()
    assert not server.pool.release.is_set(), "the job has ended"
    server.pool.release.set()
    assert await names_of_rest(events) == ["done"]


async def test_the_end_of_the_first_input_is_not_lost_between_two_steps_of_a_look(
    client: aiohttp.ClientSession, server: Running, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last window and the mark that it was the last come just when its journal has been read."""
    read, came = live._whole_lines, False

    def and_then_it_ends(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
        nonlocal came
        found = read(path, start)
        if inputs.is_journal(path, 0) and not found[0] and start and not came:
            came = True
            inputs.window(0, 2)
            inputs.all_said(0)
        return found

    inputs.window(1, 0)
    events = await begun(client, inputs)
    monkeypatch.setattr("btworker.service.live._whole_lines", and_then_it_ends)
    inputs.window(0, 0, 2)
    assert await next_segments(events, 4) == said(0, 0, 3) + said(1, 0, 1)
    assert came
    server.pool.release.set()
    assert await names_of_rest(events) == ["done"]


@pytest.mark.parametrize("place", ["0:1000", "0:2000", "1:2000"])
async def test_who_comes_late_or_comes_back_hears_the_same_order(
    place: str, client: aiohttp.ClientSession, server: Running, inputs: Inputs
) -> None:
    """From the beginning, or behind the segment that it names, of the first input as of the second."""
    inputs.window(1, 0, 3)
    inputs.window(0, 0, 2)
    inputs.all_said(0)
    whole = said(0, 0, 2) + said(1, 0, 3)
    late = await begun(client, inputs)
    assert await next_segments(late, 5) == whole
    left = whole[{"0:1000": 1, "0:2000": 2, "1:2000": 4}[place] :]
    back = await begun(client, inputs, **{"Last-Event-ID": place})
    assert await next_segments(back, len(left)) == left
    server.pool.release.set()
    assert await names_of_rest(late) == await names_of_rest(back) == ["done"]


async def test_a_second_attempt_goes_on_telling(client: aiohttp.ClientSession, server: Running, inputs: Inputs) -> None:
    """It takes the first one's mark away until it has been through that input again: who has heard the first input
    is told of the second one's windows meanwhile, and of nothing twice."""
    inputs.window(0, 0, 2)
    inputs.window(1, 0)
    inputs.all_said(0)
    events = await begun(client, inputs)
    assert await next_segments(events, 3) == said(0, 0, 2) + said(1, 0, 1)
    inputs.second_attempt(0)
    inputs.window(1, 1)
    assert await next_segments(events, 1) == said(1, 1, 1)
    inputs.all_said(0)
    inputs.window(1, 2)
    assert await next_segments(events, 1) == said(1, 2, 1)
    server.pool.release.set()
    assert await names_of_rest(events) == ["done"]
