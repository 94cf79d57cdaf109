"""The memory that telling speakers apart takes for a long recording, against a short one: a fresh process for each.

    python -W ignore bench/diarization_length.py [--hours 1 6]

The recording repeats a dialogue of half an hour of four people, and is read from a file as a job's is. What is measured
is the peak of the process above what it holds once the embedded pipeline is loaded and has run: all of it (VmHWM, with
pages of the file that the kernel may drop), and what is its own (RssAnon, looked at 20 times a second).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from support import ROOT, in_a_fresh_process, memory_above, report, workplace

from demo_diarization.heldout import Director
from demo_diarization.measure import diarize, diarizer_of, pcm

DIALOGUE_S = 1800
PEOPLE = 4
SEED = 930_001


def measured(path: Path) -> dict[str, float]:
    """In a process of its own: diarize a file of int16 samples at 16 kHz, tell what it took."""
    diarizer = diarizer_of(ROOT / "btworker/demo/diarization")
    samples = np.memmap(path, np.int16, "r")
    diarize(diarizer, np.array(samples[: 60 * 16_000]))
    start = time.perf_counter()
    with memory_above() as above:
        found = diarize(diarizer, samples)
    return {
        "hours": len(samples) / 16_000 / 3600,
        "seconds": time.perf_counter() - start,
        **above.figures,
        "speakers": found.speaker_count,
        "turns": len(found.turns),
        "blocks": found.block_count,
    }


def write(path: Path, dialogue: "np.ndarray[tuple[int], np.dtype[np.int16]]", hours: float) -> Path:
    """The dialogue, again and again."""
    left = round(hours * 3600 * 16_000)
    with open(path, "wb") as file:
        while left > 0:
            file.write(dialogue[:left].tobytes())
            left -= len(dialogue)
    return path


def row(one: dict[str, float]) -> tuple[str, str]:
    """Of the table."""
    memory = f"{one['above_mb']:6.0f} MB above {one['loaded_mb']:.0f} MB, {one['above_own_mb']:.0f} MB of it its own"
    found = f"{one['seconds']:.0f} s; {one['turns']} turns of {one['speakers']} speakers"
    return f"{one['hours']:.1f} h in {one['blocks']} blocks", f"{memory}; {found}"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, nargs=2, default=(1, 6), metavar=("SHORT", "LONG"))
    options = parser.parse_args()
    dialogue = pcm(Director().dialogue(SEED, length_s=DIALOGUE_S, people=PEOPLE).samples)
    with workplace() as folder:
        paths = [write(folder / f"{hours}h.s16", dialogue, hours) for hours in options.hours]
        short, long = (in_a_fresh_process(measured, path) for path in paths)
    result = {
        "short_mb": short["above_mb"],
        "long_mb": long["above_mb"],
        "ratio": long["above_mb"] / short["above_mb"],
        "ratio_own": long["above_own_mb"] / short["above_own_mb"],
        "speakers_short": short["speakers"],
        "speakers_long": long["speakers"],
    }
    report("diarization-length", [row(short), row(long)], result, [short, long])


if __name__ == "__main__":
    main()
