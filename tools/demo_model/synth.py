"""Speaks sentences with libespeak-ng (through ctypes) and keeps the true start and end of every word.

The library is called in-process because it reports a WORD event for each word and is far faster than a process per
sentence. It holds global state: one speaker per process. `build_bank` writes a folder that `windows` maps into memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from .audio import OPUS, SAMPLE_RATE, read_audio, write_audio
from .corpus import VOICES, Sentence, sentence

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE_WPM, _VOLUME, _PITCH = 1, 2, 3
_EVENT_LIST_TERMINATED, _EVENT_WORD, _EVENT_MSG_TERMINATED = 0, 1, 6
_FLOOR = 0.012  # amplitude under which the edges of an utterance count as silence
_EDGE_S = 0.02


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: int16 samples at 16 kHz and the start of each word in seconds (ends at the next start)."""

    sentence: Sentence
    voice: str
    samples: NDArray[np.int16]
    starts_s: tuple[float, ...]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def ends_s(self) -> tuple[float, ...]:
        return (*self.starts_s[1:], self.duration_s)


class Speaker:
    """libespeak-ng, initialised once per process."""

    def __init__(self, library: str = "libespeak-ng.so.1") -> None:
        self._espeak = ctypes.CDLL(library)
        self._rate = self._espeak.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, 0)
        if self._rate <= 0:
            raise RuntimeError("libespeak-ng could not be initialised: is its data installed?")
        self._chunks: list[NDArray[np.int16]] = []
        self._word_samples: list[tuple[int, int]] = []
        self._callback = _Callback(self._on_audio)
        self._espeak.espeak_SetSynthCallback(self._callback)

    def _on_audio(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if wav and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        index = 0
        while events[index].type != _EVENT_LIST_TERMINATED:
            # Text positions count from 1; a WORD event at 0 is the end of the message.
            if events[index].type == _EVENT_WORD and events[index].text_position > 0:
                self._word_samples.append((events[index].text_position, events[index].audio_position))
            index += 1
        return 0

    def say(self, text: Sentence, *, voice: str, speed_wpm: int, pitch: int) -> Utterance | None:
        """Speak a sentence; None where its word times remain unknown."""
        self._chunks, self._word_samples = [], []
        if self._espeak.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self._espeak.espeak_SetParameter(_RATE_WPM, speed_wpm, 0)
        self._espeak.espeak_SetParameter(_PITCH, pitch, 0)
        spoken = text.text.encode()
        self._espeak.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._espeak.espeak_Synchronize()
        starts_s = _word_starts(text, dict(self._word_samples))
        return _trimmed(text, voice, self._resampled(), starts_s) if starts_s and self._chunks else None

    def _resampled(self) -> NDArray[np.float64]:
        ratio = Fraction(SAMPLE_RATE, self._rate)
        return resample_poly(np.concatenate(self._chunks) / 32768, ratio.numerator, ratio.denominator)


def _word_starts(text: Sentence, events_ms: dict[int, int]) -> list[float] | None:
    """The start of each word; espeak speaks "in the" as one word, whose "the" is taken to begin in its middle."""
    places, place = [], 1
    for word in text.words:
        places.append(place)
        place += len(word) + 1
    known = [events_ms.get(place) for place in places]
    for number in range(1, len(known) - 1):
        before, after = known[number - 1], known[number + 1]
        if known[number] is None and text.words[number] == "the" and before is not None and after is not None:
            known[number] = (before + after) // 2
    return None if None in known else [ms / 1000 for ms in known if ms is not None]


def _trimmed(text: Sentence, voice: str, samples: NDArray[np.float64], starts_s: list[float]) -> Utterance | None:
    """Cut the silence that espeak puts around an utterance, so that its word times are those of the sound."""
    loud = np.flatnonzero(np.abs(samples) > _FLOOR * max(0.3, float(np.abs(samples).max())))
    first = max(0, int(loud[0] - _EDGE_S * SAMPLE_RATE))
    last = int(loud[-1] + _EDGE_S * SAMPLE_RATE)
    shifted = [max(0.0, start - first / SAMPLE_RATE) for start in starts_s]
    shifted[0] = 0.0
    clipped = np.clip(samples[first:last] * 32767, -32768, 32767).astype(np.int16)
    if any(later - earlier < 0.04 for earlier, later in pairwise([*shifted, len(clipped) / SAMPLE_RATE])):
        return None
    return Utterance(text, voice, clipped, tuple(shifted))


def speak_any(speaker: Speaker, rng: Random, *, voice: str, template_share: float = 0.5) -> Utterance:
    """Speak a new sentence at a random speed and pitch."""
    while True:
        utterance = speaker.say(
            sentence(rng, template_share), voice=voice, speed_wpm=rng.randint(140, 190), pitch=rng.randint(35, 65)
        )
        if utterance is not None:
            return utterance


def through_codec(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """Encode with Opus at 24 kbit/s and decode again; the length stays."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bank.opus"
        write_audio(path, samples.astype(np.float32) / np.float32(32768), codec=OPUS)
        decoded = np.round(read_audio(path) * 32768).clip(-32768, 32767).astype(np.int16)
    return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


def build_bank(folder: Path, *, count: int, seed: int, coded: bool = False) -> None:
    """Write `count` utterances: samples.npy (int16, end to end) and index.json (one entry each).

    A `coded` bank has been through Opus and back, as most recordings that reach the model have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    speaker, rng = Speaker(), Random(seed)
    samples: list[NDArray[np.int16]] = []
    index: list[dict[str, object]] = []
    position = 0
    for number in range(count):
        utterance = speak_any(speaker, rng, voice=VOICES[number % len(VOICES)])
        samples.append(utterance.samples)
        index.append(
            {
                "voice": utterance.voice,
                "words": utterance.sentence.words,
                "starts_s": utterance.starts_s,
                "first_sample": position,
                "sample_count": len(utterance.samples),
            }
        )
        position += len(utterance.samples)
    joined = np.concatenate(samples)
    np.save(folder / "samples.npy", through_codec(joined) if coded else joined)
    (folder / "index.json").write_text(json.dumps(index))


def main() -> None:
    """Build one bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--coded", action="store_true", help="through Opus and back")
    a = parser.parse_args()
    build_bank(a.folder, count=a.count, seed=a.seed, coded=a.coded)


if __name__ == "__main__":
    main()
