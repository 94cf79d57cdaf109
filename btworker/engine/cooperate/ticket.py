"""What a piece of work awaits (see side_by_side.py): a ticket for an answer that somebody else is at work on, or a
checkpoint. Neither knows who drives whom."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import coroutine
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Ticket(Generic[Answer]):
    """A promise: what was asked, and in the end the answer or what went wrong.

    Made by the decoder, or for sound, which resolve it; they may do so in another thread.
    """

    canceled: bool = False
    _answer: list[Answer] = field(default_factory=list)
    _error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether there is an answer or an error."""
        return bool(self._answer) or self._error is not None

    @property
    def answer(self) -> Answer:
        """The answer. Raises what went wrong in its place."""
        if self._error is not None:
            raise self._error
        return self._answer[0]

    def __await__(self) -> Generator["Ticket[Any]", None, Answer]:
        """Wait for the answer. Left early, it is not wanted any more."""
        try:
            while not self.done:
                yield self
        finally:
            self.cancel()
        return self.answer

    def cancel(self) -> None:
        """The answer is not wanted any more: who works at it lets go of it at the next step."""
        self.canceled = True

    def resolve(self, answer: Answer) -> None:
        """The other side: this is the answer."""
        self._answer.append(answer)

    def fail(self, error: BaseException) -> None:
        """The other side: there will be none."""
        self._error = error


class Condition(Ticket[None]):
    """Done by itself, as soon as something holds."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        super().__init__()
        self._holds = holds

    @property
    def done(self) -> bool:
        """See Ticket."""
        return self._holds()

    @property
    def answer(self) -> None:
        """There is nothing to say but that."""
        return


async def answers(tickets: Sequence[Ticket[Answer]]) -> list[Answer]:
    """The answers of several, in order. Left early, or where one fails, none is wanted any more."""
    try:
        return [await ticket for ticket in tickets]
    finally:
        for ticket in tickets:
            ticket.cancel()


@coroutine
def checkpoint() -> Generator[None, None, None]:
    """Wait for nothing, in the middle of a long computation: what was told is sent, and a canceled job ends here."""
    yield
