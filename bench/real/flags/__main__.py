"""How many invented segments are flagged, and how many real ones.

    PYTHONPATH=tools python -W ignore -m bench.real.flags --sounds DIR --recordings DIR [DIR …] [--minutes 6] [--fit]
        [--further 0.4] [--keep FILE]

`--sounds` is a folder of files in which nobody speaks, named by their kind: laughter-1.wav, music-x.mp3. Clips are made
of both (clips.py) and transcribed once: what the engine makes of them is kept in ~/.cache/btworker/real/flags, so that
a second run takes seconds. With `--minutes` a run transcribes no longer than that, and the next one goes on. With
`--fit` the points of measures.py are fitted to the one half and printed. `--further` makes further clips of the half
that is held out, by themselves: for what was chosen after the others had been seen.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import inf, log
from pathlib import Path

import torch

from bench.real.flags import slice_of
from bench.real.flags.clips import FURTHER, HALVES, HARD, NOBODY, ORDINARY, Clip, Half, Voice, clips, halves
from bench.real.flags.fit import ENOUGH, NAMES, Observation, fit, observations
from bench.real.flags.kept import look_again, rows, transcribe, voice
from bench.real.flags.labels import BETWEEN, INVENTED, REAL
from bench.real.recordings import OWN, Recording, recordings
from bench.speed.figures import markdown_table
from btworker.engine.quality.hallucinations import threshold
from btworker.engine.quality.measures import RAMPS

COUNTS = {
    ("tiny.en", HARD): 96,
    ("base", HARD): 16,
    ("tiny.en", NOBODY): 40,
    ("tiny.en", ORDINARY): 160,
    ("base", ORDINARY): 24,
}
"""Clips of each half."""
FALSE_SHARE = 0.004
"""Of the real segments that points are fitted to; a little less than what is wanted of others."""
LEFT_OUT = ("la",)
"""Languages of the manifests whose references are of another language."""
KINDS: dict[str, Callable[[Observation], bool]] = {
    "all": lambda _: True,
    "where nobody speaks in the clip": lambda one: one.row.what.endswith("alone"),
    "where somebody speaks in the clip": lambda one: not one.row.what.endswith("alone"),
    "ordinary clips": lambda one: one.row.recipe == "ordinary",
    "fast": lambda one: one.row.options["decode"] == "fast",
    "exact": lambda one: one.row.options["decode"] == "exact",
    "base": lambda one: one.row.model == "base",
    "tiny.en": lambda one: one.row.model == "tiny.en",
    "temperatures as by default": lambda one: one.row.options["temperature"] is None,
}
Points = Sequence[float]
"""For a unit of each measure."""


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, nargs="+", default=[OWN], help="folders with a manifest.json")
    parser.add_argument("--sounds", type=Path, required=True, help="a folder of sound files in which nobody speaks")
    parser.add_argument("--fit", action="store_true", help="fit the points to the first half")
    parser.add_argument("--share", type=float, default=1.0, help="of the clips")
    parser.add_argument("--further", type=float, default=0.0, help="share of the clips: only further ones")
    parser.add_argument("--minutes", type=float, default=inf, help="that clips are transcribed in this run")
    parser.add_argument("--keep", type=Path, help="a file for the small slice that the tests hold")
    return parser.parse_args()


def main() -> int:
    """Transcribe what is not kept, count, print."""
    options = options_of()
    torch.set_num_threads(1)
    both = halves(_voices(options.recordings), options.sounds)
    groups = list(_further(both[1], options.further) if options.further else _clips(both, options.share))
    until = time.monotonic() + 60 * options.minutes
    left = sum(transcribe(some, model, until=until) for model, some in groups)
    left = left or sum(look_again(some, model, until=until) for model, some in groups)
    if left:
        print(f"{left} clips are not transcribed or looked at again yet: run this again")
        return 1
    found = [row for model, some in groups for row in rows(some, model)]
    some = list(observations(found))
    points = [RAMPS[name].points for name in NAMES]
    if options.fit:
        points = fit([one for one in some if one.row.half == HALVES[0]], false_share=FALSE_SHARE)
    names = [name for name in (*HALVES, FURTHER) if any(row.half == name for row in found)]
    print(markdown_table(["segments flagged, of all", *names], list(_by_kind(some, points, names))))
    print(markdown_table(["reason", "number", "begins at", "points for a unit", "units at most"], _points(points)))
    columns = list(product(names, (INVENTED, REAL)))
    heads = ["sensitivity", *(f"{label}, {half}" for half, label in columns)]
    print(markdown_table(heads, list(_by_sensitivity(some, points, columns))))
    if options.keep:
        slice_of.write(options.keep, found)
    return 0


def _voices(folders: Sequence[Path]) -> list[Voice]:
    """Of each name the first; those with a text, by people or by a larger model."""
    every: dict[str, Recording] = {}
    for folder in folders:
        for one in recordings(folder):
            if one.reference and one.language and one.language not in LEFT_OUT:
                every.setdefault(one.name, one)
    return [voice(one) for one in every.values()]


def _clips(both: Sequence[Half], share: float) -> Iterator[tuple[str, list[Clip]]]:
    """Make all clips, those for each model by themselves."""
    for half, ((model, recipe), count) in product(both, COUNTS.items()):
        yield model, list(clips(half, recipe, count=int(count * share), english=model.endswith(".en")))


def _further(half: Half, share: float) -> Iterator[tuple[str, list[Clip]]]:
    """Make further ones."""
    for (model, recipe), count in COUNTS.items():
        some = clips(half, recipe, count=int(count * share), english=model.endswith(".en"), first=count)
        yield model, [replace(clip, half=FURTHER) for clip in some]


def _by_kind(some: Sequence[Observation], points: Points, names: Sequence[str]) -> Iterator[list[str]]:
    """Count by what the segments are, and where they come from."""
    for label, (name, counts) in product((INVENTED, REAL, BETWEEN), KINDS.items()):
        those = [one for one in some if one.label == label and counts(one)]
        if those:
            yield [f"{label}, {name}", *(_share(those, half, points, ENOUGH) for half in names)]


def _by_sensitivity(
    some: Sequence[Observation], points: Points, columns: Sequence[tuple[str, str]]
) -> Iterator[list[str]]:
    """Count what a client gets that wants more, or less."""
    for sensitivity in (0, 25, 50, 75, 100):
        enough = -log(1 - threshold(sensitivity))
        counts = (_share([one for one in some if one.label == label], half, points, enough) for half, label in columns)
        yield [str(sensitivity), *counts]


def _points(points: Points) -> list[list[str]]:
    ramps = [RAMPS[name] for name in NAMES]
    return [
        [f"`{ramp.reason}`", name.replace("_", " "), f"{ramp.begins:g}", f"{one:g}", f"{ramp.most:g}"]
        for name, ramp, one in zip(NAMES, ramps, points, strict=True)
    ]


def _share(some: Sequence[Observation], half: str, points: Points, enough: float) -> str:
    flags = [one.points(points) >= enough for one in some if one.row.half == half]
    return f"{sum(flags)} of {len(flags)} ({sum(flags) / max(len(flags), 1):.1%})"


if __name__ == "__main__":
    sys.exit(main())
