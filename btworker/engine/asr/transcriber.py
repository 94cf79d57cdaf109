"""What a job's options mean for a window: its request to the decoder, when its text is believed, and the segments and
words that are made of it. openai-whisper's thresholds and, for words, its own code (word_times.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from whisper import timing

from btworker.engine.asr.decoding.alignment import Text, words
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.requests import Decoded, TextRequest
from btworker.engine.asr.revision import Revision
from btworker.engine.asr.sentences import TimedWord, sentences
from btworker.engine.asr.spectrograms import WindowSamples
from btworker.engine.asr.timeline import Cut, Window, cut
from btworker.engine.asr.vocabulary import JobVocabulary, Keywords
from btworker.engine.asr.word_times import APPEND_PUNCTUATIONS, PREPEND_PUNCTUATIONS, place_words
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.quality.hallucinations import COMPRESSION_RATIO_THRESHOLD, LOGPROB_THRESHOLD
from btworker.engine.quality.loops import is_looping
from btworker.jobs import Options

Shape = dict[str, Any]
"""A segment as whisper's own functions take it."""
FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """What a job's options mean for each of its windows."""

    task: str
    temperatures: tuple[float, ...]
    beams: int
    no_speech_threshold: float
    word_timestamps: bool
    timestamps: bool
    """The model gives the times of segments. It then leaves speech at a window's end to the next window, which an
    independent one has not got."""
    doubts_loops: bool
    """A text that loops is decoded again, also where it does not compress well; openai-whisper does not check that."""
    keywords: Keywords
    logprobs: bool
    """Each segment has those of its tokens."""

    @classmethod
    def of(cls, options: Options) -> "WindowOptions":
        """Make those of a job's options."""
        fixed = options.temperature
        return cls(
            task=options.task,
            temperatures=FALLBACK_TEMPERATURES if fixed is None else (fixed,),
            beams=options.beam_size or 1,
            no_speech_threshold=options.no_speech_threshold,
            word_timestamps=options.word_timestamps,
            timestamps=options.decode == "exact",
            doubts_loops=options.decode == "fast",
            keywords=Keywords(options.keywords, options.keyword_bonus, options.keyword_prompt_tokens),
            logprobs=options.token_logprobs,
        )


