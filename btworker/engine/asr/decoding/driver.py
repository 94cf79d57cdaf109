"""Who makes the decoder's rounds. On a CPU whoever waits for a window does, since there all cores are at the same work.
On a GPU a thread of its own does nothing else: what jobs compute of their windows meanwhile, spectrograms, segments
and files, never stands between two rounds, in which the GPU would have nothing to do.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakMethod

from btworker.engine.cooperate.ticket import Ticket
from btworker.errors import BtworkerError, ErrorCode

TURN_S = 0.05
"""How long a waiting job leaves the decoder to another one before it looks at its own tickets."""
IDLE_S = 0.005
"""Between two looks at tickets of others, of which nobody tells the decoder."""
END_S = 1.0
"""Seconds without a window after which the thread ends."""


class Rounds:
    """The rounds of a decoder, which is not kept alive by who makes them: its model may have to make room."""

    def __init__(self, make: Callable[[], None], is_idle: Callable[[], bool]) -> None:
        """Take two methods of the decoder."""
        self._make = WeakMethod(make)
        self._is_idle = WeakMethod(is_idle)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to decode, now or ever."""
        is_idle = self._is_idle()
        return is_idle is None or is_idle()

    def make(self) -> None:
        """Make one."""
        make = self._make()
        if make is not None:
            make()


class Driver(Protocol):
    """Makes rounds as long as there is something to decode."""

    def wake(self) -> None:
        """Take note that a window has come."""

    def notice(self) -> None:
        """Take note that a ticket is done."""

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Decoder."""


class WhoeverWaits:
    """Who waits for a ticket makes a round; when several jobs wait, they take turns, and every round serves all."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self._turn = threading.Lock()

    def wake(self) -> None:
        """See Driver."""

    def notice(self) -> None:
        """See Driver."""

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Decoder."""
        end = time.monotonic() + at_most_s
        began = False
        while not any(ticket.done for ticket in tickets):
            if began and time.monotonic() >= end:
                return False
            began = True
            if self._turn.acquire(timeout=TURN_S):
                try:
                    idle = self._rounds.is_idle
                    if not idle and not any(ticket.done for ticket in tickets):
                        self._rounds.make()
                finally:
                    self._turn.release()
                if idle:
                    time.sleep(IDLE_S)
        return True


class OwnThread:
    """Rounds are made by a thread that begins with a window, and ends when none has come for long."""

    def __init__(self, rounds: Rounds, *, enter: Callable[[], None] = lambda: None) -> None:
        """`enter` is called in the thread at its beginning."""
        self._rounds = rounds
        self._enter = enter
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """See Driver."""
        with self._changed:
            if not self._is_alive:
                self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def notice(self) -> None:
        """See Driver."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Decoder. Raises BtworkerError GPU_ERROR where the thread ended by an error: torch cannot free memory."""
        end = time.monotonic() + at_most_s
        while not any(ticket.done for ticket in tickets):
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            with self._changed:
                if self._thread is not None and not self._is_alive:
                    raise BtworkerError(ErrorCode.GPU_ERROR, "the thread that decodes has failed; try again")
                self._changed.wait(min(left_s, IDLE_S))
        return True

    @property
    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        self._enter()
        while self._has_work():
            self._rounds.make()
            self.notice()

    def _has_work(self) -> bool:
        """Wait for a window; False where none comes, and the thread is none any more."""
        with self._changed:
            came = self._changed.wait_for(lambda: not self._rounds.is_idle, timeout=END_S)
            if not came:
                self._thread = None
            return came
