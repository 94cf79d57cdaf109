"""Rich Transcription Time Marked: who spoke when, as NIST's scoring tools and pyannote.metrics read it."""

from btworker.outputs.presentation import Presentation, milliseconds, one_line
from btworker.transcript import Transcript


def write_rttm(transcript: Transcript, presentation: Presentation) -> str:
    """One SPEAKER line a turn that has a length; empty where nobody looked for speakers."""
    file_id = _field(presentation.title) or "audio"
    return "".join(
        f"SPEAKER {file_id} {turn.channel or 1} {turn.start:.3f} {turn.end - turn.start:.3f} "
        f"<NA> <NA> {_field(turn.speaker)} <NA> <NA>\n"
        for turn in transcript.turns
        if milliseconds(turn.end) > milliseconds(turn.start)
    )


def _field(text: str) -> str:
    """Fields may hold no white space."""
    return "_".join(one_line(text).split())
