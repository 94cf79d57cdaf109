"""Plain text, one segment a line."""

from btworker.outputs.presentation import Presentation
from btworker.transcript import Transcript


def write_txt(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """What was said and nothing else."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)
