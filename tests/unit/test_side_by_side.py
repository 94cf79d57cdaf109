"""Pieces of work in one thread: who waits lets the others go on, what is told comes out, and what becomes of all when
one fails."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from btworker.engine.cooperate.side_by_side import POLL_S, Piece, emitting, side_by_side
from btworker.engine.cooperate.ticket import Condition, Ticket, answers, checkpoint


class Script:
    """A driver that answers tickets by name in a given order, one each time when everybody waits; after the last, none
    comes in time. A name with "!" fails."""

    def __init__(self, *order: str) -> None:
        self.order = list(order)
        self.asked: dict[str, Ticket[str]] = {}
        self.waits: list[str] = []
        """The names that were waited for, each time."""
        self.times_s: list[float] = []

    def ask(self, name: str) -> Ticket[str]:
        """A ticket of that name."""
        self.asked[name] = Ticket()
        return self.asked[name]

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Driver."""
        self.waits.append(" ".join(name for name, ticket in self.asked.items() if ticket in tickets))
        self.times_s.append(at_most_s)
        if not self.order:
            return False
        name = self.order.pop(0)
        if name.endswith("!"):
            self.asked[name[:-1]].fail(InterruptedError(name))
        else:
            self.asked[name].resolve(name.upper())
        return True


class Pieces:
    """Makes pieces that ask a script, and knows which of them have begun and ended, and what they told."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.told: deque[str] = deque()

    @property
    def going(self) -> int:
        """How many are at work."""
        return len(self.begun) - len(self.ended)

    def asking(self, name: str, *questions: str) -> Callable[[], Piece[str]]:
        """One that tells each answer, and in the end returns all of them."""

        async def piece() -> str:
            self.begun.append(name)
            found = []
            try:
                self.told.append(f"{name} begins")
                for question in questions:
                    found.append(await self.script.ask(question))
                    self.told.append(f"{name} has {found[-1]}")
                return "".join(found)
            finally:
                self.ended.append(name)

        return piece


def started(
    make: Pieces,
    *pieces: Callable[[], Piece[str]],
    may_begin: Callable[[], bool] = lambda: True,
    after_step: Callable[[], None] = lambda: None,
) -> Generator[str, None, list[str]]:
    """All of them side by side."""
    steps = side_by_side(pieces, driver=make.script, may_begin=may_begin)
    return emitting(steps, make.told, after_step=after_step)


def told(steps: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """What is told, and the result."""
    words = []
    while True:
        try:
            words.append(next(steps))
        except StopIteration as end:
            return words, end.value


def test_who_waits_lets_the_others_go_on() -> None:
    """Each goes on with its answer at once, whoever asked first; the driver is given the tickets of all who wait, and
    only when everybody waits."""
    make = Pieces(Script("b1", "a1", "b2", "a2"))
    words, results = told(started(make, make.asking("a", "a1", "a2"), make.asking("b", "b1", "b2")))
    assert words == ["a begins", "b begins", "b has B1", "a has A1", "b has B2", "a has A2"]
    assert results == ["A1A2", "B1B2"]
    assert make.script.waits == ["a1 b1", "a1 b2", "b2 a2", "a2"]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_results_are_in_the_order_of_the_pieces(order: tuple[str, ...]) -> None:
    """Whatever the order in which they end; one that asks for nothing is among them."""
    make = Pieces(Script(*order))
    pieces = [make.asking("a", "a"), make.asking("b", "b"), make.asking("none"), make.asking("c", "c")]
    assert told(started(make, *pieces))[1] == ["A", "B", "", "C"]
    assert make.ended == ["none", *order]


def test_there_may_be_nothing_to_do() -> None:
    """No piece, or none that waits: the driver is not asked."""
    make = Pieces(Script())
    assert told(started(make)) == ([], [])
    assert told(started(make, make.asking("a"), make.asking("b"))) == (["a begins", "b begins"], ["", ""])
    assert make.script.waits == []


def test_a_ticket_that_is_done_already_is_not_waited_for() -> None:
    """It was resolved while others were at work: by another thread, say."""
    make = Pieces(Script())

    async def late() -> str:
        make.script.asked["a1"].resolve("early")
        make.told.append("resolved")
        return "late"

    words, results = told(started(make, make.asking("a", "a1"), late))
    assert words == ["a begins", "resolved", "a has early"]
    assert results == ["early", "late"]
    assert make.script.waits == []


@pytest.mark.parametrize("where", ["piece", "ticket"])
def test_an_error_ends_all_of_them(where: str) -> None:
    """It is raised once all is out that was told before it; the tickets of the others are canceled, the others are
    closed, and none begins any more."""
    make = Pieces(Script("b1!" if where == "ticket" else "b1"))

    async def failing() -> str:
        await make.script.ask("b1")
        make.told.append("b1 is there")
        raise InterruptedError("piece")

    pieces = [make.asking("a", "a1"), failing, make.asking("c", "c1"), make.asking("d", "d1")]
    steps = started(make, *pieces, may_begin=lambda: make.going < 2)
    with pytest.raises(InterruptedError, match={"ticket": "b1!"}.get(where, "piece")):
        told(steps)
    assert make.told == deque()
    assert make.begun == ["a", "c"]
    assert sorted(make.ended) == ["a", "c"]
    assert {name for name, ticket in make.script.asked.items() if ticket.canceled} == {"a1", "b1", "c1"}


def test_what_was_told_before_an_error_is_out_before_it() -> None:
    """Also where the piece did not wait in between."""
    make = Pieces(Script())

    async def failing() -> str:
        make.told += ["one", "two"]
        raise InterruptedError

    steps = started(make, failing)
    assert [next(steps), next(steps)] == ["one", "two"]
    with pytest.raises(InterruptedError):
        next(steps)


def test_the_look_after_each_step_ends_all_of_them() -> None:
    """As a cancel does, while everybody waits; what was told before is out, and it may tell something itself."""
    make = Pieces(Script())
    looks = 0

    def after_step() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            make.told.append("a last word")
        if looks == 5:
            raise InterruptedError("canceled")

    steps = started(make, make.asking("a", "a1"), make.asking("b", "b1"), after_step=after_step)
    assert [next(steps), next(steps), next(steps)] == ["a begins", "b begins", "a last word"]
    with pytest.raises(InterruptedError, match="canceled"):
        next(steps)
    assert make.ended == ["b", "a"]
    assert all(ticket.canceled for ticket in make.script.asked.values())


def test_an_error_at_the_beginning_of_one_ends_those_before_it() -> None:
    """Before anybody has waited."""
    make = Pieces(Script())

    async def failing() -> str:
        if make.going:
            raise InterruptedError
        return "failing"

    with pytest.raises(InterruptedError):
        told(started(make, make.asking("a", "a1"), failing, make.asking("c")))
    assert (make.begun, make.ended) == (["a"], ["a"])
    assert make.script.asked["a1"].canceled


@pytest.mark.parametrize("after", range(1, 4))
def test_closed_early_it_closes_all_pieces(after: int) -> None:
    """Whatever was told last; nobody's answer is wanted any more, and none begins."""
    make = Pieces(Script("a1"))
    steps = started(make, make.asking("a", "a1", "a2"), make.asking("b", "b1"))
    for _ in range(after):
        next(steps)
    steps.close()
    assert make.ended[::-1] == make.begun == ["a", "b"][: min(after, 2)]
    assert all(ticket.canceled for ticket in make.script.asked.values())


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_a_piece_begins_as_soon_as_it_may(most: int) -> None:
    """In their order; one is always at work, even if none may begin."""
    make = Pieces(Script("a1", "b1", "c1", "d1"))
    at_once = []

    def may_begin() -> bool:
        at_once.append(make.going)
        return make.going < most

    pieces = [make.asking(name, f"{name}1") for name in "abcd"]
    words, results = told(started(make, *pieces, may_begin=may_begin))
    assert results == ["A1", "B1", "C1", "D1"]
    assert make.begun == list("abcd")
    assert max(len(wait.split()) for wait in make.script.waits) == max(most, 1)
    if most < 2:
        assert words == [f"{name} {what}" for name in "abcd" for what in ("begins", f"has {name.upper()}1")]
    assert 0 not in at_once, "it was asked whether the first may begin"


