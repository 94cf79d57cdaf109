"""What every writer gets besides the transcript, and how times are spelled. Used on both sides."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from btworker.transcript import Segment, Transcript, Word

_BREAKS_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Unicode's categories of controls, formatting and white space."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a transcript is shown. The subtitle options mean what openai-whisper's of the same names mean."""

    title: str
    """The input's stem: a heading in md, the file id in rttm."""
    max_line_width: int | None = None
    """Characters in a subtitle's line; needs word times."""
    max_line_count: int | None = None
    """Lines in a subtitle; only together with max_line_width."""
    highlight_words: bool = False
    """One cue per word, the word underlined as it is spoken; needs word times."""


@dataclass(frozen=True, slots=True)
class FileKind:
    """One row of the table of formats."""

    suffix: str
    content_type: str
    write: Callable[[Transcript, Presentation], str | bytes]

    def data(self, transcript: Transcript, presentation: Presentation) -> bytes:
        """The file's bytes; text is UTF-8."""
        written = self.write(transcript, presentation)
        return written if isinstance(written, bytes) else written.encode("utf-8", "replace")


def one_line(text: str) -> str:
    """The text with a space for whatever some reader takes for a line break or a control."""
    return _BREAKS_A_LINE.sub(" ", text)


def voice_of(spoken: Segment | Word) -> str | None:
    """Whose voice it is, as far as that is known: the speaker's label, else the channel's number."""
    if spoken.speaker is None and spoken.channel is not None:
        return f"Channel {spoken.channel}"
    return spoken.speaker


def is_visible(text: str) -> bool:
    """Whether anything of the text can be seen."""
    return any(unicodedata.category(c) not in _INVISIBLE for c in text)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded as openai-whisper rounds them; nothing is before the beginning."""
    return max(round(seconds * 1000.0), 0)


def clock(time_ms: int, *, hours: bool, mark: str) -> str:
    """`01:02:03.004`; without `hours` the hours appear only where there are any. `mark` is the decimal mark."""
    rest_s, ms = divmod(time_ms, 1000)
    rest_min, s = divmod(rest_s, 60)
    h, minutes = divmod(rest_min, 60)
    head = f"{h:02d}:" if hours or h else ""
    return f"{head}{minutes:02d}:{s:02d}{mark}{ms:03d}"


def stamp(seconds: float) -> str:
    """`MM:SS`, or `H:MM:SS` past the first hour: for people, not for players."""
    minutes, s = divmod(int(seconds), 60)
    h, minutes = divmod(minutes, 60)
    return f"{h}:{minutes:02d}:{s:02d}" if h else f"{minutes:02d}:{s:02d}"
