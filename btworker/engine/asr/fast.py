"""Fast decoding: independent windows of up to 30 s, cut where nobody speaks, all in the decoder at once.

No window waits for the text of another, so that one recording fills the batches; none hears what was said before, so
that a loop ends with its window; and silence, in which whisper invents text, is not decoded at all. Speech that gives
no text is decoded once more, by itself.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.decoding.ticket import Heartbeat, Ticket, answered
from btworker.engine.asr.journal import Entry
from btworker.engine.asr.loop_state import LoopState
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.segments import clear_empty, segment
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.jobs import Options

AHEAD = 2
"""Windows in the decoder, times its batch: enough that no place stays empty, and no recording fills the memory."""


class FastLoop:
    """The windows of one recording, side by side."""

    def __init__(
        self, model: Model, mel: LogMel, options: Options, transcriber: Transcriber, windows: Sequence[Window]
    ) -> None:
        self._decoder = model.decoder
        self._mel = mel
        self._word_timestamps = options.word_timestamps
        self._transcriber = transcriber
        self._windows = windows
        longest = model.network.dims.n_text_ctx // 2 - 1
        prompt = transcriber.tokenizer.encode(" " + options.prompt.strip()) if options.prompt else []
        self._prompt = tuple(prompt)[-longest:]

    def run(
        self, done: list[Entry], *, language: str, peak: float, check: Callable[[], None]
    ) -> Iterator[Entry | Heartbeat]:
        """The windows after those that are done, in their order."""
        waiting = deque(enumerate(self._windows))
        for _ in done:
            waiting.popleft()
        asked: deque[tuple[int, Window, Ticket[Decoded]]] = deque()
        state = done[-1].state if done else LoopState()
        try:
            while waiting or asked:
                while waiting and len(asked) < AHEAD * self._decoder.batch_size:
                    index, window = waiting.popleft()
                    asked.append((index, window, self._ask(window)))
                index, window, ticket = asked[0]
                decoded = yield from answered(ticket, self._decoder, check)
                entry = self._entry(index, window, decoded, state, language=language, peak=peak)
                asked.popleft()
                state = entry.state
                yield entry
        finally:
            for _, _, ticket in asked:
                ticket.cancel()

    def _ask(self, window: Window) -> Ticket[Decoded]:
        mel = self._mel.stretch(window.seek, window.size, size=WINDOW_FRAMES)
        return self._transcriber.ask(mel, window, prompt=self._prompt, whole=True)

    def _entry(
        self, index: int, window: Window, decoded: Decoded, state: LoopState, *, language: str, peak: float
    ) -> Entry:
        raw, last_speech_s = [], state.last_speech_s
        if not self._transcriber.is_silence(decoded):
            pieces = self._transcriber.pieces(decoded, window, whole=True)
            raw = self._transcriber.segments(pieces, window, decoded)
            if self._word_timestamps:
                self._transcriber.add_words(raw, decoded, last_speech_s=last_speech_s)
            clear_empty(raw)
        raw = [shape for shape in raw if shape["text"]]
        last_speech_s = raw[-1]["end"] if raw else last_speech_s
        segments = tuple(segment(shape, state.segment_count + n) for n, shape in enumerate(raw))
        end = window.seek + window.size
        return Entry(
            index,
            language,
            peak,
            window.seek / FRAMES_PER_SECOND,
            end / FRAMES_PER_SECOND,
            segments,
            LoopState(end, (), float(last_speech_s), state.segment_count + len(segments)),
        )
