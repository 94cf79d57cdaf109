"""Plain text, one segment a line; who speaks in front of it where people have names."""

from btworker.outputs.presentation import Presentation, one_line
from btworker.transcript import Segment, Transcript


def write_txt(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """The text of the segments and nothing else, as openai-whisper has it, unless people may be known by name."""
    return "".join(f"{_by(segment, transcript)}{one_line(segment.text).strip()}\n" for segment in transcript.segments)


def _by(segment: Segment, transcript: Transcript) -> str:
    shows = transcript.known_speakers or transcript.people_named
    return f"{one_line(segment.speaker)}: " if segment.speaker and shows else ""
