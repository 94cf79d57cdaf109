"""What a job with diarization gives besides the formats that it asked for: the turns, and who said what."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from btworker.outputs.markdown import plain
from btworker.outputs.presentation import FileKind, Presentation, is_visible, one_line, stamp
from btworker.transcript import Segment, Transcript

REPEAT_GAP_S = 2.0
REPEAT_LENGTH = 20
"""Characters."""
REPEAT_S = 2.0
MERGE_GAP_S = 1.0
_OURS = re.compile(r"SPEAKER_\d+")


@dataclass(slots=True)
class _Line:
    """Something said by one person without a pause."""

    start: float
    end: float
    speaker: str
    text: str


def write_diarization(transcript: Transcript, presentation: Presentation) -> str:  # noqa: ARG001 - the writers' one signature
    """The bare list of turns, as the Bulk Transcribe controller reads it."""
    return json.dumps([turn.to_dict() for turn in transcript.turns], ensure_ascii=False) + "\n"


def write_speaker_markdown(transcript: Transcript, presentation: Presentation) -> str:
    """A title, then a line for each time that somebody speaks: `**[MM:SS] SPEAKER_00:** text`.

    Where speakers could not be told apart the text is there all the same, below the reason.
    """
    blocks = [f"# {plain(one_line(presentation.title))}"]
    if transcript.no_speakers:
        blocks.append(f"*No speakers: {plain(one_line(transcript.no_speakers))}*")
    if lines := _merged(_without_repeats(_spoken(transcript.segments))):
        blocks += [f"**[{stamp(line.start)}] {_shown(line.speaker)}:** {plain(line.text)}" for line in lines]
    else:
        blocks += [plain(_text_of(one)) for one in transcript.segments if is_visible(one.text)]
    return "".join(f"{block}\n\n" for block in blocks)


def _shown(speaker: str) -> str:
    """A client's name as text; ours as it is, since a Bulk Transcribe controller looks for it."""
    return speaker if _OURS.fullmatch(speaker) else plain(one_line(speaker))


def _spoken(segments: Iterable[Segment]) -> list[_Line]:
    lines = [
        _Line(segment.start, segment.end, segment.speaker, _text_of(segment))
        for segment in segments
        if segment.speaker and is_visible(segment.text)
    ]
    return sorted(lines, key=lambda line: line.start)


def _text_of(segment: Segment) -> str:
    return " ".join(one_line(segment.text).split())


def _without_repeats(lines: list[_Line]) -> list[_Line]:
    """A short line that the same person says again at once is whisper stammering."""
    kept: list[_Line] = []
    for line in lines:
        if kept and _repeats(kept[-1], line):
            kept[-1].end = max(kept[-1].end, line.end)
        else:
            kept.append(line)
    return kept


def _repeats(last: _Line, line: _Line) -> bool:
    return (
        (line.speaker, line.text.casefold()) == (last.speaker, last.text.casefold())
        and line.start - last.end <= REPEAT_GAP_S
        and len(line.text) <= REPEAT_LENGTH
        and line.end - line.start <= REPEAT_S
    )


def _merged(lines: list[_Line]) -> list[_Line]:
    merged: list[_Line] = []
    for line in lines:
        if merged and merged[-1].speaker == line.speaker and line.start - merged[-1].end <= MERGE_GAP_S:
            merged[-1].text += f" {line.text}"
            merged[-1].end = max(merged[-1].end, line.end)
        else:
            merged.append(line)
    return merged


SPEAKER_FILES: dict[str, FileKind] = {
    "diarization-json": FileKind("_diarization.json", "application/json", write_diarization),
    "speaker-markdown": FileKind("_speaker.md", "text/markdown; charset=utf-8", write_speaker_markdown),
}
"""By output type. Nobody asks for them by name: a transcript with speakers has them."""
