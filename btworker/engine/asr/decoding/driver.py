"""Who makes the decoder's rounds. On a CPU whoever waits for a window does, and what the encoder has to do beside them:
products of few rows, of which steps are made, may gain little by a second core, so that others encode on it meanwhile.
On a GPU a thread of its own does nothing else: what jobs compute of their windows meanwhile, spectrograms, segments
and files, never stands between two rounds, in which the GPU would have nothing to do.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from weakref import WeakMethod

from btworker.engine.cooperate.ticket import IDLE_S, Ticket
from btworker.engine.stack.cores import Cores
from btworker.errors import BtworkerError, ErrorCode

TURN_S = 0.05
"""How long a waiting job leaves the decoder to another one before it looks at its own tickets."""
LOOK_S = 1.0
"""Between two looks of an idle thread whether its decoder is still there."""


class Rounds:
    """The rounds of a decoder, which is not kept alive by who makes them: its model may have to make room."""

    def __init__(self, make: Callable[[], bool], is_idle: Callable[[], bool], encode: Callable[[], bool]) -> None:
        """Take three methods of the decoder."""
        self._make = WeakMethod(make)
        self._is_idle = WeakMethod(is_idle)
        self._encode = WeakMethod(encode)

    @property
    def is_over(self) -> bool:
        """Whether there is no decoder any more."""
        return self._is_idle() is None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to decode, now or ever."""
        is_idle = self._is_idle()
        return is_idle is None or is_idle()

    def make(self) -> bool:
        """Make one; False where there was nothing to decode."""
        make = self._make()
        return make is not None and make()

    def encode(self) -> bool:
        """Encode a window beside the rounds; False where there is none."""
        encode = self._encode()
        return encode is not None and encode()


class Driver(Protocol):
    """Makes rounds as long as there is something to decode."""

    def wake(self) -> None:
        """Take note that a window has come."""

    def notice(self) -> None:
        """Take note that a ticket is done."""

    @property
    def round_s(self) -> float:
        """See Decoder."""

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Decoder."""


class WhoeverWaits:
    """Who waits for a ticket encodes a window, then makes a round unless somebody else is at one; every round serves
    all. Of those who wait, as many compute as there are cores."""

    def __init__(self, rounds: Rounds, cores: Cores) -> None:
        self._rounds = rounds
        self._cores = cores
        self._turn = threading.Lock()

    def wake(self) -> None:
        """See Driver."""

    def notice(self) -> None:
        """See Driver."""

    @property
    def round_s(self) -> float:
        """See Decoder. Who makes one has no other thread to speak for it meanwhile."""
        return 0.0

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Decoder."""
        end = time.monotonic() + at_most_s
        began = False
        with self._cores.wanted():
            while not any(ticket.done for ticket in tickets):
                if began and time.monotonic() >= end:
                    return False
                began = True
                with self._cores.taken():
                    encoded = self._rounds.encode()
                if not self._made_round(tickets, within_s=0.0 if encoded else TURN_S) and not encoded:
                    time.sleep(IDLE_S)
        return True

    def _made_round(self, tickets: Sequence[Ticket[Any]], *, within_s: float) -> bool:
        """Make a round once it is this thread's turn; False where there is nothing to decode."""
        if not self._turn.acquire(timeout=within_s):
            return True
        try:
            with self._cores.taken():
                return any(ticket.done for ticket in tickets) or self._rounds.make()
        finally:
            self._turn.release()


class OwnThread:
    """Rounds are made by a thread that begins with the first window and ends with the decoder, not between two windows:
    cuDNN's plans are each thread's own, and torch never frees them, so that another thread would have to plan anew."""

    def __init__(self, rounds: Rounds, *, enter: Callable[[], None] = lambda: None) -> None:
        """`enter` is called in the thread at its beginning."""
        self._rounds = rounds
        self._enter = enter
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._round_began_at = float("inf")

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

    @property
    def round_s(self) -> float:
        """See Decoder."""
        return max(0.0, time.monotonic() - self._round_began_at)

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
            self._round_began_at = time.monotonic()
            self._rounds.make()
            self._round_began_at = float("inf")
            self.notice()

    def _has_work(self) -> bool:
        """Wait for a window; False where none can come any more, and the thread is none."""
        with self._changed:
            while not self._changed.wait_for(lambda: not self._rounds.is_idle, timeout=LOOK_S):
                if self._rounds.is_over:
                    self._thread = None
                    return False
            return True
