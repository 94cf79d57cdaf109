"""Tab-separated values: start and end in whole milliseconds, and the text of each segment."""

from btworker.outputs.presentation import Presentation, one_line
from btworker.transcript import Transcript


def write_tsv(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """A header row, then one row a segment."""
    rows = (
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{one_line(segment.text).strip()}\n"
        for segment in transcript.segments
    )
    return "start\tend\ttext\n" + "".join(rows)
