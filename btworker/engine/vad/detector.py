"""From samples to spans of speech and windows for the decoder. Runs in the child."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from btworker.engine.vad.network import Part, SpeechNetwork
from btworker.engine.vad.packing import pack
from btworker.engine.vad.spans import FRAME, Span, SpeechThresholds, voiced, with_room

FIRST_FRAMES = 5 * 4096
"""Of the first chapter: 11 minutes, which ffmpeg decodes in a second or two. In the CPU network's own steps, so that
the probabilities are those of one pass over all."""
MOST_FRAMES = 28 * 4096
"""Of any: an hour, which is what a GPU goes through in one pass."""


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Where somebody speaks in a recording of `total_samples` at 16 kHz, or in as much of it as was fed."""

    spans: tuple[Span, ...]
    """With room at both ends, for the decoder."""
    voiced: tuple[Span, ...]
    """Without it."""
    total_samples: int
    probabilities: npt.NDArray[np.float32]
    """One for each 512 samples."""
    is_whole: bool = True
    """Whether the recording was fed to its end."""

    def windows(self, *, limit_s: float = 30.0) -> tuple[Span, ...]:
        """Cut the speech into windows for the decoder: see pack()."""
        return pack(self.spans, self.total_samples, self.probabilities, limit_s=limit_s, goes_on=not self.is_whole)


class Detection:
    """Speech detection in one recording, in chapters, while ffmpeg is still decoding it.

    Chapters are of fixed lengths, whenever their sound comes: the first is short, so that there is something to do
    soon, then each is as long as all before it, up to an hour.
    """

    def __init__(self, network: SpeechNetwork, rules: SpeechThresholds) -> None:
        self._network = network
        self._rules = rules
        self._state = network.initial_state()
        self.speech = Speech((), (), 0, np.empty(0, dtype=np.float32), is_whole=False)

    @property
    def next_chapter_end(self) -> int:
        """Number of samples that have to be there for the next chapter, unless the recording ends before."""
        known = len(self.speech.probabilities)
        return (known + min(max(known, FIRST_FRAMES), MOST_FRAMES)) * FRAME

    def feed(self, samples: npt.NDArray[np.int16], *, is_whole: bool) -> Iterator[None]:
        """Detect speech in one more chapter; yields after each of its parts.

        `samples` is all that is there, a memory map of any length; with `is_whole`, no more will come.
        """
        known, total = self.speech.probabilities, min(self.next_chapter_end, len(samples))
        is_last = is_whole and len(samples) < self.next_chapter_end
        frames = -(-total // FRAME)
        parts = [known]
        for part in self._network.stretch(samples, len(known), frames, state=self._state):
            parts.append(together(part, self._rules))
            self._state = part.state
            yield
        probabilities = np.concatenate(parts)
        found = voiced(probabilities, total, self._rules)
        spans = with_room(found, total, self._rules)
        self.speech = Speech(spans, found, total, probabilities, is_last)


class SpeechDetector:
    """silero-vad on one device, loaded once (about 50 ms on a CPU) for any number of recordings."""

    def __init__(self, device: torch.device, rules: SpeechThresholds | None = None) -> None:
        self._network = SpeechNetwork(device)
        self._rules = rules or SpeechThresholds()

    def begin(self) -> Detection:
        """Begin the detection in a recording."""
        return Detection(self._network, self._rules)

    def speech(self, samples: npt.NDArray[np.int16]) -> Speech:
        """Detect the speech in 16 kHz mono samples that are all there."""
        detection = self.begin()
        while not detection.speech.is_whole:
            for _ in detection.feed(samples, is_whole=True):
                pass
        return detection.speech


def together(part: Part, rules: SpeechThresholds) -> npt.NDArray[np.float32]:
    """Combine both chances of speech to one that is compared with the thresholds for the first."""
    if rules.fresh_threshold is None:
        return part.carried
    chances: npt.NDArray[np.float32] = np.maximum(
        part.carried, part.fresh * np.float32(rules.threshold / rules.fresh_threshold)
    )
    return chances
