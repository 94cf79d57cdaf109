"""SubRip subtitles."""

from btworker.outputs.presentation import Presentation, clock
from btworker.outputs.subtitles import cues
from btworker.transcript import Transcript


def write_srt(transcript: Transcript, presentation: Presentation) -> str:
    """Numbered cues, hours always, a comma before the milliseconds; the speaker, where there is one, in front."""
    return "".join(
        f"{number}\n{clock(cue.start_ms, hours=True, mark=',')} --> {clock(cue.end_ms, hours=True, mark=',')}\n"
        f"{cue.speaker + ': ' if cue.speaker else ''}{cue.text}\n\n"
        for number, cue in enumerate(cues(transcript, presentation), start=1)
    )
