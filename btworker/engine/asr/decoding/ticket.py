"""A promise of the decoder: what was asked, and in the end the answer or what went wrong."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Answer = TypeVar("Answer")
HEARTBEAT_S = 5.0
"""Far below any limit on how long a child may be silent."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing is done yet, but the decoder is at work."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[Answer]):
    """Made by Decoder.submit; done when Decoder.wait says so."""

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
        """The answer is not wanted any more: the decoder lets go of it at its next step."""
        self.canceled = True

    def resolve(self, answer: Answer) -> None:
        """The decoder's side: this is the answer."""
        self._answer.append(answer)

    def fail(self, error: BaseException) -> None:
        """The decoder's side: there will be none."""
        self._error = error


class Waiter(Protocol):
    """Decoder.wait, for the annotation."""

    def wait(
        self, tickets: Sequence[Ticket[Any]], check: Callable[[], None], *, at_most_s: float = float("inf")
    ) -> bool:
        """Return True when one of the tickets is done, False after the given time."""


def answered(ticket: Ticket[Answer], decoder: Waiter, check: Callable[[], None]) -> Generator[Heartbeat, None, Answer]:
    """The ticket's answer, waited for, with a Heartbeat now and then. Left early, it is not wanted any more."""
    try:
        while not decoder.wait([ticket], check, at_most_s=HEARTBEAT_S):
            yield Heartbeat()
    finally:
        ticket.cancel()
    return ticket.answer
