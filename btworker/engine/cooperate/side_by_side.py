"""Several pieces of work in one thread, each a coroutine that awaits a ticket where it cannot go on without an answer.
While all of them wait, the decoder is driven, here alone, so that the windows of all are in its batches.

One thread, since whatever computes here uses all cores, or the one GPU: two would only be in each other's way. What the
pieces emit meanwhile they append to a queue, which emitting() empties at the edge.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Generic, Protocol, TypeVar

from btworker.engine.cooperate.ticket import FirstOf, Ticket, checkpoint, look_at

EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")
POLL_S = 0.5
"""Seconds after which the owner gets its turn though nothing has happened: to see whether the job was canceled."""
Piece = Coroutine[Ticket[Any] | None, None, ResultT]
"""Awaits tickets and checkpoints."""


class Driver(Protocol):
    """What is driven while everybody waits: Decoder."""

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """Return True when one of the tickets is done, False after the given time."""


class _Started(Generic[ResultT]):
    """A piece that has begun and not ended."""

    def __init__(self, piece: Piece[ResultT]) -> None:
        self._piece = piece
        self.ticket: Ticket[Any] | None = None
        self.results: list[ResultT] = []

    @property
    def can_go_on(self) -> bool:
        """It waits for nothing."""
        return self.ticket is None or self.ticket.done

    def steps(self) -> Iterator[None]:
        """Go on until it waits again, or ends; yields after each step."""
        self.ticket = None
        while self.ticket is None and not self.results:
            try:
                self.ticket = self._piece.send(None)
            except StopIteration as end:
                self.results.append(end.value)
            yield


async def together(pieces: Sequence[Callable[[], Piece[ResultT]]], *, may_begin: Callable[[], bool]) -> list[ResultT]:
    """Run all pieces as one, begun in their order as soon as `may_begin` says so; returns their results, in order.

    What one of them raises ends all of them.
    """
    started: dict[int, _Started[ResultT]] = {}
    results: dict[int, ResultT] = {}
    begun = 0
    with ExitStack() as at_the_end:
        while len(results) < len(pieces):
            while begun < len(pieces) and (not started or may_begin()):
                started[begun] = _Started(at_the_end.enter_context(closing(pieces[begun]())))
                for _ in started[begun].steps():
                    await checkpoint()
                begun += 1
            for index, one in list(started.items()):
                if one.can_go_on and not one.results:
                    for _ in one.steps():
                        await checkpoint()
                if one.results:
                    results[index] = started.pop(index).results[0]
            waiting = [one.ticket for one in started.values() if one.ticket is not None]
            if waiting:
                await look_at(FirstOf(waiting))
    return [results[index] for index in range(len(pieces))]


def side_by_side(
    pieces: Sequence[Callable[[], Piece[ResultT]]], *, driver: Driver, may_begin: Callable[[], bool]
) -> Generator[None, None, list[ResultT]]:
    """Run together() and drive the decoder meanwhile; returns the results, in order.

    Yields after each step of a piece, and each POLL_S in which there is none.
    """
    with closing(together(pieces, may_begin=may_begin)) as all_pieces:
        while True:
            try:
                ticket = all_pieces.send(None)
            except StopIteration as end:
                results: list[ResultT] = end.value
                return results
            tickets = ticket.tickets if isinstance(ticket, FirstOf) else ()
            if not tickets or not driver.wait(tickets, at_most_s=POLL_S):
                yield


def emitting(
    steps: Generator[None, None, ResultT], emitted: deque[EventT], *, after_step: Callable[[], None] = lambda: None
) -> Generator[EventT, None, ResultT]:
    """Run side_by_side() to its end and yield what the pieces emit, in order; also what they emitted before an error.

    `after_step` is called after each step; it may emit something itself, or raise to end all pieces.
    """
    with closing(steps):
        while True:
            try:
                next(steps)
                after_step()
            except StopIteration as end:
                result: ResultT = end.value
                return result
            finally:
                while emitted:
                    yield emitted.popleft()
