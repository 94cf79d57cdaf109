"""A delimiter in a block: found where Python finds it."""

import mmap
from random import Random

import pytest

from btworker.receiving.search import find

DELIMITER = b"\r\n--a-boundary\0"


@pytest.mark.parametrize("seed", range(20))
def test_it_is_where_python_finds_it(seed: int) -> None:
    """The first of several, with halves of others around it, within any part of the block, and none that ends behind
    that."""
    luck = Random(seed)
    block = mmap.mmap(-1, 9000)
    for _ in range(5):
        place = luck.randrange(len(block) - len(DELIMITER))
        block[place : place + len(DELIMITER)] = DELIMITER
    for _ in range(50):
        place, length = luck.randrange(8900), luck.randrange(len(DELIMITER))
        block[place : place + length] = DELIMITER[:length]
    places = [luck.randrange(9001) for _ in range(20)]
    for begin, end in [(0, 9000), (0, 0), *((begin, end) for begin in places for end in places)]:
        assert find(block, DELIMITER, begin, end) == block.find(DELIMITER, begin, end)
