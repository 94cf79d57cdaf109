"""Speech behind noise: how much of it the detector finds, and how much speech it finds where there is none.

    python -W ignore -m bench.real.noise [--recordings DIR] [--noise DIR] [--seconds 60] [--louder 3]

Recordings of up to 15 s with people's text are put behind noise that is as loud as they are, and louder. The noise is
white and pink, and what a folder has (sound in which nobody speaks), a stretch of it for each recording. What is found
in a recording alone is the measure.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.real.recordings import OWN, decoded, recordings
from bench.speed.figures import text_table
from btworker.engine.vad.detector import SpeechDetector
from btworker.engine.vad.spans import FRAME, Span, SpeechThresholds
from btworker.ffmpeg import SAMPLE_RATE

CPU = torch.device("cpu")
LONGEST_S = 15.0
SEED = 7
Samples = NDArray[np.int16]


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=OWN, help="a folder with a manifest.json")
    parser.add_argument("--noise", type=Path, help="a folder of sound files in which nobody speaks")
    parser.add_argument("--seconds", type=int, default=60, help="of noise before the speech")
    parser.add_argument("--louder", type=float, nargs="+", default=[1.0, 3.0], help="amplitude of noise to speech")
    return parser.parse_args()


def main() -> int:
    """Detect, count, print."""
    options = options_of()
    detectors = {
        "silero": SpeechDetector(CPU, SpeechThresholds(fresh_threshold=None)),
        "ours": SpeechDetector(CPU),
    }
    speech = [one.samples for one in recordings(options.recordings) if one.is_measured and one.seconds <= LONGEST_S]
    files = {path.stem: decoded(path) for path in sorted(options.noise.iterdir())} if options.noise else {}
    made = dict(_made(options.seconds))
    before = {**made, **({"the folder's sounds": np.concatenate(list(files.values()))} if files else {})}
    rows = []
    for name, noise in before.items():
        for louder in options.louder:
            shares = [_found(detector, speech, noise, louder, options.seconds) for detector in detectors.values()]
            rows.append([f"{name}, {louder:g} x", *(f"{share:.1%}" for share in shares)])
    print(text_table([f"speech found behind {options.seconds} s of", *detectors], rows))
    nobody = {**made, **files}
    false = [
        [name, *(_seconds(detector.speech(noise).voiced) for detector in detectors.values())]
        for name, noise in nobody.items()
    ]
    total = ["all", *(sum(column) for column in zip(*(row[1:] for row in false), strict=True))]
    rows = [[name, *(f"{one:.2f}" for one in seconds)] for name, *seconds in [*false, total] if any(seconds)]
    print(text_table([f"false speech, s of {_minutes(nobody.values()):.1f} minutes", *detectors], rows))
    return 0


def _made(seconds: int) -> Iterator[tuple[str, Samples]]:
    rng = np.random.default_rng(SEED)
    white = rng.standard_normal(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(white)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(white))
    for name, noise in (("white noise", white), ("pink noise", pink)):
        yield name, (noise / noise.std() * 1000).astype(np.int16)


def _found(detector: SpeechDetector, speech: list[Samples], noise: Samples, louder: float, seconds: int) -> float:
    """The share of what is speech in the recordings alone that is speech behind the noise, too."""
    right = wanted = 0
    length = seconds * SAMPLE_RATE // FRAME * FRAME
    for number, samples in enumerate(speech):
        alone = _mask(detector.speech(samples).voiced, len(samples))
        before = np.resize(np.roll(noise, -number * length), length).astype(np.float64)
        before *= louder * samples.astype(np.float64).std() / max(before.std(), 1.0)
        whole = np.concatenate([before.clip(-32768, 32767).astype(np.int16), samples])
        behind = _mask(detector.speech(whole).voiced, len(whole))[-len(samples) :]
        right += int((alone & behind).sum())
        wanted += int(alone.sum())
    return right / max(wanted, 1)


def _mask(spans: tuple[Span, ...], count: int) -> NDArray[np.bool_]:
    mask = np.zeros(count, dtype=np.bool_)
    for span in spans:
        mask[span.start : span.end] = True
    return mask


def _seconds(spans: Sequence[Span]) -> float:
    return sum(span.end - span.start for span in spans) / SAMPLE_RATE


def _minutes(sounds: Iterable[Samples]) -> float:
    return sum(map(len, sounds)) / SAMPLE_RATE / 60


if __name__ == "__main__":
    sys.exit(main())
