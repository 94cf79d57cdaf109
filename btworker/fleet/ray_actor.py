"""The actor that speaks for a box in the cluster: it starts the box's process, and passes records on. Runs in a worker
process of Ray's, on the box; where either of the two processes ends, so does the other, and Ray starts the actor again.
"""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from multiprocessing.connection import Connection

from btworker import __version__
from btworker.config import box_environment
from btworker.fleet.records import BoxCommand, BoxWord, NotStarted

MOST_WORDS = 10_000
"""That wait for a reader: hours of signs of life."""
LAST_WORD_S = 5.0
"""Seconds for which it is told why the box does not start, before the next try."""


class BoxActor:
    """One for each node of the cluster that is a box."""

    def __init__(self, name: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "btworker.fleet.box_process", name, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=box_environment()
            )
        self._connection = Connection(ours.detach())
        self._words: deque[BoxWord | NotStarted] = deque()
        self._arrived = asyncio.Event()
        self._receives = False
        self._reader = 0
        """Number of the reader that gets the words: the last one that asked for the release."""

    async def release(self) -> str:
        """btworker's release here: asked before any record crosses, since another one's may have other fields. What the
        box says from now on is for whoever asked."""
        self._next_reader()
        self._words.clear()
        return __version__

    async def take(self, command: BoxCommand) -> None:
        """Pass a command on to the box."""
        self._connection.send(command)

    async def words(self) -> AsyncIterator[BoxWord | NotStarted]:
        """What the box says, to whoever asked last for the release; ends where another one does."""
        if not self._receives:
            self._receives = True
            threading.Thread(target=self._receive, args=(asyncio.get_running_loop(),), daemon=True).start()
        mine = self._next_reader()
        while True:
            while not self._words and self._reader == mine:
                self._arrived.clear()
                await self._arrived.wait()
            if self._reader != mine:
                return
            yield self._words.popleft()

    def _next_reader(self) -> int:
        """End the stream of the last one; the number of the next."""
        self._reader += 1
        self._arrived.set()
        return self._reader

    def _arrive(self, word: BoxWord | NotStarted) -> None:
        if len(self._words) >= MOST_WORDS:  # nobody takes them any more: a front end that comes again begins anew
            self._next_reader()
            self._words.clear()
        self._words.append(word)
        self._arrived.set()

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own."""
        word: BoxWord | NotStarted | None = None
        try:
            while True:
                word = self._connection.recv()
                loop.call_soon_threadsafe(self._arrive, word)
        except (EOFError, OSError):
            self._process.kill()
            if isinstance(word, NotStarted):  # its reader wants to know, and Ray starts this one again at once
                time.sleep(LAST_WORD_S)
            os._exit(1)
