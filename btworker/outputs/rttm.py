"""Rich Transcription Time Marked: who spoke when, as NIST's scoring tools and pyannote.metrics read it."""

from btworker.outputs.presentation import Presentation
from btworker.transcript import Transcript


def write_rttm(transcript: Transcript, presentation: Presentation) -> str:
    """One SPEAKER line a turn; empty where nobody looked for speakers. Fields may hold no white space."""
    file_id = "_".join(presentation.title.split()) or "audio"
    return "".join(
        f"SPEAKER {file_id} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {turn.speaker} <NA> <NA>\n"
        for turn in transcript.turns
    )
