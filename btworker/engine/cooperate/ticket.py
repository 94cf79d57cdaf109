"""A promise: what was asked, and in the end the answer or what went wrong. Whoever needs one yields it (see
side_by_side.py) instead of standing still."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Ticket(Generic[Answer]):
    """Made by the decoder, or by ffmpeg's pool, which resolve it; they may do so in another thread."""

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

    def cancel(self) -> None:
        """The answer is not wanted any more: who works at it lets go of it at the next step."""
        self.canceled = True

    def resolve(self, answer: Answer) -> None:
        """The other side: this is the answer."""
        self._answer.append(answer)

    def fail(self, error: BaseException) -> None:
        """The other side: there will be none."""
        self._error = error


def answered(ticket: Ticket[Answer]) -> Generator[Ticket[Any], None, Answer]:
    """The ticket's answer: yields the ticket until it is done. Left early, it is not wanted any more."""
    try:
        while not ticket.done:
            yield ticket
    finally:
        ticket.cancel()
    return ticket.answer


def all_answered(tickets: Sequence[Ticket[Answer]]) -> Generator[Ticket[Any], None, list[Answer]]:
    """The same of several."""
    try:
        for ticket in tickets:
            yield from answered(ticket)
    finally:
        for ticket in tickets:
            ticket.cancel()
    return [ticket.answer for ticket in tickets]
