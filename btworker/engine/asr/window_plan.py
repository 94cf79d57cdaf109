"""The windows of a recording as its sound comes in: where somebody speaks, chapter by chapter. Runs in the child."""

from bisect import bisect_left, bisect_right

from btworker.engine.asr.timeline import WINDOW_FRAMES, Window
from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.sound.recording import Sound
from btworker.engine.vad.detector import Speech, SpeechDetector
from btworker.engine.vad.packing import GRID


class WindowPlan:
    """The windows of one recording, as far as they are known. Which they are does not depend on when its sound came."""

    def __init__(self, sound: Sound, detector: SpeechDetector) -> None:
        self._sound = sound
        self._detection = detector.begin()
        self.windows: tuple[Window, ...] = ()
        """All windows, or those of the beginning that no further sound changes."""
        self._starts_s: list[float] = []
        self._ends_s: list[float] = []

    @property
    def speech(self) -> Speech:
        """Speech that was detected so far."""
        return self._detection.speech

    @property
    def is_whole(self) -> bool:
        """Whether speech was detected up to the end of the recording."""
        return self.speech.is_whole

    @property
    def sound_is_whole(self) -> bool:
        """Whether ffmpeg is through."""
        return self._sound.is_whole

    @property
    def waits_for_sound(self) -> bool:
        """Whether the sound of the next chapter is not there yet."""
        return not self._sound.has(self._detection.next_chapter_end)

    async def extend(self) -> None:
        """Detect speech in one more chapter, once its sound is there."""
        await self._sound.reach(self._detection.next_chapter_end)
        is_whole = self._sound.is_whole  # asked before the samples: none come between
        for _ in self._detection.feed(self._sound.samples, is_whole=is_whole):
            await checkpoint()
        self.windows = windows_of(self.speech)
        seconds = [span.seconds for span in self.speech.voiced]
        self._starts_s, self._ends_s = [start for start, _ in seconds], [end for _, end in seconds]

    def speech_between(self, low_s: float, high_s: float) -> list[tuple[float, float]]:
        """List the speech between two times, cut off there, without room around it: (start, end) in seconds."""
        those = range(bisect_right(self._ends_s, low_s), bisect_left(self._starts_s, high_s))
        return [(max(self._starts_s[n], low_s), min(self._ends_s[n], high_s)) for n in those]


def windows_of(speech: Speech) -> tuple[Window, ...]:
    """Cut speech into windows of up to 30 s, which begin with a frame."""
    stretches = ((span.start // GRID, -(-span.end // GRID)) for span in speech.windows())
    return tuple(Window(first, min(end - first, WINDOW_FRAMES)) for first, end in stretches)
