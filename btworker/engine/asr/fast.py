"""Fast decoding: independent windows of up to 30 s, cut where nobody speaks, all in the decoder at once.

No window waits for the text of another, so that one recording fills the batches; none has the text before it as a
prompt, so that a loop ends with its window; and silence, in which whisper invents text, is not decoded at all. Texts
come without timestamps, after which a model would leave the rest to the next window; segments are made of the aligned
words (sentences.py). Speech that gives no text is decoded once more, by itself; a window whose text skips some of it,
or has words without time, once more as a whole.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count

from torch import Tensor

from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.journal import Entry, LoopState
from btworker.engine.asr.language import Languages
from btworker.engine.asr.segments import clear_empty, segment
from btworker.engine.asr.sentences import fit_to_speech
from btworker.engine.asr.spectrograms import WindowSamples
from btworker.engine.asr.spread.shares import RemoteWindow, Shares
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.quality.coverage import Interval, apart, is_crowded, joined, total_s, unattended, uncovered
from btworker.engine.sound.recording import Sound
from btworker.jobs import EACH_WINDOW, Options
from btworker.shared_windows import PART
from btworker.transcript import Segment

AHEAD = 2
"""Windows in the decoder, times its batch: enough that no place stays empty, and no recording fills the memory."""
Offer = Callable[[tuple[Window, ...], int], Shares | None]
"""(all windows, how many of them were asked for here) -> what is shared; None where no other process is to help."""
DECODED_AGAIN_S = 1.0
"""Seconds of speech without text that are decoded once more, by themselves. Of less, a decoder makes up words."""
MOST_OF_IT = 0.9
"""Share of a window: a stretch as long as that is not decoded again."""
SKIPPED_S = 0.7
"""Seconds of speech that a text skips, from which on its window is decoded once more. Less is as often a hesitation."""


class WindowRequester:
    """Submits windows of one recording to the decoder."""

    def __init__(self, model: Model, sound: Sound, options: Options, transcriber: Transcriber) -> None:
        self._model = model
        self._sound = sound
        self.transcriber = transcriber
        self._prompt = transcriber.prompt(options.prompt)

    def submit(
        self, window: Window, features: Tensor | None = None, *, second_opinion: bool = False
    ) -> Ticket[Decoded]:
        """Ask for a window's text. `features` is Encoded.features, where the window is encoded already;
        `second_opinion` is Transcriber's."""
        is_encoded = features is not None
        sound: Tensor | WindowSamples | None = features
        if sound is None:
            sound = self._model.log_mel(self._sound.samples).window(window.seek, window.size, size=WINDOW_FRAMES)
        return self.transcriber.submit(
            sound, window, is_encoded=is_encoded, prompt=self._prompt, second_opinion=second_opinion
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A window on its way."""

    window: Window
    language: str
    requester: WindowRequester
    """For this language."""
    ticket: Ticket[Decoded]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text of a window."""

    segments: tuple[Segment, ...]
    skipped: tuple[Interval, ...]
    """Speech that the decoder did not look at while it wrote the text."""
    is_crowded: bool
    """Some of its words have no time: the decoder lost its place."""

    @property
    def is_astray(self) -> bool:
        """Whether the window should be decoded once more."""
        return self.is_crowded or any(end - start >= SKIPPED_S for start, end in self.skipped)


class FastLoop:
    """The windows of one recording, side by side, while its sound comes in; some of them elsewhere, where others help.

    The plan has the windows in which the language was found; the offer is made once the plan is whole.
    """

    def __init__(
        self,
        model: Model,
        sound: Sound,
        options: Options,
        transcriber_for: Callable[[str], Transcriber],
        plan: WindowPlan,
        offer: Offer | None = None,
    ) -> None:
        """`transcriber_for` makes that of a language."""
        self._model = model
        self._requester_for = cache(lambda code: WindowRequester(model, sound, options, transcriber_for(code)))
        self._options = options
        self._plan = plan
        self._offer = offer
        self._shares: Shares | None = None

    async def run(self, done: list[Entry], *, languages: Languages, finish: Callable[[Entry], Awaitable[None]]) -> None:
        """Decode the windows after those that are done, and `finish` each in their order."""
        asked: deque[Request] = deque()
        state = done[-1].state if done else LoopState()
        try:
            for index in count(len(done)):
                await self._request_ahead(index, asked, languages)
                if not asked:
                    return
                segments, missing = await self._transcribe(asked[0], state)
                request = asked.popleft()
                window = request.window
                begin, end = (frame / FRAMES_PER_SECOND for frame in (window.seek, window.seek + window.size))
                state = _after(state, window, segments)
                await finish(Entry(index, request.language, None, begin, end, segments, state, missing))
        finally:
            for request in asked:
                request.ticket.cancel()
            if self._shares is not None:
                self._shares.remove()

    async def _request_ahead(self, index: int, asked: deque[Request], languages: Languages) -> None:
        """Submit window `index` and those after it, as far as they are known. Wait for sound only where nothing else is
        to be done."""
        plan = self._plan
        if self._offer is not None and plan.sound_is_whole:  # others can help only once all windows are known
            while not plan.is_whole:
                await plan.extend()
        while len(asked) < windows_ahead(self._model):
            number = index + len(asked)
            if plan.is_whole:
                self._share(number)
            if number < len(plan.windows):
                language = await languages.of(plan.windows, number)
                asked.append(self._request(number, language, languages))
            elif plan.is_whole or (asked and plan.waits_for_sound):
                return
            else:
                await plan.extend()

    def _share(self, number: int) -> None:
        """Let others help, once; with what comes from window `number` on."""
        if self._offer is not None:
            self._shares, self._offer = self._offer(self._plan.windows, number), None

    def _request(self, index: int, language: str, languages: Languages) -> Request:
        """Submit a window here, unless a helper has it."""
        window, requester = self._plan.windows[index], self._requester_for(language)
        features = languages.encoded.pop(window.seek, None)
        if self._shares is None or self._shares.claim(index // PART):
            ticket = requester.submit(window, features)
        else:
            ticket = RemoteWindow(self._shares, index, lambda: requester.submit(window))
        return Request(window, language, requester, ticket)

    async def _transcribe(self, request: Request, state: LoopState) -> tuple[tuple[Segment, ...], tuple[Interval, ...]]:
        """Make a window's segments, and find what is missing in them; speech in it that gave no text is decoded once
        more."""
        window, requester = request.window, request.requester
        hypothesis = await self._best_hypothesis(request, state)
        segments = hypothesis.segments
        for gap in self._gaps(window, segments):
            decoded = await requester.submit(gap)
            if not requester.transcriber.is_unacceptable(decoded):  # else it is a cough, and stays without text
                segments += self._segments(gap, decoded, requester.transcriber, state)
        in_order = sorted(segments, key=lambda one: one.start)
        own = self._options.language == EACH_WINDOW and self._options.task != "translate"
        language = request.language if own else ""
        numbered = tuple(replace(one, id=state.segment_count + n, language=language) for n, one in enumerate(in_order))
        missing = self._uncovered(window, numbered)
        return numbered, joined(missing, apart(hypothesis.skipped, self._uncovered(window, hypothesis.segments)))

    async def _best_hypothesis(self, request: Request, state: LoopState) -> Hypothesis:
        """Take a second opinion of a window whose text went astray, and the one of both that lacks less.

        A text that the first temperature did not give stays: what is sung or laughed is skipped with timestamps, too.
        """
        window, transcriber = request.window, request.requester.transcriber
        decoded = await request.ticket
        first = self._hypothesis(window, decoded, transcriber, state)
        if not first.is_astray or not transcriber.is_sure(decoded):
            return first
        decoded = await request.requester.submit(window, second_opinion=True)
        if transcriber.is_unacceptable(decoded):
            return first
        second = self._hypothesis(window, decoded, transcriber, state)

        def faults(one: Hypothesis) -> tuple[float, bool]:
            return total_s(joined(self._uncovered(window, one.segments), one.skipped)), one.is_crowded

        return min(first, second, key=faults)

    def _hypothesis(self, window: Window, decoded: Decoded, transcriber: Transcriber, state: LoopState) -> Hypothesis:
        """Make segments of the window's text, and find what it skips."""
        segments = self._segments(window, decoded, transcriber, state)
        if decoded.alignment is None:
            return Hypothesis(segments, (), is_crowded=False)
        spoken = self._plan.speech_between(window.offset_s, window.end_s)
        skipped = unattended(spoken, decoded.alignment.attention, window.offset_s)
        lengths_s = [word.end - word.start for word in transcriber.words(decoded)]
        return Hypothesis(segments, skipped, is_crowded=is_crowded(lengths_s))

    def _uncovered(self, window: Window, segments: Sequence[Segment]) -> tuple[Interval, ...]:
        """Find stretches of speech in the window that no word is near."""
        return uncovered(self._plan.speech_between(window.offset_s, window.end_s), segments)

    def _gaps(self, window: Window, segments: Sequence[Segment]) -> list[Window]:
        """List those that are worth a window of their own; not the whole window, which would give the same again."""
        long_enough = [one for one in self._uncovered(window, segments) if one[1] - one[0] >= DECODED_AGAIN_S]
        gaps = [
            Window(int(start * FRAMES_PER_SECOND), int((end - start) * FRAMES_PER_SECOND)) for start, end in long_enough
        ]
        return [gap for gap in gaps if gap.size < window.size * MOST_OF_IT]

    def _segments(
        self, window: Window, decoded: Decoded, transcriber: Transcriber, state: LoopState
    ) -> tuple[Segment, ...]:
        """Make sentences of the window's text, by the times of its words."""
        if transcriber.is_silence(decoded):
            return ()
        spoken = self._plan.speech_between(window.offset_s, window.end_s)
        speech = [(start - window.offset_s, end - window.offset_s) for start, end in spoken]
        words = fit_to_speech(transcriber.words(decoded), speech)
        raw = transcriber.sentences(words, window, decoded)
        transcriber.add_logprobs(raw, decoded)
        transcriber.add_words(raw, words, last_speech_s=state.last_speech_s)
        clear_empty(raw)
        return tuple(segment(shape, 0) for shape in raw if shape["text"])


def windows_ahead(model: Model) -> int:
    """Tell how many windows to submit before the first one is answered."""
    return AHEAD * model.decoder.batch_size


def _after(state: LoopState, window: Window, segments: Sequence[Segment]) -> LoopState:
    last_speech_s = segments[-1].end if segments else state.last_speech_s
    return LoopState(window.seek + window.size, (), last_speech_s, state.segment_count + len(segments))
