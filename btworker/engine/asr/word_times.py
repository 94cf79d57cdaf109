"""openai-whisper's own rules of where words begin and end, in the installed release, for words aligned already.

add_word_timestamps() calls find_alignment(), which would encode and decode the window once more. So its code runs here
with that one name replaced: no rule is copied, and both pinned stacks have their own. tests/speech holds the words to
those of transcribe().
"""

import types
from collections.abc import Sequence
from typing import Any

from whisper import timing

PREPEND_PUNCTUATIONS = "\"'“¿([{-"
APPEND_PUNCTUATIONS = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001 - whisper's own default, full-width marks and all


def place_words(segments: list[dict[str, Any]], words: Sequence[Any], tokenizer: Any, *, last_speech_s: float) -> None:
    """Give each segment, in the shape that whisper takes, its `words`, and its start and end by them.

    `words` are whisper.timing's WordTimings in seconds of the window; `last_speech_s` is the end of the last word
    before it, in seconds of the recording.
    """
    _with_words(
        segments=segments,
        model=words,
        tokenizer=tokenizer,
        mel=None,
        num_frames=0,
        prepend_punctuations=PREPEND_PUNCTUATIONS,
        append_punctuations=APPEND_PUNCTUATIONS,
        last_speech_timestamp=last_speech_s,
    )


def _aligned(words: Sequence[Any], *_: Any, **__: Any) -> Sequence[Any]:
    """Stand in for whisper's find_alignment: return the words that came as its model."""
    return words


_with_words = types.FunctionType(
    timing.add_word_timestamps.__code__, {**vars(timing), "find_alignment": _aligned}, "add_word_timestamps"
)
_with_words.__kwdefaults__ = timing.add_word_timestamps.__kwdefaults__
