"""A recording that is long enough to be shared, and what is said in it: for the tests with the real engine."""

import subprocess
from pathlib import Path
from typing import Any

from btworker.ffmpeg import find_ffmpeg
from tests.acceptance.places import HELD_OUT


def speech(folder: Path) -> bytes:
    """Five minutes of it: recordings of the tests one after the other."""
    pieces = sorted(HELD_OUT.glob("*.opus"))
    (folder / "list").write_text("".join(f"file '{path.resolve()}'\n" for path in pieces))
    command = [find_ffmpeg(), "-v", "error", "-f", "concat", "-safe", "0", "-i", folder / "list"]
    command += ["-t", "300", "-c", "copy", folder / "long.opus"]
    subprocess.run([str(part) for part in command], check=True)
    return (folder / "long.opus").read_bytes()


def spoken(found: Any) -> list[Any]:
    """Segments and words, but for probabilities, which other windows in the batch move by a rounding."""
    words = [[(word["word"], word["start"], word["end"]) for word in one["words"]] for one in found["segments"]]
    return [[(one["id"], one["start"], one["end"], one["text"]) for one in found["segments"]], words]
