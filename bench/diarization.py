"""Who speaks when: ours against pyannote's own SpeakerDiarization from the same folder, on the same recordings.

    python -W ignore bench/diarization.py [--embedded-minutes 30] [--real-minutes 2] [--rounds 2] [--device cpu]

Two folders: the embedded pipeline, and models of the shapes that people use (PyanNet as in segmentation-3.0,
WeSpeakerResNet34) with random weights. Stock runs with batches of 1, its default, and of 32. The three take turns.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import ROOT, report, spread, workplace

from btworker.engine.diarization.diarizer import Diarization, Diarizer
from btworker.engine.diarization.loading import load_pipeline
from btworker.specs import EngineSettings
from btworker.transcript import Turn
from demo_diarization.heldout import Dialogue, Director
from demo_diarization.measure import Case, diarize, error_rate, pcm
from demo_diarization.shapes import write_real_shapes

OURS = "ours"
STOCK_BATCHES = (1, 32)
PEOPLE = 3
SEED = 940_001
TOLERANCE_S = 1e-3

Turns = tuple[Turn, ...]
Run = Callable[[Dialogue], Turns]


@dataclass(frozen=True)
class Measured:
    """One folder: seconds of each way by its name, and what each found."""

    seconds: dict[str, list[float]]
    turns: dict[str, Turns]

    def speedup(self, batch: int) -> float:
        """How many times faster ours is than stock with this batch; the median of rounds."""
        pairs = zip(self.seconds[stock_name(batch)], self.seconds[OURS], strict=True)
        return statistics.median(stock / ours for stock, ours in pairs)

    @property
    def same(self) -> bool:
        """Every way found the same turns."""
        return all(same_turns(self.turns[OURS], self.turns[stock_name(batch)]) for batch in STOCK_BATCHES)


def stock_name(batch: int) -> str:
    """For the table."""
    return f"stock, batch {batch}"


def same_turns(ours: Turns, theirs: Turns) -> bool:
    """The same spans, and the same people under whatever names."""
    if len(ours) != len(theirs):
        return False
    pairs = list(zip(ours, theirs, strict=True))
    names = {(one.speaker, other.speaker) for one, other in pairs}
    one_to_one = len(names) == len({one for one, _ in names}) == len({other for _, other in names})
    spans = ([(turn.start, turn.end) for turn in turns] for turns in (ours, theirs))
    return one_to_one and bool(np.allclose(*spans, rtol=0, atol=TOLERANCE_S))


def ways(folder: Path, device: str) -> dict[str, Run]:
    """Ours through the worker's own Diarizer, and stock with both batch sizes; all loaded."""
    settings = EngineSettings("demo", (), Path("unused"), Path("unused"), offline=True, diarization_pipeline=folder)
    settings = replace(settings, diarization_block_s=24 * 3600.0)
    diarizer = Diarizer(settings, on_gpu=device == "cuda")

    def ours(dialogue: Dialogue) -> Turns:
        return diarize(diarizer, dialogue.samples).turns

    return {OURS: ours, **{stock_name(batch): stock(settings, device, batch) for batch in STOCK_BATCHES}}


def stock(settings: EngineSettings, device: str, batch: int) -> Run:
    """pyannote's own class, which nothing of ours has touched."""
    pipeline: Any = load_pipeline(settings, torch.device(device))
    pipeline.segmentation_batch_size = pipeline.embedding_batch_size = batch

    def run(dialogue: Dialogue) -> Turns:
        waveform = torch.from_numpy(pcm(dialogue.samples).astype(np.float32) / np.float32(32768))[None]
        output = pipeline({"waveform": waveform, "sample_rate": 16_000, "uri": "recording"})
        annotation = getattr(output, "speaker_diarization", output)
        tracks = annotation.itertracks(yield_label=True)
        return tuple(Turn(segment.start, segment.end, str(label)) for segment, _, label in tracks)

    return run


def measure(name: str, folder: Path, dialogue: Dialogue, options: argparse.Namespace) -> Measured:
    """All ways in turn, `rounds` times; the first of them is another one in every round."""
    runs = ways(folder, options.device)
    warm_up = replace(dialogue, samples=dialogue.samples[: 16_000 * 15])
    for run in runs.values():
        run(warm_up)
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    turns: dict[str, Turns] = {}
    for number in range(options.rounds):
        order = list(runs)[number % len(runs) :] + list(runs)[: number % len(runs)]
        for way in order:
            start = time.perf_counter()
            turns[way] = runs[way](dialogue)
            seconds[way].append(time.perf_counter() - start)
            print(f"  {name}, round {number + 1}, {way}: {seconds[way][-1]:.1f} s", flush=True)
    return Measured(seconds, turns)


def rows(name: str, measured: Measured, audio_s: float) -> list[tuple[str, str]]:
    """Of the table."""
    timed = [(f"{name}: {way}", f"{spread(values)} s") for way, values in measured.seconds.items()]
    speed = audio_s / statistics.median(measured.seconds[OURS])
    people = len({turn.speaker for turn in measured.turns[OURS]})
    found = f"{len(measured.turns[OURS])} turns of {people} speakers, {'the same' if measured.same else 'NOT the same'}"
    return [*timed, (f"{name}: ours", f"{speed:8.1f} times real time"), (f"{name}: found", found)]


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--embedded-minutes", type=float, default=30)
    parser.add_argument("--real-minutes", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    director = Director()
    long = director.dialogue(SEED, length_s=60 * options.embedded_minutes, people=PEOPLE)
    short = director.dialogue(SEED + 1, length_s=60 * options.real_minutes, people=PEOPLE)
    with workplace() as folder:
        real = measure("real shapes", write_real_shapes(folder / "real", short.samples), short, options)
    embedded = measure("embedded", ROOT / "btworker/demo/diarization", long, options)
    case = Case(long, Diarization(embedded.turns[OURS], (), 1))
    result = {
        "der": error_rate([case])[0],
        "speedup_batch1": real.speedup(1),
        "speedup_batch32": real.speedup(32),
        "same_turns": float(real.same and embedded.same),
        "embedded_speedup_batch1": embedded.speedup(1),
        "embedded_speedup_batch32": embedded.speedup(32),
    }
    table = [
        ("pyannote.audio, torch, device", f"{version('pyannote.audio')}, {torch.__version__}, {options.device}"),
        *rows("real shapes", real, len(short.samples) / 16_000),
        *rows("embedded", embedded, len(long.samples) / 16_000),
        ("embedded: diarization error rate", f"{result['der']:8.2%}"),
    ]
    report("diarization", table, result, {"real": real.seconds, "embedded": embedded.seconds})


if __name__ == "__main__":
    main()
