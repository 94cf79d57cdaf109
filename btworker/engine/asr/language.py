"""Which language a recording is in: the one asked for, or the likeliest. Runs in the child."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor
from whisper.tokenizer import LANGUAGES

from btworker.engine.asr.decoding.requests import LanguageRequest
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.timeline import WINDOW_FRAMES, Window
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.ticket import answers
from btworker.errors import BtworkerError, ErrorCode, lacks_language

MOST_WINDOWS = 5
"""Windows that vote for the language: music or silence at the beginning has none."""


@dataclass(frozen=True, slots=True)
class Language:
    """The language of a recording."""

    code: str
    encoded: dict[int, Tensor] = field(default_factory=dict)
    """Encoded.features of the windows in which it was detected, by the frame at which each begins; whoever decodes one
    takes it out."""


def windows_needed(model: Model, wanted: str) -> int:
    """Number of windows that have to be known before the language can be found; the first of a recording will do."""
    return 1 if wanted or not model.network.is_multilingual else MOST_WINDOWS


async def find_language(model: Model, mel: LogMel, wanted: str, windows: Sequence[Window]) -> Language:
    """Check the wanted language, or detect it where none is wanted, in several of the windows or in the first 30 s.

    Raises BAD_OPTION where the model does not know the language.
    """
    known = list(LANGUAGES)[: model.network.num_languages] if model.network.is_multilingual else ["en"]
    if wanted and wanted not in known:
        language = LANGUAGES.get(wanted, wanted)
        raise BtworkerError(ErrorCode.BAD_OPTION, lacks_language(model.name, language), param="language")
    if wanted or not model.network.is_multilingual:
        return Language(wanted or "en")
    return await _detect(model, mel, windows)


async def _detect(model: Model, mel: LogMel, windows: Sequence[Window]) -> Language:
    """Find the language that is likeliest in some windows together, spread over those that are known."""
    count = min(MOST_WINDOWS, len(windows))
    some = [windows[place * len(windows) // count] for place in range(count)]
    sounds = {one.seek: mel.stretch(one.seek, one.size, size=WINDOW_FRAMES) for one in some}
    sounds = sounds or {0: mel.frames(0, WINDOW_FRAMES)}
    found = await answers([model.decoder.detect_language(LanguageRequest(sound)) for sound in sounds.values()])
    likely: Counter[str] = Counter()
    for window in found:
        likely.update(window.languages)
    features = {seek: window.features for seek, window in zip(sounds, found, strict=True)}
    return Language(likely.most_common(1)[0][0], features)
