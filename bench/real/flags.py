"""How many invented segments are flagged, and how many real ones: sounds in which nobody speaks, and speech in noise.

    PYTHONPATH=tools python -W ignore -m bench.real.flags --noise DIR [--recordings DIR] [--model tiny.en] [--snr 10 0]

Of sound in which nobody speaks every segment with text is invented. Of speech, clean and with the folder's sounds mixed
in, a segment is real where half of its words or more are those that were spoken, and invented where none of at least
two is; what lies between is not counted.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.real.ours import Ours
from bench.real.recordings import OWN, Recording, decoded, recordings
from bench.real.scoring import edits, plain_words
from bench.real.transcripts import Heard, HeardSegment
from bench.real.weights import SOURCES, checkpoint
from bench.speed.figures import text_table

MODES = ("fast", "exact")
Count = dict[str, list[bool]]
"""What a segment is, in which mode and sound -> whether it is flagged, for each of them."""


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=OWN, help="a folder with a manifest.json")
    parser.add_argument("--noise", type=Path, required=True, help="a folder of sound files in which nobody speaks")
    parser.add_argument("--model", choices=sorted(SOURCES), default="tiny.en")
    parser.add_argument("--snr", type=float, nargs="+", default=[10.0, 0.0], help="dB of speech over noise")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds from which on recordings are left out")
    return parser.parse_args()


def main() -> int:
    """Transcribe, count, print."""
    options = options_of()
    torch.set_num_threads(1)
    engine, flags = Ours(checkpoint(options.model)), defaultdict[str, list[bool]](list)
    noises = [decoded(path) for path in sorted(options.noise.iterdir())]
    some = [one for one in recordings(options.recordings) if one.is_measured and one.seconds <= options.longest]
    if options.model.endswith(".en"):
        some = [one for one in some if one.language == "en"]
    for mode in MODES:
        for number, noise in enumerate(noises):
            nobody = replace(some[0], samples=noise, sha256=str(number))
            for segment in engine.transcribe(nobody, mode, 1).segments:
                if segment.text.strip():
                    flags[f"invented, {mode}, nobody speaks"].append(segment.flagged)
        for snr in (None, *options.snr):
            for one in some:
                _count(one, engine.transcribe(_mixed(one, noises, snr), mode, 1), f"{mode}, {_name(snr)}", flags)
    print(text_table([options.model, "segments", "flagged"], [_row(what, flags[what]) for what in sorted(flags)]))
    for kind in ("invented", "real"):
        print(" ".join(_row(f"all {kind}:", [flag for what in flags if what.startswith(kind) for flag in flags[what]])))
    return 0


def _name(snr: float | None) -> str:
    return "clean" if snr is None else f"{snr:g} dB"


def _mixed(one: Recording, noises: list[NDArray[np.int16]], snr: float | None) -> Recording:
    """Add a stretch of the noises, by the recording's hash, so much softer than the voice."""
    if snr is None:
        return one
    every = np.concatenate(noises).astype(np.float64)
    noise = np.resize(np.roll(every, -int(one.sha256[:8], 16) % len(every)), len(one.samples))
    voice = one.samples.astype(np.float64)
    noise *= voice.std() / max(noise.std(), 1.0) / 10 ** (snr / 20)
    samples = (voice + noise).clip(-32768, 32767).astype(np.int16)
    return replace(one, samples=samples, sha256=f"{one.sha256}{snr}")


def _count(one: Recording, heard: Heard, where: str, flags: Count) -> None:
    words = [(plain, segment) for segment in heard.segments for plain in _plain(segment, one.language)]
    wanted = plain_words(one.reference, one.language)
    right = {
        j
        for i, j in edits(wanted, [word for word, _ in words])
        if i is not None and j is not None and wanted[i] == words[j][0]
    }
    for segment in heard.segments:
        places = [place for place, (_, its) in enumerate(words) if its is segment]
        share = len(right.intersection(places)) / max(len(places), 1)
        if places and share >= 1 / 2:
            flags[f"real, {where}"].append(segment.flagged)
        elif len(places) > 1 and share == 0:
            flags[f"invented, {where}"].append(segment.flagged)


def _plain(segment: HeardSegment, language: str) -> Iterator[str]:
    for word in segment.words:
        yield from plain_words(word.text, language)


def _row(what: str, flags: list[bool]) -> list[str]:
    return [what, str(len(flags)), f"{sum(flags)} ({sum(flags) / max(len(flags), 1):.1%})"]


if __name__ == "__main__":
    sys.exit(main())
