"""Several pieces of work in one thread, each a generator that yields what it has to say, and a ticket where it cannot
go on without an answer. While all of them wait, the decoder is driven, so that the windows of all are in its batches.

One thread, since whatever computes here uses all cores, or the one GPU: two would only be in each other's way.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Generic, Protocol, TypeVar

from btworker.engine.cooperate.relay import without_none
from btworker.engine.cooperate.ticket import Ticket

WordT = TypeVar("WordT")
ResultT = TypeVar("ResultT")
LOOK_S = 0.5
"""Seconds after which those that wait may speak all the same: of how far ffmpeg is, say."""
Piece = Generator[WordT | Ticket[Any], None, ResultT]


class Driver(Protocol):
    """What is driven while everybody waits: Decoder."""

    def wait(
        self, tickets: Sequence[Ticket[Any]], check: Callable[[], None], *, at_most_s: float = float("inf")
    ) -> bool:
        """Return True when one of the tickets is done, False after the given time. `check` may raise."""


class _Going(Generic[WordT, ResultT]):
    """A piece that has begun and not ended."""

    def __init__(self, piece: Piece[WordT, ResultT]) -> None:
        self.piece = piece
        self.ticket: Ticket[Any] | None = None
        self.results: list[ResultT] = []

    @property
    def can_go_on(self) -> bool:
        """It waits for nothing."""
        return self.ticket is None or self.ticket.done

    def words(self) -> Iterator[WordT]:
        """Go on until it waits again, or ends."""
        while not self.results:
            try:
                said = next(self.piece)
            except StopIteration as end:
                self.results.append(end.value)
                return
            if isinstance(said, Ticket):
                self.ticket = said
                return
            self.ticket = None
            yield said


def side_by_side(
    pieces: Sequence[Callable[[], Piece[WordT, ResultT]]],
    *,
    driver: Driver,
    check: Callable[[], None],
    may_begin: Callable[[], bool],
) -> Generator[WordT | None, None, list[ResultT]]:
    """All pieces, begun in their order as soon as `may_begin` says so; yields their words, and None each LOOK_S in
    which there is none. Returns their results, in order. What one of them raises ends all of them."""
    going: dict[int, _Going[WordT, ResultT]] = {}
    results: dict[int, ResultT] = {}
    begun = 0
    look = False
    with ExitStack() as at_the_end:
        while len(results) < len(pieces):
            while begun < len(pieces) and (not going or may_begin()):
                going[begun] = _Going(at_the_end.enter_context(closing(pieces[begun]())))
                yield from going[begun].words()
                begun += 1
            for index, one in list(going.items()):
                if one.can_go_on or look:
                    yield from one.words()
                if one.results:
                    results[index] = going.pop(index).results[0]
            waiting = [one.ticket for one in going.values() if one.ticket is not None]
            look = bool(waiting) and not driver.wait(waiting, check, at_most_s=LOOK_S)
            if look:
                yield None
    return [results[index] for index in range(len(pieces))]


def alone(
    piece: Piece[WordT, ResultT], *, driver: Driver, check: Callable[[], None]
) -> Generator[WordT, None, ResultT]:
    """The words of one piece, by itself."""
    words: Generator[WordT | None, None, list[ResultT]] = side_by_side(
        [lambda: piece], driver=driver, check=check, may_begin=lambda: True
    )
    (result,) = yield from without_none(words)
    return result
