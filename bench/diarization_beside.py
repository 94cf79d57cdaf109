"""Speakers beside what else there is, against one thing after the other, in turns; the same speakers are a condition.

    python -W ignore bench/diarization_beside.py [--device cuda] [--minutes 60] [--recordings 3] [--rounds 2]

recordings: some at once, as files of one job have it, through models of the shapes that people use (PyanNet as in
segmentation-3.0, WeSpeakerResNet34; random weights). job: files with text and speakers, by the embedded models.
On a GPU also each network alone, and the segmentation's in half precision, which the worker does not use.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import ROOT, report, spread, workplace

from bench.speed.attempts import open_engine, task_of
from bench.speed.recordings import dialogue_recordings
from btworker.engine.cooperate.result import result_of
from btworker.engine.cooperate.side_by_side import together
from btworker.engine.diarization.diarizer import Diarizer
from btworker.jobs import JobId, Options
from btworker.specs import EngineSettings
from btworker.storage import JobFolder
from demo_diarization.dialogue_files import read
from demo_diarization.measure import pcm
from demo_diarization.shapes import CHUNK_S, write_real_shapes

RATE = 16_000
PEOPLE = 3
LONGEST_JOB_MINUTES = 15.0
"""The embedded pipeline has short chunks, of which clusters of long recordings take minutes."""
WAYS = ("one by one", "beside")
OPTIONS = Options(model="demo", diarization_enabled=True)
Found = list[Any]


@contextmanager
def going(diarizer: Diarizer, way: str) -> Iterator[None]:
    """Have it work so during the block."""
    before = diarizer.beside
    diarizer.beside = diarizer.pipeline.looks_ahead = way == "beside"
    yield
    diarizer.beside = diarizer.pipeline.looks_ahead = before


def dialogues(minutes: float, count: int) -> list[Any]:
    """Int16 samples of the recordings of several people that come with the tests, over and over."""
    said = [pcm(read(path).samples) for path in sorted((ROOT / "tests/data/dialogues").glob("*.opus"))]
    orders = [np.concatenate(said[number % len(said) :] + said[: number % len(said)]) for number in range(count)]
    return [np.resize(one, int(60 * RATE * minutes)) for one in orders]


def turns_of(diarizer: Diarizer, recordings: Sequence[Any]) -> Found:
    """Of all recordings, as pieces of one thread."""
    pieces = [partial(diarizer.diarize, samples, OPTIONS, emit=lambda _: None) for samples in recordings]
    return [one.turns for one in result_of(together(pieces, may_begin=lambda: True))]


def in_turns(diarizer: Diarizer, work: Callable[[str], Found], rounds: int) -> tuple[dict[str, list[float]], bool]:
    """Seconds of both ways, and whether they found the same; the first of them is another one in every round."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, Found] = {}
    for number in range(rounds):
        for way in WAYS[:: 1 if number % 2 else -1]:
            with going(diarizer, way):
                began = time.perf_counter()
                found[way] = work(way)
                seconds[way].append(time.perf_counter() - began)
            print(f"  round {number + 1}, {way}: {seconds[way][-1]:.1f} s", flush=True)
    return seconds, found[WAYS[0]] == found[WAYS[1]]


