"""The takes of one input side by side, in the same batches: ranges of it, and channels, each transcribed by itself as
if it were a file that somebody cut before."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from btworker.engine.asr.recognition import Recognition, Step
from btworker.engine.cooperate.side_by_side import together
from btworker.engine.job.live_text import LiveText
from btworker.engine.job.takes import (
    Found,
    Take,
    facts_of,
    in_order,
    most_spoken,
    on_the_clock,
    spoken_s,
    takes_of,
    together_of,
    with_distinct_speakers,
)
from btworker.engine.job.text_run import Shared, TextRun, fill_batches
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.recording import Whole, samples_of
from btworker.job_folder import JobFolder
from btworker.transcript import Transcript


class InTakes:
    """One input whose sound is all there."""

    def __init__(self, shared: Shared, index: int, audio: Audio) -> None:
        self._shared = shared
        self._index = index
        self._audio = audio
        self._takes = takes_of(audio)
        self._done_s: dict[int, float] = {}
        """Take that has begun -> seconds of it that are transcribed."""

    @property
    def lines(self) -> int:
        """Number of channels that are transcribed; the mix is one."""
        return len({take.channel for take in self._takes})

    async def recognize(self, *, emit: Callable[[Step], None]) -> tuple[Found, ...]:
        """Recognize all takes; `emit` takes each step, in seconds of the recording."""
        live = LiveText(JobFolder(self._shared.task.folder).windows_of(self._index), self._takes)
        pieces = [partial(self._one, take, live, emit) for take in self._takes]
        recognitions = await together(pieces, may_begin=self._may_begin)
        return together_of(self._takes, recognitions)

    async def add_speakers(self, found: Sequence[Found]) -> tuple[Found, ...]:
        """Tell the speakers of each channel apart, one channel after the other; no two channels share a label."""
        named = [await self._named(one) for one in found]
        return with_distinct_speakers(named) if self._audio.channels else tuple(named)

    def transcript(self, found: Sequence[Found]) -> Transcript:
        """Merge what was found in all channels, in time order."""
        segments = in_order(segment for one in found for segment in one.segments)
        turns = sorted((turn for one in found for turn in one.turns), key=lambda turn: (turn.start, turn.end))
        reasons = [one.no_speakers for one in found if one.no_speakers]
        missing = sorted(stretch for one in found for stretch in one.missing_speech)
        return Transcript(
            text="".join(segment.text for segment in segments),
            language=most_spoken((one.language, spoken_s(one.segments)) for one in found),
            segments=segments,
            turns=tuple(turns),
            no_speakers=reasons[0] if reasons and not turns else "",
            duration_s=self._audio.duration_s,
            known_speakers=tuple(known for one in found for known in one.known),
            missing_speech=tuple(missing),
            channels=facts_of(self._audio, found),
            ranges=self._ranges(),
        )

    async def _one(self, take: Take, live: LiveText, emit: Callable[[Step], None]) -> Recognition:
        self._done_s[take.number] = 0.0

        def step(one: Step) -> None:
            self._done_s[take.number] = one.seconds_done
            index = None if one.index is None else live.windows - 1
            emit(Step(index, self._seconds_done, self._audio.duration_s))

        sound = Whole(samples_of(take.path, take.stretch.count, first=take.stretch.first))
        text = TextRun(self._shared, self._index, take=lambda: take, number=take.number)
        recognition = await text.recognize(sound, emit=step, live=live)
        self._done_s[take.number] = take.duration_s
        live.finish(take)
        return recognition

    @property
    def _seconds_done(self) -> float:
        """Seconds of the recording that are transcribed, each take counted by its length."""
        whole_s = sum(take.duration_s for take in self._takes)
        return self._audio.duration_s * sum(self._done_s.values()) / whole_s

    def _may_begin(self) -> bool:
        """Whether one more take does any good: those at work do not fill the batches."""
        left_s = [
            take.duration_s - self._done_s[take.number]
            for take in self._takes
            if self._done_s.get(take.number, take.duration_s) < take.duration_s
        ]
        return not fill_batches(left_s, self._shared)

    async def _named(self, found: Found) -> Found:
        if not found.segments:
            return found
        takes = [take for take in self._takes if take.channel == found.channel]
        sound = Audio(takes[0].path, self._audio.sample_count)
        which = "" if found.channel is None else f"channel {found.channel}: "
        named = await self._shared.speakers.run(
            self._index, found.segments, sound, which=which, clock=partial(on_the_clock, takes=takes)
        )
        return replace(
            found, segments=named.segments, turns=named.turns, no_speakers=named.no_speakers, known=named.known
        )

    def _ranges(self) -> tuple[tuple[float, float], ...]:
        takes = [Take(0, self._audio.path, stretch) for stretch in self._audio.stretches]
        return tuple((take.stretch.start_s, take.end_s) for take in takes)
