"""Writes the sample recording that ships with the demo model, and its text, one sentence a line."""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

from .audio import write_audio
from .corpus import Sentence
from .recordings import Turn, compose
from .synth import Speaker, Utterance

SEED = 910_001
VOICES = ("en-us", "en+f4")
SENTENCES = (
    "Hello happy teacher",
    "Today is Monday morning",
    "In spring the garden is beautiful and quiet",
    "Seven white birds visited the old bridge",
    "My sister painted every door blue",
    "She always remembers the music from my village",
    "Yesterday my father bought ten green apples",
    "They carried the heavy table from the house",
    "The train was never empty in August",
    "On Friday evening we visited the new library",
    "Your brother found two silver letters under the bread",
    "Every summer the forest is warm",
    "The captain left the island on Sunday night",
    "Three brown horses left the market",
    "Train B seven is here",
    "December was cold and the river was quiet",
    "We opened the windows again",
    "Tomorrow is cold and my mother needs coffee",
    "Goodbye and thank your happy neighbor",
)


def parse_sentence(text: str) -> Sentence:
    """A written sentence in dictionary form: only its first word loses its capital."""
    first, *others = text.split()
    return Sentence((first.lower(), *others))


def speak(speaker: Speaker, text: str, voice: str, rng: Random) -> Utterance:
    """One sentence; an error where espeak cannot time its words."""
    utterance = speaker.say(parse_sentence(text), voice=voice, speed_wpm=rng.randint(145, 165), pitch=50)
    if utterance is None:
        raise ValueError(f"the words of {text!r} cannot be timed")
    return utterance


def main() -> None:
    """Write the recording and its text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audio", type=Path, default=Path("btworker/demo/sample.flac"))
    a = parser.parse_args()
    rng, speaker = Random(SEED), Speaker()
    turns = [
        Turn(rng.uniform(0.6, 1.6), speak(speaker, text, VOICES[number // 4 % 2], rng))
        for number, text in enumerate(SENTENCES)
    ]
    recording = compose(turns, tail_s=1.0, seed=SEED)
    write_audio(a.audio, recording.samples, codec=("-c:a", "flac"))
    a.audio.with_suffix(".txt").write_text("".join(f"{text}.\n" for text in SENTENCES))


if __name__ == "__main__":
    main()
