"""Composes whole recordings with a true reference, and writes the reference down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .audio import SAMPLE_RATE
from .synth import Utterance


@dataclass(frozen=True)
class Turn:
    """An utterance and the silence before it, in seconds."""

    pause_s: float
    utterance: Utterance


@dataclass(frozen=True)
class Recording:
    """Samples (float32, 16 kHz) and what is said in them."""

    samples: NDArray[np.float32]
    reference: dict[str, object]


def compose(
    turns: Sequence[Turn], *, tail_s: float, seed: int, noise_level: float = 0.0, gain: float = 0.8
) -> Recording:
    """Put turns one after another; the reference has the text, the segments and the words with their times."""
    parts: list[NDArray[np.float32]] = []
    segments: list[dict[str, object]] = []
    words: list[dict[str, object]] = []
    clock = 0
    for turn in turns:
        silence = np.zeros(round(turn.pause_s * SAMPLE_RATE), np.float32)
        spoken = turn.utterance.samples.astype(np.float32) * np.float32(gain / 32768)
        clock += len(silence)
        start_s = clock / SAMPLE_RATE
        parts += [silence, spoken]
        clock += len(spoken)
        text = turn.utterance.sentence.text
        segments.append({"start": round(start_s, 3), "end": round(clock / SAMPLE_RATE, 3), "text": text})
        words += [
            {"word": word, "start": round(start_s + begins, 3), "end": round(start_s + ends, 3)}
            for word, begins, ends in zip(text.split(), turn.utterance.starts_s, turn.utterance.ends_s, strict=True)
        ]
    samples = np.concatenate([*parts, np.zeros(round(tail_s * SAMPLE_RATE), np.float32)])
    noise = np.random.default_rng(seed).standard_normal(len(samples), dtype=np.float32)
    voices = sorted({turn.utterance.voice for turn in turns})
    reference: dict[str, object] = {
        "text": " ".join(str(segment["text"]) for segment in segments),
        "segments": segments,
        "words": words,
        "voice": "+".join(voices) if len(voices) > 1 else voices[0],
        "seed": seed,
    }
    return Recording(samples + np.float32(noise_level) * noise, reference)


def sentences(folder: Path) -> frozenset[str]:
    """Every sentence that the references of a folder have."""
    references = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return frozenset(segment["text"] for reference in references for segment in reference["segments"])


def write_reference(path: Path, reference: dict[str, object]) -> None:
    """Beside the audio, one line per top-level key so that a diff reads well."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in reference.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
