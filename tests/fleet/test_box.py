"""A box in the tests' own process, with real children, and a real front end's listener: what happens between two steps
of an attempt, which a box in a process of its own does not let a test choose.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import ErrorCode
from btworker.fleet.box import Box
from btworker.fleet.box_attempt import BoxAttempt
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FrontEnd
from btworker.fleet.records import BoxCommand, BoxState, BoxWord, JobNews, Join, Joined, RunOnBox
from btworker.jobs import Options
from btworker.messages import Failed, Finished, RunTask, WindowDone
from tests.fleet.desk_of import Desk, desk_of, inputs
from tests.fleet.line import line
from tests.process.pool_of import settings_for
from tests.waiting import eventually


@dataclass
class BoxHere:
    """See the module's docstring."""

    box: Box
    words: list[BoxWord]
    commands: "asyncio.Queue[BoxCommand]"

    def begin(self, desk: Desk, *steps: list[Any]) -> None:
        """Give it the desk's job, with a script."""
        options = Options("fake", prompt=json.dumps({"steps": list(steps)}))
        task = RunTask(desk.job_id, 1, Path("unused"), inputs(), options)
        self.commands.put_nowait(RunOnBox(1, 0, task, desk.ticket))

    def attempt(self, desk: Desk) -> "BoxAttempt | None":
        """The attempt at the job, while it is there."""
        return self.box._attempts.get(desk.job_id)

    def news(self, *kinds: type) -> list[Any]:
        """Events of these kinds that it told."""
        return [word.event for word in self.words if isinstance(word, JobNews) and isinstance(word.event, kinds)]


@asynccontextmanager
async def box_with(folder: Path, address: str) -> AsyncIterator[BoxHere]:
    """A box that was asked to join, and stops at the end."""
    words: list[BoxWord] = []
    here = BoxHere(Box(settings_for(folder / "box"), words.append), words, asyncio.Queue())
    running = asyncio.create_task(here.box.run(here.commands))
    here.commands.put_nowait(Join(1, address))
    try:
        yield here
    finally:
        await here.box.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def ready(here: BoxHere) -> None:
    """Wait until a child takes jobs."""

    def takes_jobs() -> bool:
        said = [word.workers for word in here.words if isinstance(word, BoxState | Joined)]
        return bool(said and said[-1].accepting)

    await eventually(takes_jobs, "a child takes jobs")


async def test_a_cancel_between_files_and_child_counts(tmp_path: Path) -> None:
    """The last byte is there, the child has nothing yet: the job ends as canceled, and no child begins it."""
    async with line() as slow, desk_of(tmp_path) as desk, box_with(tmp_path, slow.url) as here:
        slow.port = desk.port
        await ready(here)
        slow.hold(lambda what: "/files/in/0" in what)
        here.begin(desk, ["windows", 1])
        await eventually(lambda: any("/files/in/0" in what for what in slow.asked), "its input is on its way")
        attempt = here.attempt(desk)
        assert attempt is not None and attempt._files is not None
        attempt._files.add_done_callback(lambda _: attempt.cancel())
        slow.hold(lambda _: False)
        await eventually(lambda: here.news(Failed, Finished), "the job ends")
        assert [event.error.code for event in here.news(Failed)] == [ErrorCode.CANCELED]
        assert not here.news(WindowDone, Finished)
        await eventually(lambda: here.attempt(desk) is None, "nothing is left on the box")


@pytest.mark.parametrize("script", [["wait_file", "/nowhere"], ["windows", 1]], ids=["at work", "with results"])
async def test_a_box_that_is_cut_off_from_the_listener_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: list[Any]
) -> None:
    """While Ray carries words: the front end would take the job to be at work for ever. The box stops with it, and
    fails no job, which goes on elsewhere."""
    monkeypatch.setitem(FrontEnd.insist.__kwdefaults__, "patience_s", 0.5)
    monkeypatch.setattr(Courier.hold, "__defaults__", (0.1,))
    async with desk_of(tmp_path) as desk, line() as bad, box_with(tmp_path, bad.url) as here:
        bad.port = desk.port
        await ready(here)
        bad.hold(lambda what: what.startswith(("PATCH", "PUT")))
        here.begin(desk, script)
        await eventually(lambda: (attempt := here.attempt(desk)) is not None and attempt._has_child)
        await desk.listener.stop()
        bad.cut()
        await eventually(lambda: here.attempt(desk) is None, "the box is done with it")
        assert not here.news(Failed, Finished)
        told = [word.obstacle for word in here.words if isinstance(word, Joined) and word.obstacle]
        assert told and all(why.startswith("a box had no answer for 0 s (") for why in told), told


async def test_a_box_that_cannot_reach_the_front_end_says_so(tmp_path: Path) -> None:
    """Before it gets a job, in its first word; asked once more, when the way is open, it has nothing to complain of."""
    async with desk_of(tmp_path) as desk, box_with(tmp_path, "http://127.0.0.1:9") as here:
        await eventually(lambda: here.words, "it answers")
        joined = here.words[0]
        assert isinstance(joined, Joined)
        assert joined.obstacle == "ClientConnectorError"
        here.commands.put_nowait(Join(2, desk.url))
        await eventually(lambda: any(word.session == 2 for word in here.words), "it answers again")
        (joined,) = [word for word in here.words if isinstance(word, Joined) and word.session == 2]
        assert not joined.obstacle
