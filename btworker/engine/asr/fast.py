"""Fast decoding: independent windows of up to 30 s, cut where nobody speaks, all in the decoder at once.

No window waits for the text of another, so that one recording fills the batches; none hears what was said before, so
that a loop ends with its window; and silence, in which whisper invents text, is not decoded at all. Texts come without
timestamps, after which a model would leave the rest to the next window; segments are made of the aligned words
(sentences.py). Speech that gives no text is decoded once more, by itself.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count

from torch import Tensor

from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.hearing import Hearing
from btworker.engine.asr.journal import Entry, LoopState
from btworker.engine.asr.language import Language
from btworker.engine.asr.segments import clear_empty, segment
from btworker.engine.asr.sentences import fit_to_speech
from btworker.engine.asr.spread.shares import PART, RemoteWindow, Shares
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.quality.coverage import Interval, uncovered
from btworker.engine.sound.recording import Sound
from btworker.jobs import Options
from btworker.transcript import Segment

AHEAD = 2
"""Windows in the decoder, times its batch: enough that no place stays empty, and no recording fills the memory."""
Offer = Callable[[tuple[Window, ...], int], Shares | None]
"""(all windows, how many of them were asked for here) -> what is shared; None where nobody is to help."""
HEARD_AGAIN_S = 1.0
"""Speech without text that is decoded once more, by itself. Of less, a decoder makes words of its own."""
MOST_OF_IT = 0.9
"""Of a window: a stretch as long as that is not heard again."""


class Ear:
    """Asks the decoder for windows of one recording."""

    def __init__(self, model: Model, sound: Sound, options: Options, transcriber: Transcriber) -> None:
        self._model = model
        self._sound = sound
        self._transcriber = transcriber
        self._prompt = transcriber.prompt(options.prompt)

    @property
    def ahead(self) -> int:
        """Windows to ask for before the first one is answered."""
        return AHEAD * self._model.decoder.batch_size

    def ask(self, window: Window, features: Tensor | None = None) -> Ticket[Decoded]:
        """`features` is what the encoder made of it, where it was there already."""
        heard = features is not None
        sound = features
        if sound is None:
            sound = self._model.log_mel(self._sound.samples).stretch(window.seek, window.size, size=WINDOW_FRAMES)
        return self._transcriber.ask(sound, window, heard=heard, prompt=self._prompt)


class FastLoop:
    """The windows of one recording, side by side, while its sound comes in; some of them elsewhere, where others help.

    The hearing has to have been through what the language was found in; the offer is made once it is whole.
    """

    def __init__(
        self, ear: Ear, options: Options, transcriber: Transcriber, hearing: Hearing, offer: Offer | None = None
    ) -> None:
        self._ear = ear
        self._word_timestamps = options.word_timestamps
        self._transcriber = transcriber
        self._hearing = hearing
        self._offer = offer
        self._shares: Shares | None = None

    async def run(self, done: list[Entry], *, language: Language, finish: Callable[[Entry], Awaitable[None]]) -> None:
        """Decode the windows after those that are done, and `finish` each in their order."""
        asked: deque[tuple[Window, Ticket[Decoded]]] = deque()
        state = done[-1].state if done else LoopState()
        try:
            for index in count(len(done)):
                await self._ask_ahead(index, asked, language)
                if not asked:
                    return
                window, ticket = asked[0]
                segments = await self._hear(window, ticket, state)
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

    async def _ask_ahead(self, index: int, asked: deque[tuple[Window, Ticket[Decoded]]], language: Language) -> None:
        """Ask for window `index` and those after it, as far as they are known. Sound is waited for only where there is
        nothing else to do."""
        hearing = self._hearing
        if self._offer is not None and hearing.sound_is_whole:  # others can help only once all windows are known
            while not hearing.is_whole:
                await hearing.further()
        while len(asked) < self._ear.ahead:
            number = index + len(asked)
            if hearing.is_whole:
                self._share(number)
            if number < len(hearing.windows):
                window = hearing.windows[number]
                asked.append((window, self._ask(number, window, language)))
            elif hearing.is_whole or (asked and hearing.must_wait):
                return
            else:
                await hearing.further()

    def _share(self, number: int) -> None:
        """Let others help, once; with what comes from window `number` on."""
        if self._offer is not None:
            self._shares, self._offer = self._offer(self._hearing.windows, number), None

    def _ask(self, index: int, window: Window, language: Language) -> Ticket[Decoded]:
        """Here, unless a helper has it."""
        features = language.heard.pop(window.seek, None)
        if self._shares is None or self._shares.claim(index // PART):
            return self._ear.ask(window, features)
        return RemoteWindow(self._shares, index, lambda: self._ear.ask(window))

    async def _hear(self, window: Window, ticket: Ticket[Decoded], state: LoopState) -> tuple[Segment, ...]:
        """A window's segments; where somebody speaks in it and no text came out, it is heard once more."""
        decoded = await ticket
        segments = self._segments(window, decoded, state)
        for gap in self._unheard(window, segments):
            decoded = await self._ear.ask(gap)
            if not self._transcriber.is_unacceptable(decoded):  # else it is a cough or a laugh, and stays without text
                segments += self._segments(gap, decoded, state)
        in_order = sorted(segments, key=lambda one: one.start)
        return tuple(replace(one, id=state.segment_count + n) for n, one in enumerate(in_order))

    def _missing(self, window: Window, segments: Sequence[Segment]) -> tuple[Interval, ...]:
        """Stretches of speech in the window that have no text."""
        return uncovered(self._hearing.spoken_in(window.offset_s, window.end_s), segments)

    def _unheard(self, window: Window, segments: Sequence[Segment]) -> list[Window]:
        """Those that are worth a window of their own; not the whole window, which would say the same again."""
        long_enough = [one for one in self._missing(window, segments) if one[1] - one[0] >= HEARD_AGAIN_S]
        gaps = [
            Window(int(start * FRAMES_PER_SECOND), int((end - start) * FRAMES_PER_SECOND)) for start, end in long_enough
        ]
        return [gap for gap in gaps if gap.size < window.size * MOST_OF_IT]

    def _shown(self, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
        """Without words where nobody asked for them: segments are made of them all the same."""
        return segments if self._word_timestamps else tuple(replace(one, words=()) for one in segments)

    def _segments(self, window: Window, decoded: Decoded, state: LoopState) -> tuple[Segment, ...]:
        """What was said in the window: sentences, by the times of their words."""
        if self._transcriber.is_silence(decoded):
            return ()
        spoken = self._hearing.spoken_in(window.offset_s, window.end_s)
        speech = [(start - window.offset_s, end - window.offset_s) for start, end in spoken]
        words = fit_to_speech(self._transcriber.words(decoded), speech)
        raw = self._transcriber.sentences(words, window, decoded)
        self._transcriber.add_words(raw, words, last_speech_s=state.last_speech_s)
        clear_empty(raw)
        return tuple(segment(shape, 0) for shape in raw if shape["text"])


def _after(state: LoopState, window: Window, segments: Sequence[Segment]) -> LoopState:
    last_speech_s = segments[-1].end if segments else state.last_speech_s
    return LoopState(window.seek + window.size, (), last_speech_s, state.segment_count + len(segments))
