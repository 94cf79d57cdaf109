"""SubRip subtitles.

The format knows no escapes, and players read tags (`<b>`, `{\\an8}`) in it. A word joiner, which nobody sees, behind
the sign that begins a tag makes it text for players, ffmpeg and parsers alike.
"""

import re

from btworker.outputs.presentation import Presentation, clock
from btworker.outputs.subtitles import Cue, cues
from btworker.transcript import Transcript

WORD_JOINER = "\u2060"
_BEGINS_A_TAG = re.compile(r"[<{]")
_ARROW = re.compile(r"-{2,}>")


def write_srt(transcript: Transcript, presentation: Presentation) -> str:
    """Numbered cues, hours always, a comma before the milliseconds; the speaker, where there is one, in front."""
    return "".join(
        f"{number}\n{clock(cue.start_ms, hours=True, mark=',')} --> {clock(cue.end_ms, hours=True, mark=',')}\n"
        f"{_text(cue)}\n\n"
        for number, cue in enumerate(cues(transcript, presentation, _escape), start=1)
    )


def _text(cue: Cue) -> str:
    text = f"{_escape(cue.speaker)}: {cue.text}" if cue.speaker else cue.text
    return _ARROW.sub("->", text)


def _escape(text: str) -> str:
    return _BEGINS_A_TAG.sub(rf"\g<0>{WORD_JOINER}", text)
