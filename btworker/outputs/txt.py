"""Plain text, one segment a line."""

from btworker.outputs.presentation import Presentation, one_line
from btworker.transcript import Transcript


def write_txt(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """The text of the segments and nothing else."""
    return "".join(f"{one_line(segment.text).strip()}\n" for segment in transcript.segments)
