"""Places for a few of many who wait, given to one key after the other: one with 10,000 waits behind its own. Pure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Turn = asyncio.Future[None]


class Turns:
    """So many places. Who comes first has the first turn of its key."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._lines: dict[str, deque[Turn]] = {}
        """Those who wait, of each key; the key whose turn it is comes first."""

    @asynccontextmanager
    async def place(self, owner: str) -> AsyncIterator[None]:
        """Wait for a place, and keep it."""
        await self._enter(owner)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, owner: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: Turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(owner, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the place was given just before
                self._leave()
            raise

    def _leave(self) -> None:
        """Give the place to the next of the key whose turn it is, and that key the last turn."""
        while self._lines:
            owner = next(iter(self._lines))
            line = self._lines.pop(owner)
            turn = line.popleft()
            if line:
                self._lines[owner] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
