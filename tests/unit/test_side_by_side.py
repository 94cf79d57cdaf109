"""Pieces of work in one thread: who waits lets the others go on, and what becomes of all when one fails."""

import itertools
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from btworker.engine.cooperate.side_by_side import LOOK_S, Piece, alone, side_by_side
from btworker.engine.cooperate.ticket import Ticket, all_answered, answered


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

    def wait(
        self, tickets: Sequence[Ticket[Any]], check: Callable[[], None], *, at_most_s: float = float("inf")
    ) -> bool:
        """See Driver."""
        check()
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
    """Makes pieces that ask a script, and knows which of them have begun and ended."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.begun: list[str] = []
        self.ended: list[str] = []

    @property
    def going(self) -> int:
        """How many are at work."""
        return len(self.begun) - len(self.ended)

    def asking(self, name: str, *questions: str) -> Callable[[], Piece[str, str]]:
        """One that tells each answer, and in the end all of them."""

        def piece() -> Piece[str, str]:
            self.begun.append(name)
            answers = []
            try:
                yield f"{name} begins"
                for question in questions:
                    answers.append((yield from answered(self.script.ask(question))))
                    yield f"{name} has {answers[-1]}"
                return "".join(answers)
            finally:
                self.ended.append(name)

        return piece


def fine() -> None:
    """Nobody cancels."""


def started(
    script: Script,
    *pieces: Callable[[], Piece[str, str]],
    may_begin: Callable[[], bool] = lambda: True,
    check: Callable[[], None] = fine,
) -> Generator[str | None, None, list[str]]:
    """All of them side by side."""
    return side_by_side(pieces, driver=script, check=check, may_begin=may_begin)


def told(steps: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """The words, and the result."""
    words = []
    while True:
        try:
            words.append(next(steps))
        except StopIteration as end:
            return words, end.value


def test_who_waits_lets_the_others_go_on() -> None:
    """Each goes on with its answer at once, whoever asked first; the driver is given the tickets of all who wait, and
    only when everybody waits."""
    script = Script("b1", "a1", "b2", "a2")
    make = Pieces(script)
    words, results = told(started(script, make.asking("a", "a1", "a2"), make.asking("b", "b1", "b2")))
    assert words == ["a begins", "b begins", "b has B1", "a has A1", "b has B2", "a has A2"]
    assert results == ["A1A2", "B1B2"]
    assert script.waits == ["a1 b1", "a1 b2", "b2 a2", "a2"]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")), ids="".join)
def test_results_are_in_the_order_of_the_pieces(order: tuple[str, ...]) -> None:
    """Whatever the order in which they end; one that asks for nothing is among them."""
    script = Script(*order)
    make = Pieces(script)
    pieces = [make.asking("a", "a"), make.asking("b", "b"), make.asking("none"), make.asking("c", "c")]
    assert told(started(script, *pieces))[1] == ["A", "B", "", "C"]
    assert make.ended == ["none", *order]


def test_there_may_be_nothing_to_do() -> None:
    """No piece, or none that waits: the driver is not asked."""
    script = Script()
    make = Pieces(script)
    assert told(started(script)) == ([], [])
    assert told(started(script, make.asking("a"), make.asking("b"))) == (["a begins", "b begins"], ["", ""])
    assert script.waits == []


def test_a_ticket_that_is_done_already_is_not_waited_for() -> None:
    """It was resolved while others were at work: by another thread, say."""
    script = Script()
    make = Pieces(script)

    def late() -> Piece[str, str]:
        script.asked["a1"].resolve("early")
        yield "resolved"
        return "late"

    words, results = told(started(script, make.asking("a", "a1"), late))
    assert words == ["a begins", "resolved", "a has early"]
    assert results == ["early", "late"]
    assert script.waits == []


@pytest.mark.parametrize("where", ["piece", "ticket", "check"])
def test_an_error_ends_all_of_them(where: str) -> None:
    """Of a piece, of a ticket or of the check: it is raised, the tickets of the others are canceled, the others are
    closed, and none begins any more."""
    script = Script("b1!" if where == "ticket" else "b1")
    make = Pieces(script)

    def failing() -> Piece[str, str]:
        yield from answered(script.ask("b1"))
        raise InterruptedError("piece")

    def check() -> None:
        if where == "check":
            raise InterruptedError("check")

    pieces = [make.asking("a", "a1"), failing, make.asking("c", "c1"), make.asking("d", "d1")]
    steps = started(script, *pieces, check=check, may_begin=lambda: make.going < 2)
    with pytest.raises(InterruptedError, match={"ticket": "b1!"}.get(where, where)):
        told(steps)
    assert make.begun == ["a", "c"]
    assert sorted(make.ended) == ["a", "c"]
    assert {name for name, ticket in script.asked.items() if ticket.canceled} == {"a1", "b1", "c1"}


def test_an_error_at_the_beginning_of_one_ends_those_before_it() -> None:
    """Before anybody has waited."""
    script = Script()
    make = Pieces(script)

    def failing() -> Piece[str, str]:
        if make.going:
            raise InterruptedError
        yield "all is well"
        return "failing"

    with pytest.raises(InterruptedError):
        told(started(script, make.asking("a", "a1"), failing, make.asking("c")))
    assert (make.begun, make.ended) == (["a"], ["a"])
    assert script.asked["a1"].canceled


@pytest.mark.parametrize("after", range(1, 4))
def test_closed_early_it_closes_all_pieces(after: int) -> None:
    """Whatever was said last; nobody's answer is wanted any more, and none begins."""
    script = Script("a1")
    make = Pieces(script)
    steps = started(script, make.asking("a", "a1", "a2"), make.asking("b", "b1"))
    for _ in range(after):
        next(steps)
    steps.close()
    assert make.ended[::-1] == make.begun == ["a", "b"][: min(after, 2)]
    assert all(ticket.canceled for ticket in script.asked.values())


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_a_piece_begins_as_soon_as_it_may(most: int) -> None:
    """In their order; one is always at work, even if none may begin."""
    script = Script("a1", "b1", "c1", "d1")
    make = Pieces(script)
    at_once = []

    def may_begin() -> bool:
        at_once.append(make.going)
        return make.going < most

    pieces = [make.asking(name, f"{name}1") for name in "abcd"]
    words, results = told(started(script, *pieces, may_begin=may_begin))
    assert results == ["A1", "B1", "C1", "D1"]
    assert make.begun == list("abcd")
    assert max(len(wait.split()) for wait in script.waits) == max(most, 1)
    if most < 2:
        assert words == [f"{name} {what}" for name in "abcd" for what in ("begins", f"has {name.upper()}1")]
    assert 0 not in at_once, "it was asked whether the first may begin"


