"""Tab-separated values: start and end in whole milliseconds, and the text of each segment."""

from collections.abc import Iterator

from btworker.outputs.presentation import Presentation, one_line
from btworker.transcript import Segment, Transcript

_FORMULA = ("=", "+", "-", "@")
"""What begins a formula, where a table is opened with an office program."""


def write_tsv(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """A header row, then one row a segment; with a column for the channel where each was transcribed by itself, and one
    for the speaker where people have names."""
    more = []
    if any(segment.channel is not None for segment in transcript.segments):
        more.append("channel")
    if transcript.people_named:
        more.append("speaker")
    rows = (
        f"{round(1000 * segment.start)}\t{round(1000 * segment.end)}\t{one_line(segment.text).strip()}"
        + "".join(f"\t{cell}" for cell in _cells(segment, more))
        + "\n"
        for segment in transcript.segments
    )
    return "\t".join(("start", "end", "text", *more)) + "\n" + "".join(rows)


def _cells(segment: Segment, columns: list[str]) -> Iterator[str]:
    for column in columns:
        if column == "channel":
            yield str(segment.channel)
        else:
            name = one_line(segment.speaker or "").strip()
            yield f"'{name}" if name.startswith(_FORMULA) else name
