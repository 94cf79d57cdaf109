"""Fast decoding: independent windows of up to 30 s, cut where nobody speaks, all in the decoder at once.

No window waits for the text of another, so that one recording fills the batches; none has the text before it as a
prompt, so that a loop ends with its window; and silence, in which whisper invents text, is not decoded at all. Texts
come without timestamps, after which a model would leave the rest to the next window; segments are made of the aligned
words (sentences.py). Speech that gives no text is decoded once more, by itself.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count

from torch import Tensor

from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.journal import Entry, LoopState
from btworker.engine.asr.language import Language
from btworker.engine.asr.segments import clear_empty, segment
from btworker.engine.asr.sentences import fit_to_speech
from btworker.engine.asr.spread.shares import PART, RemoteWindow, Shares
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.quality.coverage import Interval, uncovered
from btworker.engine.sound.recording import Sound
from btworker.jobs import Options
from btworker.transcript import Segment

AHEAD = 2
"""Windows in the decoder, times its batch: enough that no place stays empty, and no recording fills the memory."""
Offer = Callable[[tuple[Window, ...], int], Shares | None]
"""(all windows, how many of them were asked for here) -> what is shared; None where no other process is to help."""
Requests = deque[tuple[Window, Ticket[Decoded]]]
"""Windows on their way, in their order."""
DECODED_AGAIN_S = 1.0
"""Seconds of speech without text that are decoded once more, by themselves. Of less, a decoder makes up words."""
MOST_OF_IT = 0.9
"""Share of a window: a stretch as long as that is not decoded again."""


class WindowRequester:
    """Submits windows of one recording to the decoder."""

    def __init__(self, model: Model, sound: Sound, options: Options, transcriber: Transcriber) -> None:
        self._model = model
        self._sound = sound
        self._transcriber = transcriber
        self._prompt = transcriber.prompt(options.prompt)

    @property
    def ahead(self) -> int:
        """Windows to submit before the first one is answered."""
        return AHEAD * self._model.decoder.batch_size

    def submit(self, window: Window, features: Tensor | None = None) -> Ticket[Decoded]:
        """Ask for a window's text. `features` is Encoded.features, where the window is encoded already."""
        is_encoded = features is not None
        sound = features
        if sound is None:
            sound = self._model.log_mel(self._sound.samples).stretch(window.seek, window.size, size=WINDOW_FRAMES)
        return self._transcriber.submit(sound, window, is_encoded=is_encoded, prompt=self._prompt)


class FastLoop:
    """The windows of one recording, side by side, while its sound comes in; some of them elsewhere, where others help.

    The plan has the windows in which the language was found; the offer is made once the plan is whole.
    """

    def __init__(
        self,
        requester: WindowRequester,
        options: Options,
        transcriber: Transcriber,
        plan: WindowPlan,
        offer: Offer | None = None,
    ) -> None:
        self._requester = requester
        self._word_timestamps = options.word_timestamps
        self._transcriber = transcriber
        self._plan = plan
        self._offer = offer
        self._shares: Shares | None = None

    async def run(self, done: list[Entry], *, language: Language, finish: Callable[[Entry], Awaitable[None]]) -> None:
        """Decode the windows after those that are done, and `finish` each in their order."""
        asked: Requests = deque()
        state = done[-1].state if done else LoopState()
        try:
            for index in count(len(done)):
                await self._request_ahead(index, asked, language)
                if not asked:
                    return
                window, ticket = asked[0]
                segments = await self._transcribe(window, ticket, state)
                asked.popleft()
                begin, end = (frame / FRAMES_PER_SECOND for frame in (window.seek, window.seek + window.size))
                state = _after(state, window, segments)
                missing = self._missing(window, segments)
                await finish(Entry(index, language.code, None, begin, end, self._shown(segments), state, missing))
        finally:
            for _, ticket in asked:
                ticket.cancel()
            if self._shares is not None:
                self._shares.remove()

    async def _request_ahead(self, index: int, asked: Requests, language: Language) -> None:
        """Submit window `index` and those after it, as far as they are known. Wait for sound only where nothing else is
        to be done."""
        plan = self._plan
        if self._offer is not None and plan.sound_is_whole:  # others can help only once all windows are known
            while not plan.is_whole:
                await plan.extend()
        while len(asked) < self._requester.ahead:
            number = index + len(asked)
            if plan.is_whole:
                self._share(number)
            if number < len(plan.windows):
                window = plan.windows[number]
                asked.append((window, self._request(number, window, language)))
            elif plan.is_whole or (asked and plan.waits_for_sound):
                return
            else:
                await plan.extend()

    def _share(self, number: int) -> None:
        """Let others help, once; with what comes from window `number` on."""
        if self._offer is not None:
            self._shares, self._offer = self._offer(self._plan.windows, number), None

    def _request(self, index: int, window: Window, language: Language) -> Ticket[Decoded]:
        """Submit a window here, unless a helper has it."""
        features = language.encoded.pop(window.seek, None)
        if self._shares is None or self._shares.claim(index // PART):
            return self._requester.submit(window, features)
        return RemoteWindow(self._shares, index, lambda: self._requester.submit(window))

    async def _transcribe(self, window: Window, ticket: Ticket[Decoded], state: LoopState) -> tuple[Segment, ...]:
        """Make a window's segments; speech in it that gave no text is decoded once more."""
        decoded = await ticket
        segments = self._segments(window, decoded, state)
        for gap in self._gaps(window, segments):
            decoded = await self._requester.submit(gap)
            if not self._transcriber.is_unacceptable(decoded):  # else it is a cough or a laugh, and stays without text
                segments += self._segments(gap, decoded, state)
        in_order = sorted(segments, key=lambda one: one.start)
        return tuple(replace(one, id=state.segment_count + n) for n, one in enumerate(in_order))

    def _missing(self, window: Window, segments: Sequence[Segment]) -> tuple[Interval, ...]:
        """Find stretches of speech in the window that have no text."""
        return uncovered(self._plan.speech_between(window.offset_s, window.end_s), segments)

    def _gaps(self, window: Window, segments: Sequence[Segment]) -> list[Window]:
        """List those that are worth a window of their own; not the whole window, which would give the same again."""
        long_enough = [one for one in self._missing(window, segments) if one[1] - one[0] >= DECODED_AGAIN_S]
        gaps = [
            Window(int(start * FRAMES_PER_SECOND), int((end - start) * FRAMES_PER_SECOND)) for start, end in long_enough
        ]
        return [gap for gap in gaps if gap.size < window.size * MOST_OF_IT]

    def _shown(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """Drop the words where the job wants none: segments are made of them all the same."""
        return segments if self._word_timestamps else tuple(replace(one, words=()) for one in segments)

    def _segments(self, window: Window, decoded: Decoded, state: LoopState) -> tuple[Segment, ...]:
        """Make sentences of the window's text, by the times of its words."""
        if self._transcriber.is_silence(decoded):
            return ()
        spoken = self._plan.speech_between(window.offset_s, window.end_s)
        speech = [(start - window.offset_s, end - window.offset_s) for start, end in spoken]
        words = fit_to_speech(self._transcriber.words(decoded), speech)
        raw = self._transcriber.sentences(words, window, decoded)
        self._transcriber.add_words(raw, words, last_speech_s=state.last_speech_s)
        clear_empty(raw)
        return tuple(segment(shape, 0) for shape in raw if shape["text"])


def _after(state: LoopState, window: Window, segments: Sequence[Segment]) -> LoopState:
    last_speech_s = segments[-1].end if segments else state.last_speech_s
    return LoopState(window.seek + window.size, (), last_speech_s, state.segment_count + len(segments))