def test_what_may_begin_can_change_while_others_are_at_work() -> None:
    """It is asked again each time when everybody has waited, and a word of theirs is enough for it to change."""
    script = Script("a1", "a2", "b1", "a3")
    make = Pieces(script)
    steps = started(
        script,
        make.asking("a", "a1", "a2", "a3"),
        make.asking("b", "b1"),
        may_begin=lambda: script.asked.keys() >= {"a1", "a2"},
    )
    words, _ = told(steps)
    assert words == ["a begins", "a has A1", "b begins", "a has A2", "b has B1", "a has A3"]


def test_those_that_wait_may_speak_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing has happened for a while there is a None, and then the word of one that looked at what it waits
    for; it goes on to wait for the same, and one that has nothing to say says nothing."""
    look_s = LOOK_S / 50
    monkeypatch.setattr("btworker.engine.cooperate.side_by_side.LOOK_S", look_s)
    script = Script()
    make = Pieces(script)
    how_far = 0

    def sound() -> Piece[str, str]:
        ticket, said = script.ask("sound"), 0
        while not ticket.done:
            if said != how_far:
                yield f"{(said := how_far)} s"
            yield ticket
        return (yield from answered(ticket))

    steps = started(script, sound, make.asking("a", "a1", "a2"))
    assert [next(steps), next(steps), next(steps)] == ["a begins", None, None]
    how_far = 30
    assert [next(steps), next(steps), next(steps)] == ["30 s", None, None]
    how_far = 60
    script.order.append("a1")
    assert [next(steps), next(steps)] == ["60 s", "a has A1"]
    how_far = 90
    script.order += ["a2", "sound"]
    assert told(steps) == (["a has A2"], ["SOUND", "A1A2"]), "it spoke while something happened"
    assert set(script.waits[:-2]) == {"sound a1"}
    assert set(script.times_s) == {look_s}


def test_one_piece_by_itself() -> None:
    """The same without None; closed early, it is closed, too."""
    script = Script()
    make = Pieces(script)
    steps = alone(make.asking("a", "a1")(), driver=script, check=fine)
    assert next(steps) == "a begins"
    script.order.append("a1")
    assert told(steps) == (["a has A1"], "A1")
    steps = alone(make.asking("b", "b1", "b2")(), driver=script, check=fine)
    script.order.append("b1")
    assert [next(steps), next(steps)] == ["b begins", "b has B1"]
    steps.close()
    assert make.ended == ["a", "b"]


def test_several_answers_are_in_order_and_all_canceled_together() -> None:
    """Whichever is there first; left early, none of them is wanted any more."""
    script = Script("b", "a")

    def both() -> Piece[str, str]:
        return "".join((yield from all_answered([script.ask("a"), script.ask("b")])))

    assert told(started(script, both)) == ([], ["AB"])
    script.order.append("a!")
    with pytest.raises(InterruptedError):
        told(started(script, both))
    assert script.asked["a"].canceled and script.asked["b"].canceled
