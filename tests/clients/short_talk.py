"""Four seconds of somebody: for what has many requests and asks little of the text."""

import subprocess
from pathlib import Path

from btworker.ffmpeg import find_ffmpeg

TALK = Path(__file__).resolve().parents[1] / "data" / "heldout" / "20.opus"


def short_talk(folder: Path) -> Path:
    """Cut them from a recording."""
    talk = folder / "short.wav"
    subprocess.run([str(find_ffmpeg()), "-v", "error", "-i", str(TALK), "-t", "4", str(talk)], check=True)
    return talk
