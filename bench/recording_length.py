"""Does a recording of ten hours take more memory than one of ten minutes? And when is its first text there?

    python -W ignore bench/recording_length.py [--minutes 10 600] [--threads 2]

The engine as a child has it, in a fresh process for each length: the embedded model, fast mode, word times and language
detection, from a WAV of held-out speech to all its files. What is measured is the peak of the process above what it
holds once the model is loaded and has had full batches; ffmpeg runs beside it and is not in it.
"""

import argparse
import shutil
import time
import wave
from pathlib import Path

from support import in_a_fresh_process, memory_above, report, workplace

WARM_UP_S = 1500
"""Enough to fill the batches, and what is asked for ahead of them: that is the same whatever comes."""


def write(path: Path, pieces: list[Path], minutes: float) -> Path:
    """The pieces, again and again."""
    left = round(minutes * 60 * 16_000)
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        while left > 0:
            for piece in pieces:
                with wave.open(str(piece), "rb") as file:
                    out.writeframes(file.readframes(min(left, file.getnframes())))
                left = max(left - file.getnframes(), 0)
    return path


def measured(path: Path, warm_up: Path, folder: Path, threads: int) -> dict[str, float]:
    """In a process of its own: the whole attempt."""
    import torch

    from bench.speed.attempts import open_engine, task_of
    from bench.speed.recordings import Recording
    from btworker.messages import Finished, WindowDone

    engine = open_engine(folder, torch.device("cpu"), threads)
    for _ in engine.run(task_of([Recording(warm_up, WARM_UP_S, "")], folder / "warm-up", mode="fast"), lambda: False):
        pass
    task = task_of([Recording(path, 0.0, "")], folder / "job", mode="fast")
    start, first_s, windows = time.perf_counter(), 0.0, 0
    waited_s = duration_s = 0.0
    with memory_above() as above:
        for event in engine.run(task, lambda: False):
            if isinstance(event, WindowDone):
                first_s, windows = first_s or time.perf_counter() - start, windows + 1
            elif isinstance(event, Finished):
                waited_s, duration_s = dict(event.timings)["decode"], event.durations_s[0]
    seconds = time.perf_counter() - start
    shutil.rmtree(task.folder)
    return {
        "minutes": duration_s / 60,
        "seconds": seconds,
        "times_real_time": duration_s / seconds,
        "first_text_s": first_s,
        "waited_for_sound_s": waited_s,
        "windows": windows,
        **above.figures,
    }


def row(one: dict[str, float]) -> tuple[str, str]:
    """Of the table."""
    loaded = f"{one['loaded_mb']:.0f} MB ({one['above_mb']:.0f} with mapped files)"
    speed = f"{one['seconds']:.0f} s, {one['times_real_time']:.0f} times real time"
    first = f"first text after {one['first_text_s']:.1f} s"
    memory = f"{one['above_own_mb']:6.1f} MB of its own above {loaded}"
    return f"{one['minutes']:.0f} min", f"{memory}; {speed}, {first}"


def main() -> None:
    """See the module's docstring."""
    from bench.speed.recordings import heldout_recordings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs=2, default=(10, 600), metavar=("SHORT", "LONG"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with workplace() as folder:
        pieces = [one.path for one in heldout_recordings(folder / "pieces", minutes=30)]
        warm_up = write(folder / "warm-up.wav", pieces, WARM_UP_S / 60)
        figures = []
        for minutes in options.minutes:
            path = write(folder / f"{minutes:g}.wav", pieces, minutes)
            figures.append(in_a_fresh_process(measured, path, warm_up, folder / f"{minutes:g}", options.threads))
            path.unlink()
    short, long = figures
    result = {
        "short_own_mb": short["above_own_mb"],
        "long_own_mb": long["above_own_mb"],
        "more_mb": long["above_own_mb"] - short["above_own_mb"],
        "first_text_short_s": short["first_text_s"],
        "first_text_long_s": long["first_text_s"],
        "times_real_time_long": long["times_real_time"],
    }
    report("recording-length", [row(short), row(long)], result, figures)


if __name__ == "__main__":
    main()
