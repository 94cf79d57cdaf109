"""Voices embedded ahead: whatever the pieces in which masks come, the batches are those of all masks together."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from btworker.engine.diarization.ahead import Ahead, Floats, Indices, batches
from btworker.engine.diarization.relay import Relay
from tests.waiting import until

DEADLINE_S = 60.0
GENERATOR = np.random.default_rng(1)
MASKS: Floats = (GENERATOR.random((23, 7, 3)) < 0.06).astype(np.float32)
"""Of 23 chunks, some of them empty."""


def embed(indices: Indices, masks: Floats) -> Floats:
    """So many numbers that tell which chunk and which masks they come from."""
    return np.stack([masks.sum(axis=1), np.tile(indices[:, None].astype(np.float32), 3)], axis=2)


@pytest.mark.parametrize("pieces", [[23], [1] * 23, [4, 4, 4, 4, 4, 3], [0, 20, 3]])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_are_those_of_all_together(pieces: Sequence[int], size: int) -> None:
    """And nobody is embedded where nobody speaks."""
    ahead = Ahead(embed, size)
    for part in np.split(MASKS, np.cumsum(pieces)[:-1]):
        ahead.add(part)
    found = list(ahead.results())
    ahead.close()
    wanted = [(indices, embed(indices, masks)) for indices, masks in batches(MASKS, size)]
    assert ahead.chunks == len(MASKS)
    assert 1 < sum(len(indices) for indices, _ in found) < len(MASKS)
    for (one, embedded), (other, expected) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(embedded, expected)


def test_an_error_is_told_as_soon_as_more_comes() -> None:
    """Not at the end of a long recording; what waits behind it is not begun."""
    failed, begun = threading.Event(), []

    def failing(indices: Indices, _masks: Floats) -> Floats:
        begun.append(indices)
        failed.set()
        raise RuntimeError("no memory")

    ahead = Ahead(failing, 1)

    def add_for_ever() -> None:
        ahead.add(np.ones((1, 7, 3), np.float32))
        assert failed.wait(DEADLINE_S)
        while True:
            ahead.add(np.zeros((1, 7, 3), np.float32))

    with pytest.raises(RuntimeError, match="no memory"):
        add_for_ever()
    ahead.close()
    assert len(begun) == 1


def test_closed_it_ends_with_the_batch_at_work() -> None:
    """Those behind it are not begun."""
    begun, at_work, chunks = [], threading.Event(), 5

    def slow(indices: Indices, masks: Floats) -> Floats:
        begun.append(indices)
        at_work.set()
        until(lambda: len(ahead._begun) == chunks and all(future.cancelled() for _, future in ahead._begun[1:]))
        return embed(indices, masks)

    ahead = Ahead(slow, 1)
    ahead.add(np.ones((chunks, 7, 3), np.float32))
    assert at_work.wait(DEADLINE_S)
    ahead.close()
    assert len(begun) == 1
    assert ahead._begun[0][1].done()


def test_who_comes_first_has_the_networks_first() -> None:
    """Until it hands them over, which it does once the clusters are free; or leaves."""
    relay = Relay()
    with relay.place() as one, relay.place() as two, relay.place() as three:
        assert [place.first.done for place in (one, two, three)] == [True, False, False]
        with one.handed_over(lambda *_, **__: None) as heard:
            heard("embeddings", None, total=5, completed=5)
            assert one.first.done
            heard("embeddings", None)
            assert [place.first.done for place in (one, two, three)] == [False, True, False]
            two.leave()
            assert three.first.done
            with pytest.raises(InterruptedError), three.handed_over(_leave) as also_heard:
                also_heard("embeddings", None)
            assert three.first.done
        with three.handed_over(lambda *_, **__: None) as last:
            last("embeddings", None)
            assert not three.first.done
    assert not relay._clusters.locked()


def _leave(step: str, *_: object, **__: object) -> None:
    """As a hook whose recording nobody wants any more."""
    if step == "waiting":
        raise InterruptedError