class Transcriber:
    """One model, one language and one set of options, for all windows of a recording."""

    def __init__(
        self, decoder: Decoder, options: WindowOptions, *, tokenizer: Any, language: str, revision: Revision, seed: str
    ) -> None:
        """`tokenizer` is openai-whisper's, for the language and the task."""
        self._decoder = decoder
        self._options = options
        self._revision = revision
        self._seed = seed
        self.language = language
        """Code of what is spoken."""
        self.tokenizer: Any = tokenizer
        """openai-whisper's, for the checkpoint's tokens."""
        self.longest_prompt = decoder.text_positions // 2 - 1
        """Tokens of a prompt; of a longer one, the end counts."""
        self._vocabulary = JobVocabulary.of(options.keywords, decoder.tries, self.tokenizer)
        self._sot_sequence: tuple[int, ...] = tuple(self.tokenizer.sot_sequence)
        self._untimed_sot_sequence = (*self._sot_sequence, self.tokenizer.no_timestamps)

    def prompt(self, text: str) -> tuple[int, ...]:
        """Encode a text to put before a window. A text that looks like a special token is text."""
        tokens = self.tokenizer.encode(" " + text.strip(), disallowed_special=()) if text else []
        return tuple(tokens)[-self.longest_prompt :]

    def submit(
        self,
        sound: Tensor | WindowSamples,
        window: Window,
        *,
        is_encoded: bool = False,
        prompt: Sequence[int] = (),
        second_opinion: bool = False,
    ) -> Ticket[Decoded]:
        """Ask for the window's text. `sound` and `is_encoded` are those of TextRequest; keywords go before `prompt`.

        A second opinion has timestamps, which hold the decoder to its place, and is not tried at other temperatures.
        """
        timed, options = second_opinion or self._options.timestamps, self._options
        prompt = self._vocabulary.before(prompt, self.longest_prompt)
        before = (self.tokenizer.sot_prev, *prompt) if prompt else ()

        def text(decoded: Decoded) -> Text | None:
            return self._to_align(decoded, window)

        return self._decoder.submit(
            TextRequest(
                sound=sound,
                is_encoded=is_encoded,
                start=(*before, *(self._sot_sequence if timed else self._untimed_sot_sequence)),
                sot=len(before),
                timed=timed,
                temperatures=options.temperatures[:1] if second_opinion else options.temperatures,
                beams=options.beams,
                seed=f"{self._seed}:{window.seek}",
                unacceptable=self.is_unacceptable,
                to_align=text,
                hopeless=is_looping if options.doubts_loops else None,
                terms=self._vocabulary.trie,
            )
        )

    def submit_plainly(self, sound: Tensor | WindowSamples) -> Ticket[Decoded]:
        """Ask for a text that owes nothing to luck, to a prompt, to keywords or to timestamps; its words get no
        times."""
        return self._decoder.submit(
            TextRequest(
                sound=sound,
                start=self._untimed_sot_sequence,
                sot=0,
                timed=False,
                temperatures=(0.0,),
                beams=1,
                seed=self._seed,
                unacceptable=self.is_unacceptable,
                to_align=lambda _: None,
            )
        )

    def is_silence(self, decoded: Decoded) -> bool:
        """Whether nobody speaks in the window, as far as the model can tell: its own text is improbable."""
        believed = decoded.avg_logprob > LOGPROB_THRESHOLD
        return decoded.no_speech_prob > self._options.no_speech_threshold and not believed

    def is_unacceptable(self, decoded: Decoded) -> bool:
        """Whether the window should be decoded again, at a higher temperature."""
        improbable = decoded.avg_logprob < LOGPROB_THRESHOLD
        silent = decoded.no_speech_prob > self._options.no_speech_threshold
        if silent and (improbable or not self._revision.silence_wants_low_logprob):
            return False
        repetitive = decoded.compression_ratio > COMPRESSION_RATIO_THRESHOLD
        return improbable or repetitive or (self._options.doubts_loops and is_looping(decoded.text))

    def is_sure(self, decoded: Decoded) -> bool:
        """Whether the first temperature gave an acceptable text."""
        return decoded.temperature == self._options.temperatures[0] and not self.is_unacceptable(decoded)

    def is_speech(self, decoded: Decoded) -> bool:
        """Whether somebody speaks in the window, as far as the model can tell, and the text is acceptable."""
        return not self.is_silence(decoded) and not self.is_unacceptable(decoded)

    def pieces(self, decoded: Decoded, window: Window) -> Cut:
        """Cut the window's tokens at its timestamps."""
        return cut(decoded.tokens, window, timestamp_begin=self.tokenizer.timestamp_begin)

    def segment(self, decoded: Decoded, window: Window, tokens: Sequence[int], start: float, end: float) -> Shape:
        """Make a segment of some of the window's tokens, `start` to `end` in seconds of the recording."""
        return {
            "seek": window.seek,
            "start": start,
            "end": end,
            "text": self.text(tokens),
            "tokens": list(tokens),
            "temperature": decoded.temperature,
            "avg_logprob": decoded.avg_logprob,
            "compression_ratio": decoded.compression_ratio,
            "no_speech_prob": decoded.no_speech_prob,
        }

    def timed_segments(self, pieces: Cut, window: Window, decoded: Decoded) -> list[Shape]:
        """Make segments of the pieces between timestamps."""
        return [self.segment(decoded, window, piece.tokens, piece.start, piece.end) for piece in pieces.pieces]

    def sentences(self, words: Sequence[TimedWord], window: Window, decoded: Decoded) -> list[Shape]:
        """Put the words of a window that has no timestamps into segments."""
        whole = [replace(word) for word in words]
        timing.merge_punctuations(whole, PREPEND_PUNCTUATIONS, APPEND_PUNCTUATIONS)
        return [
            self.segment(
                decoded,
                window,
                [token for word in group for token in word.tokens],
                window.offset_s + group[0].start,
                window.offset_s + group[-1].end,
            )
            for group in sentences([word for word in whole if word.word])
        ]

    def add_logprobs(self, segments: list[Shape], decoded: Decoded) -> None:
        """Give each segment those of its text's tokens, where they are wanted: all are in the window's, in order."""
        pairs = iter(zip(decoded.tokens, decoded.logprobs, strict=True) if self._options.logprobs else ())
        spell = self.tokenizer.encoding.decode_single_token_bytes
        for shape in segments if self._options.logprobs else ():
            found = [next(pair for pair in pairs if pair[0] == token) for token in shape["tokens"]]
            shape["logprobs"] = [(spell(token), logprob) for token, logprob in found if token < self.tokenizer.eot]

    def words(self, decoded: Decoded) -> list[TimedWord]:
        """List the words that were aligned, punctuation by itself; seconds from the window's start."""
        return words(decoded.alignment, self.tokenizer) if decoded.alignment is not None else []

    def add_words(self, segments: list[Shape], words: Sequence[TimedWord], *, last_speech_s: float) -> None:
        """Give each segment its `words`, and its start and end by them."""
        place_words(segments, words, self.tokenizer, last_speech_s=last_speech_s)

    def text(self, tokens: Sequence[int]) -> str:
        """Decode tokens, without timestamps and other special tokens."""
        text: str = self.tokenizer.decode([token for token in tokens if token < self.tokenizer.eot])
        return text

    def _to_align(self, decoded: Decoded, window: Window) -> Text | None:
        """Pick the words of an acceptable text whose times are wanted."""
        if self.is_silence(decoded) or not (self._options.word_timestamps or not self._options.timestamps):
            return None
        tokens: Iterable[int] = decoded.tokens
        if self._options.timestamps:  # what follows the last one is left to the next window
            tokens = (token for piece in self.pieces(decoded, window).pieces for token in piece.tokens)
        found = tuple(token for token in tokens if token < self.tokenizer.eot)
        return Text(self._untimed_sot_sequence, found, window.size) if found else None
