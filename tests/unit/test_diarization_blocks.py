"""Long recordings in blocks: the cuts, and who is who across them."""

from itertools import pairwise

import numpy as np
import pytest

from btworker.engine.diarization.blocks import Block, BlockTurns, merged, plan, same_people
from btworker.engine.diarization.source import CHUNK_BYTES, MEMORY_SHARE, batch_sizes
from btworker.transcript import Turn

FAR, NEAR = 0.7, 0.05


def voices(*people: int, seed: int = 0) -> np.ndarray:
    """A centroid near each person's own axis."""
    rows = np.zeros((len(people), 8))
    rows[np.arange(len(people)), people] = 1
    return rows + NEAR * np.random.default_rng(seed).standard_normal(rows.shape)


@pytest.mark.parametrize("duration_s", [3601.0, 5400.0, 7140.0, 7141.0, 21_600.0, 360_000.0])
def test_blocks_cover_the_recording(duration_s: float) -> None:
    """No moment is kept twice or never; each block hears half the overlap on both sides of what it keeps."""
    blocks = plan(duration_s, block_s=3600, overlap_s=60)
    assert blocks[0].keep_from == 0
    assert blocks[-1].keep_to == blocks[-1].end == duration_s
    for before, after in pairwise(blocks):
        assert before.keep_to == after.keep_from
        assert before.end - after.start == pytest.approx(60)
        assert before.keep_to == pytest.approx((before.end + after.start) / 2)
    assert all(block.end - block.start <= 3600 + 1e-6 for block in blocks)


def test_a_short_recording_is_one_block() -> None:
    """Whatever the overlap; an overlap that is longer than a block is cut down."""
    assert plan(3600.0, block_s=3600, overlap_s=60) == (Block(0, 3600, 0, 3600),)
    assert len(plan(0.5, block_s=3600, overlap_s=60)) == 1
    assert len(plan(200.0, block_s=60, overlap_s=600)) == 6


def test_people_keep_their_names_across_blocks() -> None:
    """In whatever order a block lists them; who is new gets a new number."""
    first, second, third = same_people(
        [voices(0, 1), voices(1, 2, 0, seed=1), voices(2, seed=2)], threshold=FAR, lowest=1, highest=50
    )
    assert first[0] == second[2] != first[1] == second[0]
    assert second[1] == third[0]
    assert third[0] not in first


def test_two_speakers_of_a_block_are_never_one() -> None:
    """Even where their voices are all but the same, and fewer people were asked for."""
    alike = np.vstack([voices(0), voices(0, seed=1)])
    ((one, other),) = same_people([alike], threshold=FAR, lowest=1, highest=1)
    assert one != other


def test_the_numbers_of_speakers_hold_for_the_whole() -> None:
    """More people than the threshold gives, or fewer."""
    blocks = [voices(0, 1), voices(0, 1, seed=1), voices(2, seed=2)]

    def count(lowest: int, highest: int) -> int:
        found = same_people(blocks, threshold=FAR, lowest=lowest, highest=highest)
        return len({person for block in found for person in block})

    assert [count(1, 50), count(2, 2), count(4, 50), count(5, 5)] == [3, 2, 4, 5]


@pytest.mark.parametrize("blocks", [[], [np.zeros((0, 8))], [np.zeros((0, 8)), voices(3)]])
def test_silent_blocks_are_nobody(blocks: list[np.ndarray]) -> None:
    """And do no harm to the others."""
    assert [len(one) for one in same_people(blocks, threshold=FAR, lowest=1, highest=9)] == [len(b) for b in blocks]


def test_a_centroid_that_is_no_number_is_somebody_of_their_own() -> None:
    """pyannote gives such ones for people whom it heard in overlaps only."""
    broken = np.full((1, 8), np.nan)
    (first,), (second,) = same_people([voices(0), broken], threshold=FAR, lowest=1, highest=9)
    assert first != second


def test_turns_are_cut_in_the_middle_of_the_overlap_and_joined_again() -> None:
    """A turn across the cut is one turn; what both blocks heard is there once."""
    blocks = plan(110.0, block_s=60, overlap_s=10)
    heard = (Turn(50.0, 58.0, "a"), Turn(20.0, 30.0, "b")), (Turn(50.5, 58.0, "x"), Turn(70.0, 80.0, "y"))
    found = [
        BlockTurns(heard[0], heard[0], ("a", "b"), voices(0, 1)),
        BlockTurns(heard[1], heard[1], ("x", "y"), voices(0, 1, seed=1)),
    ]
    turns, exclusive, people = merged(blocks, found, threshold=FAR, lowest=1, highest=9)
    assert turns == exclusive
    assert [(turn.start, turn.end) for turn in turns] == [(20.0, 30.0), (50.0, 58.0), (70.0, 80.0)]
    assert turns[0].speaker == turns[2].speaker != turns[1].speaker
    assert people.keys() == {turn.speaker for turn in turns}


def test_a_gpu_takes_as_many_chunks_as_a_share_of_its_memory_holds() -> None:
    """Never none, and never more than it is busy with; on a CPU each core has its own, whatever is free."""
    gib = 2**30
    sizes = [batch_sizes("cuda:0", 8, free) for free in (0, gib, 4 * gib, 16 * gib, 90 * gib)]
    assert sizes == [(1, 1), (10, 5), (42, 21), (170, 85), (256, 128)]
    assert batch_sizes("cpu", 8, 0) == batch_sizes("cpu", 8, 90 * gib) == (32, 8)
    for (segmentation, embedding), free in zip(sizes[1:], (gib, 4 * gib, 16 * gib, 90 * gib), strict=True):
        assert max(segmentation * CHUNK_BYTES[0], embedding * CHUNK_BYTES[1]) <= free * MEMORY_SHARE