def network_seconds(diarizer: Diarizer, minutes: float) -> dict[str, float]:
    """On a GPU: of each network alone for so much sound, in batches of the worker's size."""
    segmentation, embedding = diarizer.pipeline._segmentation, diarizer.pipeline._embedding  # noqa: SLF001
    chunks = int(60 * minutes / segmentation.step)
    found = {}

    def timed(name: str, size: int, work: Callable[[torch.Tensor], Any]) -> None:
        sound = 0.1 * torch.randn(size, 1, int(CHUNK_S * RATE))
        work(sound)  # which makes plans and takes memory
        began = time.perf_counter()
        for _ in range(-(-chunks // size)):
            work(sound)
        found[name] = time.perf_counter() - began

    timed("segmentation", diarizer.pipeline.segmentation_batch_size, segmentation.infer)
    masks = torch.ones(diarizer.pipeline.embedding_batch_size, PEOPLE, 500)
    timed("embedding", len(masks), lambda sound: embedding(sound, masks=masks))
    model = segmentation.model.half()
    timed(
        "half_segmentation",
        diarizer.pipeline.segmentation_batch_size,
        torch.inference_mode()(lambda sound: model(sound.to(segmentation.device).half()).float().cpu()),
    )
    return found


class Jobs:
    """Files with text and speakers, one job each time."""

    def __init__(self, folder: Path, device: torch.device, minutes: float, count: int) -> None:
        self._folder = folder
        folder.mkdir()
        sound = dialogue_recordings(folder / "dialogues", minutes=minutes)
        self._recordings = [sound[number % len(sound)] for number in range(count)]
        self._engine = open_engine(folder, device, os.cpu_count() or 1)
        self.diarizer = self._engine.equipment.speakers.load()
        self._number = 0

    def run(self, _way: str) -> Found:
        """The files of a job."""
        self._number += 1
        task = task_of(self._recordings, self._folder / f"{self._number}", mode="fast")
        options = replace(task.options, diarization_enabled=True)
        for _ in self._engine.run(replace(task, job_id=JobId(f"{self._number}"), options=options), lambda: False):
            pass
        job = JobFolder(task.folder)
        return [said_by(job.transcript(index)) for index in range(len(task.inputs))]


def said_by(path: Path) -> str:
    """A transcript without what depends on the clock."""
    document = json.loads(path.read_bytes())
    return json.dumps([document["segments"], document.get("turns"), document.get("no_speakers")])


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, help="of each recording: 60 on a GPU, one elsewhere")
    parser.add_argument("--recordings", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    minutes = options.minutes or (60.0 if options.device == "cuda" else 1.0)
    recordings = dialogues(minutes, options.recordings)
    audio_s = 60 * minutes * len(recordings)
    networks: dict[str, float] = {}
    with workplace() as folder:
        pipeline = write_real_shapes(folder / "real", recordings[0].astype(np.float32) / 32768)
        settings = EngineSettings("demo", (), folder, folder, offline=True, diarization_pipeline=pipeline)
        diarizer = Diarizer(settings, on_gpu=options.device == "cuda")
        turns_of(diarizer, [recordings[0][: 30 * RATE]])
        speakers, same = in_turns(diarizer, lambda _: turns_of(diarizer, recordings), options.rounds)
        job_minutes = min(minutes, LONGEST_JOB_MINUTES)
        jobs = Jobs(folder / "jobs", torch.device(options.device), job_minutes, options.recordings)
        jobs.run("warm")
        files, same_files = in_turns(jobs.diarizer, jobs.run, options.rounds)
        if options.device == "cuda":
            networks = network_seconds(diarizer, minutes)
    ratio = {name: _ratio(seconds) for name, seconds in (("recordings", speakers), ("job", files))}
    times = audio_s / statistics.median(speakers["beside" if options.device == "cuda" else "one by one"])
    rows = [
        ("pyannote.audio, torch, device", f"{version('pyannote.audio')}, {torch.__version__}, {options.device}"),
        *((f"recordings, {way}", f"{spread(speakers[way])} s") for way in WAYS),
        ("recordings, as the worker has it", f"{times:8.1f} times real time"),
        *((f"job, {way}", f"{spread(files[way])} s") for way in WAYS),
        *((f"network for {minutes:g} minutes: {name}", f"{seconds:8.2f} s") for name, seconds in networks.items()),
    ]
    result = {
        "times_real_time": times,
        "recordings_speedup": ratio["recordings"],
        "job_speedup": ratio["job"],
        "same": float(same and same_files),
        **{f"{name}_s": seconds for name, seconds in networks.items()},
    }
    report("diarization_beside", rows, result, {"recordings": speakers, "job": files, "networks": networks})


def _ratio(seconds: dict[str, list[float]]) -> float:
    return statistics.median(one / two for one, two in zip(seconds[WAYS[0]], seconds[WAYS[1]], strict=True))


if __name__ == "__main__":
    main()
