"""WebVTT subtitles."""

from html import escape

from btworker.outputs.presentation import Presentation, clock
from btworker.outputs.subtitles import cues
from btworker.transcript import Transcript


def write_vtt(transcript: Transcript, presentation: Presentation) -> str:
    """The header, then cues without numbers; hours only where there are any; a voice tag for the speaker."""
    return "WEBVTT\n\n" + "".join(
        f"{clock(cue.start_ms, hours=False, mark='.')} --> {clock(cue.end_ms, hours=False, mark='.')}\n"
        f"{f'<v {_escape(cue.speaker)}>' if cue.speaker else ''}{cue.text}\n\n"
        for cue in cues(transcript, presentation, _escape)
    )


def _escape(text: str) -> str:
    """`<` and `&` begin markup, and `-->` belongs to the line of times."""
    return escape(text, quote=False)
