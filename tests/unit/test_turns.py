"""Places that are given to one key after the other."""

import asyncio

import pytest

from btworker.service.turns import Turns

COMING = ["ann", "ann", "ann", "bob", "ann", "bob", "cas"]


class Visits:
    """Those of keys, in the order in which they had their place; each keeps it until it is let go."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.seen: list[str] = []
        self.at_once = 0
        self._ends = asyncio.Semaphore(0)

    async def visit(self, owner: str) -> None:
        async with self.turns.place(owner):
            self.seen.append(owner)
            self.at_once += 1
            await self._ends.acquire()
            self.at_once -= 1

    async def begin(self, *owners: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self.visit(owner)) for owner in owners]
        await asyncio.sleep(0)
        return tasks

    def let_go(self, count: int) -> None:
        for _ in range(count):
            self._ends.release()


@pytest.mark.parametrize(
    ("places", "order"),
    [
        (1, ["ann", "ann", "bob", "cas", "ann", "bob", "ann"]),
        (2, ["ann", "ann", "ann", "bob", "cas", "ann", "bob"]),
        (9, COMING),
    ],
)
async def test_keys_take_turns(places: int, order: list[str]) -> None:
    """Whoever has many is served one at a time, and never are more there than there are places."""
    visits = Visits(places)
    tasks = await visits.begin(*COMING)
    assert visits.at_once == min(places, len(COMING))
    visits.let_go(len(COMING))
    await asyncio.gather(*tasks)
    assert visits.seen == order


async def test_who_gives_up_waiting_takes_no_place() -> None:
    """Whoever is behind has its turn."""
    visits = Visits(1)
    first, second, third = await visits.begin("ann", "bob", "cas")
    second.cancel()
    visits.let_go(2)
    await asyncio.gather(first, third)
    assert visits.seen == ["ann", "cas"]


async def test_who_gives_up_in_the_moment_of_its_turn_gives_it_on() -> None:
    """A place is not lost with it."""
    visits = Visits(1)
    async with visits.turns.place("ann"):
        second, third = await visits.begin("bob", "cas")
    second.cancel()
    visits.let_go(1)
    await third
    assert visits.seen == ["cas"]
