"""Tab-separated values: start and end in whole milliseconds, and the text of each segment."""

from btworker.outputs.presentation import Presentation, one_line
from btworker.transcript import Transcript


def write_tsv(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """A header row, then one row a segment; with a column for the channel where each was transcribed by itself."""
    has_channels = any(segment.channel is not None for segment in transcript.segments)
    rows = (
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{one_line(segment.text).strip()}"
        + (f"\t{segment.channel}\n" if has_channels else "\n")
        for segment in transcript.segments
    )
    return "start\tend\ttext" + ("\tchannel\n" if has_channels else "\n") + "".join(rows)
