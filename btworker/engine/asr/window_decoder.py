"""whisper on one window: the temperatures in turn until one gives an acceptable text, and the times of its words.

Sampling is made repeatable: before each try at a temperature above 0 torch is seeded from the recording, the window
and the temperature. So a second attempt gives the text of an undisturbed first one. transcribe() seeds nothing: windows
at temperature 0 are equal to its own, sampled ones only when it is run with the same seeds.
"""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from whisper import timing
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.revision import Revision
from btworker.engine.asr.timeline import Cut, Window
from btworker.engine.asr.weights import Model
from btworker.jobs import Options

FALLBACK_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
COMPRESSION_RATIO_THRESHOLD = 2.4
"""A text that compresses better than this repeats itself."""
LOGPROB_THRESHOLD = -1.0
"""Mean log-probability of the tokens below which a text is not believed."""
PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - whisper's own default, full-width marks and all


@dataclass(frozen=True, slots=True)
class Rules:
    """What a job's options mean for each of its windows."""

    task: str
    temperatures: tuple[float, ...]
    beam_size: int | None
    no_speech_threshold: float

    @classmethod
    def of(cls, options: Options) -> "Rules":
        """The rules that these options ask for."""
        fixed = options.temperature
        return cls(
            task=options.task,
            temperatures=FALLBACK_TEMPERATURES if fixed is None else (fixed,),
            beam_size=options.beam_size,
            no_speech_threshold=options.no_speech_threshold,
        )


class WindowDecoder:
    """One model, one language and one set of rules, for all windows of a recording."""

    def __init__(self, model: Model, rules: Rules, *, language: str, revision: Revision, seed: str) -> None:
        self._model = model
        self._rules = rules
        self._language = language
        self._revision = revision
        self._seed = seed
        network = model.network
        self.tokenizer: Any = get_tokenizer(
            network.is_multilingual, num_languages=network.num_languages, language=language, task=rules.task
        )

    def decode(
        self, mel: torch.Tensor, *, seek: int, prompt: Sequence[int], check: Callable[[], None]
    ) -> DecodingResult:
        """The window's text. `mel` has shape (n_mels, 3000) and is on the device; `check` may raise between tries."""
        result = self._try(self._rules.temperatures[0], mel, seek=seek, prompt=prompt)
        for temperature in self._rules.temperatures[1:]:
            if not self._unacceptable(result):
                break
            check()
            # what the encoder heard stays the same: whisper takes its output in place of a spectrogram
            result = self._try(temperature, result.audio_features, seek=seek, prompt=prompt)
        return result

    def _try(self, temperature: float, heard: torch.Tensor, *, seek: int, prompt: Sequence[int]) -> DecodingResult:
        if temperature > 0:
            torch.manual_seed(_seed(self._seed, seek, temperature))
        return self._model.network.decode(heard, self._options(temperature, prompt))

    def is_silence(self, result: DecodingResult) -> bool:
        """Nobody speaks in the window, as far as the model can tell, and it does not believe its own text."""
        believed = result.avg_logprob > LOGPROB_THRESHOLD
        return result.no_speech_prob > self._rules.no_speech_threshold and not believed

    def segments(self, cut: Cut, window: Window, result: DecodingResult) -> list[dict[str, Any]]:
        """The window's pieces in the shape that whisper's own functions take."""
        return [
            {
                "seek": window.seek,
                "start": piece.start,
                "end": piece.end,
                "text": self.text(piece.tokens),
                "tokens": list(piece.tokens),
                "temperature": result.temperature,
                "avg_logprob": result.avg_logprob,
                "compression_ratio": result.compression_ratio,
                "no_speech_prob": result.no_speech_prob,
            }
            for piece in cut.pieces
        ]

    def add_words(
        self, segments: list[dict[str, Any]], mel: torch.Tensor, window: Window, *, last_speech_s: float
    ) -> None:
        """Give each segment its `words`, and its start and end by them."""
        timing.add_word_timestamps(
            segments=segments,
            model=self._model.network,
            tokenizer=self.tokenizer,
            mel=mel,
            num_frames=window.size,
            prepend_punctuations=PREPEND_PUNCTUATIONS,
            append_punctuations=APPEND_PUNCTUATIONS,
            last_speech_timestamp=last_speech_s,
        )

    def text(self, tokens: Sequence[int]) -> str:
        """What these tokens say, without timestamps and other signs."""
        text: str = self.tokenizer.decode([token for token in tokens if token < self.tokenizer.eot])
        return text

    def _options(self, temperature: float, prompt: Sequence[int]) -> DecodingOptions:
        return DecodingOptions(
            task=self._rules.task,
            language=self._language,
            temperature=temperature,
            beam_size=self._rules.beam_size if temperature == 0 else None,
            prompt=list(prompt),
            fp16=self._model.dtype == torch.float16,
        )

    def _unacceptable(self, result: DecodingResult) -> bool:
        improbable: bool = result.avg_logprob < LOGPROB_THRESHOLD
        silent = result.no_speech_prob > self._rules.no_speech_threshold
        if silent and (improbable or not self._revision.silence_wants_low_logprob):
            return False
        repetitive: bool = result.compression_ratio > COMPRESSION_RATIO_THRESHOLD
        return improbable or repetitive


def keep_compiled() -> None:
    """Have numba store what it compiles for word times beside whisper: seconds saved at every later start."""
    with contextlib.suppress(RuntimeError):  # no folder that could be written to
        timing.backtrace.enable_caching()
        timing.dtw_cpu.enable_caching()


def _seed(recording: str, seek: int, temperature: float) -> int:
    digest = hashlib.sha256(f"{recording}:{seek}:{temperature}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits without complaint
