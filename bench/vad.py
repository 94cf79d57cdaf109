"""Where somebody speaks: ours against silero-vad's own get_speech_timestamps, and the windows that come out of it.

    python -W ignore bench/vad.py [--minutes 60] [--threads 1 2] [--rounds 3] [--device cpu]

The recording is the sample and the held-out dialogues over and over, with silence and noise between them. The two take
turns. The figures count only where both find the same spans with silero's own lengths.
"""

import argparse
import os
import statistics
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from silero_vad import get_speech_timestamps, load_silero_vad
from support import ROOT, memory_mb, report, spread, workplace

from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Limits
from btworker.engine.vad.detector import SpeechDetector
from btworker.engine.vad.packing import pack
from btworker.engine.vad.spans import SpeechThresholds, spans_of

SILEROS = SpeechThresholds(fresh_threshold=None, min_speech_ms=250, min_silence_ms=100, pad_ms=30)
RATE = 16_000
SEED = 7
LONG_HOURS = 10
LOOKS_PER_S = 50

Samples = NDArray[np.int16]


def sound_of(path: Path, scratch: Path) -> Samples:
    """The recording, decoded as a job's is."""
    steps = decode(path, scratch, limits=Limits(3600.0), canceled=lambda: False)
    return np.array(result_of(steps).samples)


def recording(minutes: float, folder: Path) -> Samples:
    """Speech, and silence or noise of 0.2 to 8 s after each piece of it."""
    paths = [ROOT / "btworker/demo/sample.flac", *sorted((ROOT / "tests/data/dialogues").glob("*.opus"))]
    speech = [sound_of(path, folder / "decoded.s16") for path in paths]
    rng = np.random.default_rng(SEED)
    parts: list[Samples] = []
    wanted = int(minutes * 60 * RATE)
    while sum(map(len, parts)) < wanted:
        noise = rng.standard_normal(int(rng.uniform(0.2, 8) * RATE)) * rng.choice([0, 20, 300, 3000])
        parts += [speech[int(rng.integers(len(speech)))], noise.clip(-32768, 32767).astype(np.int16)]
    return np.concatenate(parts)[:wanted]


def compare(samples: Samples, options: argparse.Namespace, threads: int) -> tuple[list[float], list[float], bool]:
    """Seconds of silero's and of ours, round by round, and whether they found the same."""
    torch.set_num_threads(threads)
    silero, detector = load_silero_vad(), SpeechDetector(torch.device(options.device), SILEROS)
    torch.set_num_threads(threads)  # importing silero_vad sets one
    sound = torch.from_numpy(samples.astype(np.float32) / 32768)
    detector.speech(samples[: 60 * RATE])
    seconds: tuple[list[float], list[float]] = ([], [])
    same = True
    for number in range(options.rounds):
        start = time.perf_counter()
        theirs = [(span["start"], span["end"]) for span in get_speech_timestamps(sound, silero)]
        seconds[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        ours = [(span.start, span.end) for span in detector.speech(samples).spans]
        seconds[1].append(time.perf_counter() - start)
        same = same and ours == theirs
        print(
            f"  {threads} threads, round {number + 1}: {seconds[0][-1]:.1f} s, ours {seconds[1][-1]:.2f} s", flush=True
        )
    return *seconds, same


def length(samples: Samples, folder: Path, device: str) -> float:
    """MB of its own memory (not the map's) that a recording of ten hours takes above the loaded network."""
    path = folder / "long.s16"
    with path.open("wb") as file:
        for _ in range(-(-LONG_HOURS * 3600 * RATE // len(samples))):
            samples.tofile(file)
    detector = SpeechDetector(torch.device(device))
    mapped = np.memmap(path, np.int16, "r")
    detector.speech(mapped[: 600 * RATE])
    own_mb, ended = [memory_mb(os.getpid(), "RssAnon")], threading.Event()

    def look() -> None:
        while not ended.wait(1 / LOOKS_PER_S):
            own_mb.append(memory_mb(os.getpid(), "RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    detector.speech(mapped)
    ended.set()
    watcher.join()
    return max(own_mb) - own_mb[0]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rows: list[tuple[str, str]] = [("silero-vad, torch", f"{version('silero-vad')}, {version('torch')}")]
    result: dict[str, float] = {}
    raw: dict[int, tuple[list[float], list[float]]] = {}
    with workplace() as folder:
        samples = recording(options.minutes, folder)
        audio_s = len(samples) / RATE
        for threads in options.threads:
            theirs, ours, same = compare(samples, options, threads)
            raw[threads] = theirs, ours
            times = [a / b for a, b in zip(theirs, ours, strict=True)]
            rows += [
                (f"times real time, {threads} threads: silero", spread([audio_s / s for s in theirs])),
                (f"times real time, {threads} threads: ours", spread([audio_s / s for s in ours])),
                (f"times faster, {threads} threads", f"{spread(times)}; the same spans: {same}"),
            ]
            result |= {f"faster_{threads}": round(statistics.median(times), 1), f"same_{threads}": float(same)}
        speech = SpeechDetector(torch.device(options.device)).speech(samples)
        rows += windows_of(speech.probabilities, len(samples))
        long_mb = length(samples, folder, options.device)
        rows.append((f"memory of its own for {LONG_HOURS} hours, above the network", f"{long_mb:.0f} MB"))
    report("vad", rows, {**result, "long_mb": long_mb}, raw)


def windows_of(probabilities: NDArray[np.float32], total: int) -> list[tuple[str, str]]:
    """How full the windows are."""
    spans = spans_of(probabilities, total)
    windows = pack(spans, total, probabilities)
    speech_s = sum(span.end - span.start for span in spans) / RATE
    heard_s = sum(window.end - window.start for window in windows) / RATE
    return [
        ("speech, of it", f"{speech_s:.0f} of {total / RATE:.0f} s"),
        ("windows, mean length", f"{len(windows)}, {heard_s / len(windows):.1f} s"),
        ("windows that speech alone would fill", f"{speech_s / 30:.0f}"),
    ]


if __name__ == "__main__":
    main()
