"""What a box sends of a recording's sound for a part, and where it lands in the copy on another box."""

import io
from typing import Any

import pytest

from btworker.shared_windows import FRAME_BYTES, MARGIN_FRAMES, PART, Piece, copy_pieces, packed, parts_of, pieces


def plan_of(frames: int, *windows: tuple[int, int]) -> dict[str, Any]:
    """A recording of so many frames with these windows: (seek, size)."""
    shapes = [{"seek": seek, "size": size} for seek, size in windows]
    return {"samples": frames * FRAME_BYTES // 2, "windows": shapes}


def test_a_part_has_the_sound_around_its_windows_and_not_between_them() -> None:
    """No more than there is: before the beginning and after the end there is nothing."""
    plan = plan_of(1000, (0, 300), (600, 400))
    first, second = pieces(plan, 0)
    assert first == Piece(0, (300 + MARGIN_FRAMES) * FRAME_BYTES)
    assert second == Piece((600 - MARGIN_FRAMES) * FRAME_BYTES, (400 + MARGIN_FRAMES) * FRAME_BYTES)


def test_parts_are_all_windows_once() -> None:
    """The last one has the rest."""
    plan = plan_of(100_000, *((number * 100, 50) for number in range(2 * PART + 3)))
    counts = [len(pieces(plan, number)) for number in range(parts_of(len(plan["windows"])))]
    assert counts == [PART, PART, 3]


def test_the_copy_has_the_sound_where_the_recording_has_it() -> None:
    """Packed on the one side, laid out on the other; a sound that is too short is an error, and no silence."""
    sound = bytes(range(256)) * (20 * FRAME_BYTES // 256 + 1) * 50
    plan = plan_of(1000, (0, 100), (400, 100))
    found = list(packed(pieces(plan, 0)))
    sent, copy = io.BytesIO(), io.BytesIO(bytes(1000 * FRAME_BYTES))
    copy_pieces(io.BytesIO(b"head" + sound), sent, [(4 + piece.offset, at, piece.count) for piece, at in found])
    copy_pieces(sent, copy, [(at, piece.offset, piece.count) for piece, at in found])
    for piece, _ in found:
        end = piece.offset + piece.count
        assert copy.getvalue()[piece.offset : end] == sound[piece.offset : end]
    with pytest.raises(EOFError):
        copy_pieces(io.BytesIO(sound[: 300 * FRAME_BYTES]), sent, [(p.offset, at, p.count) for p, at in found])