def test_what_may_begin_can_change_while_others_are_at_work() -> None:
    """It is asked again each time when everybody has waited, and a step of theirs is enough for it to change."""
    make = Pieces(Script("a1", "a2", "b1", "a3"))
    steps = started(
        make,
        make.asking("a", "a1", "a2", "a3"),
        make.asking("b", "b1"),
        may_begin=lambda: make.script.asked.keys() >= {"a1", "a2"},
    )
    words, _ = told(steps)
    assert words == ["a begins", "a has A1", "b begins", "a has A2", "b has B1", "a has A3"]


def test_the_owner_has_its_turn_now_and_then() -> None:
    """Though nothing happens; the pieces go on to wait for the same."""
    make = Pieces(Script())
    steps = side_by_side([make.asking("a", "a1"), make.asking("b", "b1")], driver=make.script, may_begin=lambda: True)
    for _ in range(5):
        next(steps)
    assert make.script.waits == ["a1 b1"] * 3
    assert set(make.script.times_s) == {POLL_S}
    assert [list(make.told), make.ended] == [["a begins", "b begins"], []]
    steps.close()


def test_a_checkpoint_is_the_owners_and_not_the_other_pieces() -> None:
    """In the middle of a long computation: what was told is out, the same piece goes on, and it can be left there."""
    make = Pieces(Script("a1"))

    async def computing() -> str:
        make.begun.append("c")
        try:
            for number in range(3):
                make.told.append(f"c {number}")
                await checkpoint()
            return "done"
        finally:
            make.ended.append("c")

    words, results = told(started(make, computing, make.asking("a", "a1")))
    assert words == ["c 0", "c 1", "c 2", "a begins", "a has A1"]
    assert results == ["done", "A1"]
    steps = started(make, computing)
    assert next(steps) == "c 0"
    steps.close()
    assert make.ended == ["c", "a", "c"]


def test_a_condition_is_done_when_it_holds() -> None:
    """Nobody has to resolve it."""
    make = Pieces(Script())
    there: list[str] = []

    async def waiting() -> str:
        await Condition(lambda: bool(there))
        return "there"

    steps = side_by_side([waiting], driver=make.script, may_begin=lambda: True)
    next(steps), next(steps)
    there.append("sound")
    assert told(steps)[1] == ["there"]


def test_several_answers_are_in_order_and_all_canceled_together() -> None:
    """Whichever is there first; left early, none of them is wanted any more."""
    make = Pieces(Script("b", "a"))

    async def both() -> str:
        return "".join(await answers([make.script.ask("a"), make.script.ask("b")]))

    assert told(started(make, both)) == ([], ["AB"])
    make.script.order.append("a!")
    with pytest.raises(InterruptedError):
        told(started(make, both))
    assert make.script.asked["a"].canceled and make.script.asked["b"].canceled
