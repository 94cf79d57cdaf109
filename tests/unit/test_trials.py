"""How many cores a step takes, as it turns out."""

from collections.abc import Callable

import pytest

from btworker.engine.stack.trials import TRIALS, Trials

Machine = Callable[[int, int], float]
"""Seconds of a step of so many rows by so many cores."""
MACHINES: dict[str, Machine] = {
    "a second core is of no use": lambda rows, cores: 1.0 + 0.01 * cores,
    "the memory has more to give": lambda rows, cores: 1.0 / cores,
    "four cores fill the memory": lambda rows, cores: 1.0 / min(cores, 4) + 0.001 * cores,
    "only where there are many rows": lambda rows, cores: 1.0 if rows < 8 else 1.0 / cores,
}


def after_trials(trials: Trials, machine: Machine, rows: int, most: int) -> int:
    """What is chosen once all was tried; every choice is one of the cores that there are."""
    for _ in range(TRIALS * (most.bit_length() + 1)):
        cores = trials.choose(rows, most)
        assert 1 <= cores <= most
        trials.note(rows, cores, machine(rows, cores))
    return trials.choose(rows, most)


@pytest.mark.parametrize(
    ("machine", "rows", "most", "chosen"),
    [
        ("a second core is of no use", 1, 2, 1),
        ("a second core is of no use", 16, 64, 1),
        ("the memory has more to give", 1, 2, 2),
        ("the memory has more to give", 1, 24, 24),
        ("four cores fill the memory", 5, 64, 4),
        ("four cores fill the memory", 5, 3, 3),
        ("only where there are many rows", 7, 8, 1),
        ("only where there are many rows", 8, 8, 8),
        ("the memory has more to give", 1, 1, 1),
    ],
)
def test_a_step_takes_as_few_cores_as_are_of_use(machine: str, rows: int, most: int, chosen: int) -> None:
    assert after_trials(Trials(), MACHINES[machine], rows, most) == chosen


def test_one_step_that_something_disturbed_does_not_count() -> None:
    """The soonest of three does."""
    trials, disturbed = Trials(), iter([9.0])
    assert after_trials(trials, lambda _, cores: next(disturbed, 1.0) if cores == 1 else 1.0, 4, 2) == 1


def test_a_smaller_share_is_chosen_from_what_is_known_of_it() -> None:
    """Others have come; when they have gone, all cores are taken again."""
    trials, machine = Trials(), MACHINES["the memory has more to give"]
    assert after_trials(trials, machine, 4, 8) == 8
    assert [trials.choose(4, most) for most in (4, 2, 1, 8)] == [4, 2, 1, 8]


def test_each_size_is_tried_by_itself() -> None:
    """One row says nothing of sixteen."""
    trials, machine = Trials(), MACHINES["only where there are many rows"]
    assert after_trials(trials, machine, 1, 4) == 1
    assert after_trials(trials, machine, 16, 4) == 4
    assert trials.choose(1, 4) == 1
