"""Ctrl-C while a worker has our jobs: the person at the terminal says what becomes of them.

The work goes on while the question stands, so that nothing is lost by thinking about it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any, Protocol

from btworker.cli.main import INTERRUPTED


class Choice(Enum):
    """What becomes of the jobs."""

    CANCEL = "c"
    LEAVE = "l"
    GO_ON = ""


class Interruptible(Protocol):
    """What can be asked about."""

    unfinished: set[str]
    """Ids of the jobs that the worker has."""

    def pause(self) -> None:
        """Draw nothing more."""

    def resume(self) -> None:
        """Draw again, below what was written meanwhile."""

    async def cancel(self) -> None:
        """Cancel all of them."""


def at_a_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def interruptible(subject: Interruptible, work: Coroutine[Any, Any, int]) -> int:
    """The work's exit code; at Ctrl-C the answer counts, and a second Ctrl-C leaves everything as it is."""
    working = asyncio.create_task(work, name="interruptible")
    with _presses() as pressed:
        try:
            while not await _first(working, pressed.wait()):
                pressed.clear()
                if await _choice(subject, working, pressed) is not Choice.GO_ON:
                    return INTERRUPTED
            return working.result()
        finally:
            working.cancel()
            await asyncio.wait({working})


async def _choice(subject: Interruptible, working: "asyncio.Task[int]", pressed: asyncio.Event) -> Choice:
    """What to do now; the cancelling is done."""
    if not subject.unfinished:
        return Choice.LEAVE
    subject.pause()
    with _lines() as lines:
        choice = await _answer(len(subject.unfinished), lines, working, pressed)
    if choice is Choice.CANCEL:
        await subject.cancel()
    elif choice is Choice.GO_ON:
        subject.resume()
    return choice


async def _answer(
    jobs: int, lines: "asyncio.Queue[str]", working: "asyncio.Task[int]", pressed: asyncio.Event
) -> Choice:
    """Asked until there is one, or until it does not matter any more."""
    while True:
        _ask(jobs)
        answer = asyncio.create_task(lines.get(), name="answer")
        if await _first(working, pressed.wait(), answer):
            return Choice.GO_ON
        if answer.cancelled():
            print(file=sys.stderr)
            return Choice.LEAVE
        with suppress(ValueError):
            return Choice(answer.result().strip().lower()[:1])


def _ask(jobs: int) -> None:
    which, them = ("a job", "it") if jobs == 1 else (f"{jobs} jobs", "them")
    print(
        f"\nThe worker has {which} of yours.\n"
        f"c: cancel {them}   l: leave {them} running (or Ctrl-C again)   Enter: go on waiting\n> ",
        end="",
        file=sys.stderr,
        flush=True,
    )


async def _first(working: "asyncio.Task[int]", *others: Any) -> bool:
    """Wait for the first of them; whether the work has ended. The others are not waited for any longer."""
    tasks = [asyncio.ensure_future(other) for other in others]
    try:
        await asyncio.wait({working, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return working.done()


@contextmanager
def _presses() -> Iterator[asyncio.Event]:
    """An event that every Ctrl-C sets."""
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, pressed.set)
    try:
        yield pressed
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _lines() -> "Iterator[asyncio.Queue[str]]":
    """A queue of the lines that are typed; the end of the input is an "l". No thread: one could not be given up."""
    loop, lines, file = asyncio.get_running_loop(), asyncio.Queue[str](), sys.stdin.fileno()
    loop.add_reader(file, lambda: lines.put_nowait(os.read(file, 4096).decode("utf-8", "replace") or "l"))
    try:
        yield lines
    finally:
        loop.remove_reader(file)
