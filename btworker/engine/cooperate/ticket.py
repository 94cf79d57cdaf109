"""What a piece of work awaits (see side_by_side.py): a ticket for an answer that is worked on elsewhere, or a
checkpoint. Neither knows who drives whom."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from types import coroutine
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
IDLE_S = 0.005
"""Between two looks at tickets that others answer, who notify nobody."""


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
        """Wait for the answer. Closed early, the ticket is canceled."""
        try:
            while not self.done:
                yield self
        finally:
            self.cancel()
        return self.answer

    def cancel(self) -> None:
        """Give the answer up: whoever works at it drops it at the next step."""
        self.canceled = True

    def resolve(self, answer: Answer) -> None:
        """Give the answer; called by the other side."""
        self._answer.append(answer)

    def fail(self, error: BaseException) -> None:
        """Give an error in place of the answer; called by the other side."""
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
        """See Ticket."""
        return


async def answers(tickets: Sequence[Ticket[Answer]]) -> list[Answer]:
    """Wait for several answers, in order. Closed early, or where one fails, all tickets are canceled."""
    try:
        return [await ticket for ticket in tickets]
    finally:
        for ticket in tickets:
            ticket.cancel()


class FirstOf(Condition):
    """Done as soon as one of several tickets is."""

    def __init__(self, tickets: Sequence[Ticket[Any]]) -> None:
        super().__init__(lambda: any(ticket.done for ticket in tickets))
        self.tickets = tickets
        """Tickets that are waited for."""


@coroutine
def look_at(ticket: Ticket[Any]) -> Generator[Ticket[Any], None, None]:
    """Wait for a ticket, or until the driver has waited long enough."""
    yield ticket


@coroutine
def checkpoint() -> Generator[None, None, None]:
    """Wait for nothing, in the middle of a long computation: what was emitted is sent, and a canceled job ends here."""
    yield
