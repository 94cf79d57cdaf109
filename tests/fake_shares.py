"""A long recording of the scripted engine, with which children of other boxes help. What a window "says" is a checksum
of its samples, so that a text shows whether the right sound was decoded, and not who did it.

    ["share", PARTS, S, HOLD]   parts of eight windows; each takes its owner S seconds, or until all parts behind it are
                                decoded; a helper is done at once, and nobody while there is a file HOLD
    ["share", PARTS, S, HOLD, HELP_S, FRAMES]   a helper takes HELP_S; a window has so many frames
"""

import json
import os
import random
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from btworker.shared_windows import FRAME_BYTES, PART, PLAN, claim, parts_of, write_whole

FRAMES, APART = 30, 70
"""Of a window, and between two."""
SKIPPED_SAMPLES = 777
"""In the file before the sound."""


def sound_of(size_bytes: int) -> bytes:
    """The samples, the same ones everywhere."""
    return random.Random(7).randbytes(size_bytes)


def texts_of(plan: Any, number: int) -> list[str]:
    """What the windows of a part say."""
    windows = plan["windows"][number * PART : (number + 1) * PART]
    found = []
    with open(plan["sound"], "rb") as file:
        for window in windows:
            file.seek(2 * plan["first"] + window["seek"] * FRAME_BYTES)
            found.append(f" {zlib.crc32(file.read(window['size'] * FRAME_BYTES))}")
    return found


def expected(parts: int, folder: Path) -> list[str]:
    """What all windows say."""
    plan = offer(folder, folder / "sound", parts)
    return [text for number in range(parts) for text in texts_of(plan, number)]


def offer(shares: Path, sound: Path, parts: int, frames: int = FRAMES) -> dict[str, Any]:
    """Write a recording and the plan of its windows."""
    size_bytes = parts * PART * (frames + APART) * FRAME_BYTES
    shares.mkdir(parents=True, exist_ok=True)
    sound.write_bytes(b"\1\2" * SKIPPED_SAMPLES + sound_of(size_bytes))
    plan = {
        "run": "scripted",
        "sound": str(sound),
        "samples": size_bytes // 2,
        "language": "en",
        "windows": [{"seek": number * (frames + APART), "size": frames} for number in range(parts * PART)],
        "first": SKIPPED_SAMPLES,
        "sound_comes": False,
    }
    write_whole(shares / PLAN, plan)
    return plan


def transcribe(
    shares: Path,
    sound: Path,
    parts: int,
    seconds: float,
    *,
    hold: Path,
    frames: int,
    canceled: Callable[[], bool],
) -> Iterator[tuple[list[str], int]]:
    """The owner's way through the parts: texts of each, and the pid of the helper that decoded it, or 0; no texts once
    others may help. Ends early where it is canceled."""
    plan, locks = offer(shares, sound, parts, frames), []

    def may_go_on(number: int) -> bool:
        behind = range(number + 1, parts)
        return canceled() or (bool(behind) and all((shares / f"{one}.json").exists() for one in behind))

    yield [], 0
    try:
        for number in range(parts):
            texts, lock = shares / f"{number}.json", None
            while not texts.exists() and (lock := claim(shares, number)) is None:
                if canceled():
                    return
                time.sleep(0.005)
            if texts.exists():
                found = json.loads(texts.read_text())
                yield found["texts"], found["pid"]
            else:
                locks.append(lock)
                _wait(3600, lambda: canceled() or not hold.exists())
                _wait(seconds, partial(may_go_on, number))
                yield texts_of(plan, number), 0
    finally:
        shutil.rmtree(shares, ignore_errors=True)
        sound.unlink(missing_ok=True)


def help_with(shares: Path, seconds: float, *, hold: Path, enough: Callable[[], bool]) -> Iterator[bool]:
    """A helper's way, from the end: True after a part, False while there is none."""
    plan = json.loads((shares / PLAN).read_text())
    while (shares / PLAN).exists() and not enough():
        number, lock = next(_claimed(shares, plan), (None, None))
        if number is None or lock is None:
            if not plan["sound_comes"]:
                return
            time.sleep(0.01)
            yield False
            continue
        _wait(3600, lambda: enough() or not hold.exists())
        _wait(seconds, enough)
        if not enough():
            write_whole(shares / f"{number}.json", {"texts": texts_of(plan, number), "pid": os.getpid()})
        lock.close()
        yield True


def _claimed(shares: Path, plan: Any) -> Iterator[Any]:
    for number in reversed(range(parts_of(len(plan["windows"])))):
        is_here = not plan["sound_comes"] or (shares / f"{number}.here").exists()
        if is_here and not (shares / f"{number}.json").exists() and (lock := claim(shares, number)) is not None:
            yield number, lock


def _wait(seconds: float, ends: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not ends():
        time.sleep(0.005)
