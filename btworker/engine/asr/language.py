"""Which language a recording is in, or each of its windows: the one asked for, or the likeliest. Runs in the child."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor
from whisper.tokenizer import LANGUAGES

from btworker.engine.asr.decoding.requests import Encoded, LanguageRequest
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.timeline import WINDOW_FRAMES, Window
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.cooperate.ticket import answers
from btworker.engine.sound.recording import Sound
from btworker.errors import BtworkerError, ErrorCode, lacks_language

MOST_WINDOWS = 5
"""Windows that vote for the language: music or silence at the beginning has none."""
SURE = 0.6
"""Probability from which on a window has another language than the one before it: a name or a laugh is in any."""


class Languages(Protocol):
    """What the windows of a recording ask."""

    @property
    def encoded(self) -> dict[int, Tensor]:
        """Encoded.features of the windows in which a language was detected, by the frame at which each begins; whoever
        decodes one takes it out."""

    async def of(self, windows: Sequence[Window], index: int) -> str:
        """Tell the language of window `index`; they are asked for in their order."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language for all of a recording."""

    code: str
    encoded: dict[int, Tensor] = field(default_factory=dict)
    """See Languages."""

    async def of(self, _windows: Sequence[Window], _index: int) -> str:
        """See Languages."""
        return self.code


class WindowLanguages:
    """The language of each window, detected in it alone, some windows at a time."""

    def __init__(self, model: Model, sound: Sound, *, before: str, among: Sequence[str] = ()) -> None:
        """`before` is the language of the window before the first one that is asked for; empty where there is none.
        Where `among` has any, each is one of those."""
        self._model = model
        self._among = among
        self._sound = sound
        self._last = before
        self._probable: dict[int, dict[str, float]] = {}
        self.encoded: dict[int, Tensor] = {}
        """See Languages."""

    async def of(self, windows: Sequence[Window], index: int) -> str:
        """See Languages. What is detected depends on the windows, never on how many of them are known."""
        window = windows[index]
        if window.seek not in self._probable:
            some = windows[index : index + self._model.decoder.encode_batch]
            found = await encode(self._model, self._model.log_mel(self._sound.samples), some)
            for one, encoded in zip(some, found, strict=True):
                self._probable[one.seek] = only(self._among, encoded.languages)
            self.encoded |= {one.seek: encoded.features for one, encoded in zip(some, found, strict=True)}
        probable = self._probable.pop(window.seek)
        best = max(probable, key=lambda code: probable[code])
        if not self._last or probable[best] >= SURE:
            self._last = best
        return self._last


def windows_needed(model: Model, wanted: str) -> int:
    """Number of windows that have to be known before the language can be found; the first of a recording will do."""
    return 1 if wanted or not model.tokens.is_multilingual else MOST_WINDOWS


async def find_language(
    model: Model, mel: LogMel, wanted: str, plan: WindowPlan | None, *, among: Sequence[str] = ()
) -> Language:
    """Check the wanted language, or detect it where none is wanted: in several of the plan's windows, or, without a
    plan or windows, in the first 30 s; where `among` has any, one of those.

    Raises BAD_OPTION where the model does not know one of these languages.
    """
    known = list(LANGUAGES)[: model.tokens.num_languages] if model.tokens.is_multilingual else ["en"]
    for code, option in ((wanted, "language"), *((code, "languages") for code in among)):
        if code and code not in known:
            language = LANGUAGES.get(code, code)
            raise BtworkerError(ErrorCode.BAD_OPTION, lacks_language(model.name, language), param=option)
    if wanted or not model.tokens.is_multilingual:
        return Language(wanted or "en")
    if plan is not None and plan.windows:
        return await _vote(model, mel, plan, among)
    encoded = await model.decoder.detect_language(LanguageRequest(mel.frames(0, WINDOW_FRAMES)))
    probable = only(among, encoded.languages)
    return Language(max(probable, key=lambda code: probable[code]), {0: encoded.features})


def only(among: Sequence[str], probable: dict[str, float]) -> dict[str, float]:
    """Tell how probable each language is where it is known to be one of `among`; where that is empty, any."""
    if not among:
        return probable
    total = sum(probable[code] for code in among) or 1.0
    return {code: probable[code] / total for code in among}


async def _vote(model: Model, mel: LogMel, plan: WindowPlan, among: Sequence[str]) -> Language:
    """Find the language that is likeliest in some windows together, spread over those that are known; each counts as
    much as is spoken in it, since music is in none."""
    count = min(MOST_WINDOWS, len(plan.windows))
    some = [plan.windows[place * len(plan.windows) // count] for place in range(count)]
    found = await encode(model, mel, some)
    likely: Counter[str] = Counter()
    for window, encoded in zip(some, found, strict=True):
        spoken_s = sum(end - start for start, end in plan.speech_between(window.offset_s, window.end_s))
        likely.update({code: share * spoken_s for code, share in only(among, encoded.languages).items()})
    features = {window.seek: encoded.features for window, encoded in zip(some, found, strict=True)}
    return Language(likely.most_common(1)[0][0], features)


async def encode(model: Model, mel: LogMel, windows: Sequence[Window]) -> list[Encoded]:
    """Encode windows, and find how probable each language is in them."""
    sounds = [mel.window(one.seek, one.size, size=WINDOW_FRAMES) for one in windows]
    return await answers([model.decoder.detect_language(LanguageRequest(sound)) for sound in sounds])
