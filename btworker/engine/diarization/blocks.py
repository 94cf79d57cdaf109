"""Long recordings in blocks: where they are cut, and who of one block is who of another. Pure.

Each block is diarized alone, which bounds memory: the linkage over all embeddings of a recording grows with its
square. The speakers' centroids are then clustered again by complete linkage, in which two speakers of one block never
meet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from btworker.transcript import Turn

NEVER = 10.0
"""A distance beyond any between unit vectors (2 at most)."""
SEAM_S = 0.05
"""Two turns of one speaker that meet at a cut, this close, are one."""


@dataclass(frozen=True, slots=True)
class Block:
    """Seconds of the recording: what is diarized together, and the part of it whose turns are kept."""

    start: float
    end: float
    keep_from: float
    keep_to: float


@dataclass(frozen=True, slots=True)
class BlockTurns:
    """What a block gave: turns by the recording's clock, their speakers named by rows of `centroids`."""

    turns: tuple[Turn, ...]
    exclusive: tuple[Turn, ...]
    speakers: tuple[str, ...]
    centroids: npt.NDArray[Any]
    """(speakers, dimension)."""

    @property
    def voices(self) -> dict[str, npt.NDArray[Any]]:
        """Embedding of each speaker that has one: of too little speech there are no numbers."""
        rows = zip(self.speakers, self.centroids, strict=True)
        return {speaker: row for speaker, row in rows if len(row) > 1 and np.isfinite(row).all()}


def plan(duration_s: float, *, block_s: float, overlap_s: float) -> tuple[Block, ...]:
    """Blocks of equal length, `block_s` at most, that overlap by `overlap_s`; a short recording is one block."""
    if duration_s <= block_s:
        return (Block(0.0, duration_s, 0.0, duration_s),)
    overlap_s = min(overlap_s, block_s / 2)
    count = math.ceil((duration_s - overlap_s) / (block_s - overlap_s))
    length_s = (duration_s - overlap_s) / count + overlap_s
    starts = [number * (length_s - overlap_s) for number in range(count)]
    cuts = [0.0, *(start + overlap_s / 2 for start in starts[1:]), duration_s]
    return tuple(
        Block(start, min(duration_s, start + length_s), cuts[number], cuts[number + 1])
        for number, start in enumerate(starts)
    )


def merged(
    blocks: Sequence[Block], found: Sequence[BlockTurns], *, threshold: float, lowest: int, highest: int
) -> tuple[tuple[Turn, ...], tuple[Turn, ...], dict[str, npt.NDArray[Any]]]:
    """(turns, exclusive turns, embeddings by speaker) of the recording; speakers keep their names across blocks.

    `threshold` is the distance of unit centroids up to which two are one person; the number of people lies between
    `lowest` and `highest` where the blocks allow it.
    """
    names = same_people([one.centroids for one in found], threshold=threshold, lowest=lowest, highest=highest)
    turns: list[Turn] = []
    exclusive: list[Turn] = []
    voices: dict[str, list[npt.NDArray[Any]]] = {}
    for block, one, people in zip(blocks, found, names, strict=True):
        of_all = {speaker: f"person {person}" for speaker, person in zip(one.speakers, people, strict=True)}
        turns += _kept(one.turns, block, of_all)
        exclusive += _kept(one.exclusive, block, of_all)
        for speaker, voice in one.voices.items():
            voices.setdefault(of_all[speaker], []).append(voice / np.maximum(np.linalg.norm(voice), 1e-9))
    means = {name: np.mean(rows, axis=0) for name, rows in voices.items()}
    return _seamless(turns), _seamless(exclusive), means


def same_people(
    centroids: Sequence[npt.NDArray[Any]], *, threshold: float, lowest: int, highest: int
) -> list[list[int]]:
    """Find for each block the number of the person behind each of its centroids, (speakers, dimension)."""
    sizes = [len(rows) for rows in centroids]
    total = sum(sizes)
    if total < 2:
        return [list(range(size)) for size in sizes]
    rows = np.nan_to_num(np.vstack([block for block in centroids if len(block)]).astype(np.float64))
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    distances = np.sqrt(np.maximum(0.0, 2 - 2 * rows @ rows.T))
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    distances[block_of[:, None] == block_of[None, :]] = NEVER
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), "complete")
    heights = tree[:, 2]
    wanted = min(max(total - int(np.sum(heights <= threshold)), lowest), highest)
    possible = total - int(np.sum(heights < NEVER))
    people = fcluster(tree, min(total, max(wanted, possible)), criterion="maxclust") - 1
    return [list(map(int, part)) for part in np.split(people, np.cumsum(sizes)[:-1])]


def _kept(turns: Sequence[Turn], block: Block, names: dict[str, str]) -> list[Turn]:
    cut = [
        Turn(max(turn.start, block.keep_from), min(turn.end, block.keep_to), names[turn.speaker])
        for turn in turns
        if turn.speaker in names
    ]
    return [turn for turn in cut if turn.end > turn.start]


def _seamless(turns: list[Turn]) -> tuple[Turn, ...]:
    """Sort by time, and join what a cut between blocks parted."""
    joined: list[Turn] = []
    last: dict[str, int] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end)):
        place = last.get(turn.speaker)
        if place is not None and turn.start - joined[place].end <= SEAM_S:
            joined[place] = replace(joined[place], end=max(joined[place].end, turn.end))
        else:
            last[turn.speaker] = len(joined)
            joined.append(turn)
    return tuple(joined)
