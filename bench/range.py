"""What does a part of a long recording cost, beside all of it?

    python -W ignore bench/range.py [--hours 8] [--minutes 5] [--formats mp3,m4a,opus,wav]

A recording of that many hours and ten minutes is made of the sample, over and over, in each format. Then the engine
decodes all of it, and after that the range at that hour: time on the clock, CPU time of ffmpeg and of the process, and
samples in the scratch file.
"""

import argparse
import resource
import subprocess
import time
from pathlib import Path

from support import ROOT, report, workplace

SAMPLE = ROOT / "btworker" / "demo" / "sample.flac"
CODECS = {
    "mp3": ("-c:a", "libmp3lame", "-b:a", "64k"),
    "m4a": ("-c:a", "aac", "-b:a", "64k"),
    "opus": ("-c:a", "libopus", "-b:a", "32k"),
    "flac": ("-c:a", "flac"),
    "wav": ("-c:a", "pcm_s16le"),
    "mka": ("-c:a", "aac", "-b:a", "64k"),
}
TAIL_S = 600


def made(folder: Path, form: str, length_s: float) -> Path:
    """One minute is coded, and copied as often as it takes."""
    from btworker.ffmpeg import find_ffmpeg

    start = [str(find_ffmpeg()), "-nostdin", "-v", "error", "-y"]
    minute, whole = folder / f"minute.{form}", folder / f"whole.{form}"
    coded = [*start, "-stream_loop", "-1", "-i", str(SAMPLE), "-t", "60", "-ar", "48000", *CODECS[form], str(minute)]
    subprocess.run(coded, check=True)
    copied = [*start, "-stream_loop", "-1", "-i", str(minute), "-t", str(length_s), "-c", "copy", str(whole)]
    subprocess.run(copied, check=True)
    return whole


def decoded(source: Path, target: Path, ranges: tuple[tuple[float, float | None], ...]) -> dict[str, float]:
    """Decode, and take the time."""
    from btworker.engine.cooperate.result import result_of
    from btworker.engine.sound.decoding import decode
    from btworker.engine.sound.ffmpeg import Limits
    from btworker.engine.sound.layout import Wanted

    began, cpu = time.perf_counter(), cpu_s()
    steps = decode(source, target, limits=Limits(1000 * 3600.0), canceled=lambda: False, wanted=Wanted(ranges))
    audio = result_of(steps)
    figures = {"seconds": time.perf_counter() - began, "cpu_s": cpu_s() - cpu, "sound_s": audio.duration_s}
    audio.discard()
    return figures


def cpu_s() -> float:
    """CPU time of this process and of the ffmpegs that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--formats", default="mp3,m4a,opus,wav")
    options = parser.parse_args()
    start_s = options.hours * 3600
    wanted = ((start_s, start_s + options.minutes * 60),)
    rows, result, raw = [], {}, {}
    with workplace() as folder:
        for form in options.formats.split(","):
            source = made(folder, form, start_s + TAIL_S)
            part, whole = (decoded(source, folder / "x.s16", ranges) for ranges in (wanted, ()))
            source.unlink()
            raw[form] = {"range": part, "whole": whole}
            result[f"{form}_cpu_share"] = part["cpu_s"] / whole["cpu_s"]
            costs = [f"{one['seconds']:.1f} s ({one['cpu_s']:.1f} s of CPU)" for one in (part, whole)]
            rows.append((form, f"range {costs[0]}, whole {costs[1]}: {whole['cpu_s'] / part['cpu_s']:.0f} times"))
    report("range", rows, result, raw)


if __name__ == "__main__":
    main()
