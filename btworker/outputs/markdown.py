"""The transcript as people read it: a title, a line about the recording, paragraphs with time stamps."""

import re
from collections.abc import Iterable, Iterator

from btworker.outputs.presentation import Presentation, is_visible, one_line, stamp, voice_of
from btworker.transcript import Segment, Transcript

PAUSE_S = 2.0
"""Silence after which a paragraph ends."""
LONG_PARAGRAPH = 500
"""Characters after which a paragraph ends with its sentence."""
ENDLESS_PARAGRAPH = 1500
"""Characters after which it ends anyway: some models never write a full stop."""
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")  # noqa: RUF001 - full-width marks are meant
_SPECIAL = re.compile(r"([\\`*_~\[<&])")


def write_markdown(transcript: Transcript, presentation: Presentation) -> str:
    """Markdown that reads well as plain text, too."""
    blocks = [f"# {plain(presentation.title)}", f"*{plain(about(transcript))}*"]
    blocks += [f"**[{stamp(part[0].start)}]{_by(part[0])}** {_text(part)}" for part in paragraphs(transcript.segments)]
    if len(blocks) == 2:
        blocks.append("*(no speech found)*")
    return "\n\n".join(blocks) + "\n"


def paragraphs(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Segments that belong together: of one voice, no long pause between them, and not too many. Those without text
    are left out."""
    part: list[Segment] = []
    for segment in segments:
        if not is_visible(segment.text):
            continue
        if part and _ends(part, segment):
            yield part
            part = []
        part.append(segment)
    if part:
        yield part


def _ends(part: list[Segment], following: Segment) -> bool:
    size = sum(len(segment.text) for segment in part)
    if voice_of(following) != voice_of(part[-1]):
        return True
    if following.start - part[-1].end >= PAUSE_S or size >= ENDLESS_PARAGRAPH:
        return True
    return size >= LONG_PARAGRAPH and part[-1].text.rstrip().endswith(_SENTENCE_ENDS)


def about(transcript: Transcript) -> str:
    """How long the recording is, in which language, and what wrote this."""
    facts = [stamp(transcript.duration_s), f"language: {transcript.language}"]
    model = dict(transcript.provenance).get("model")
    if model:
        facts.append(f"model: {model}")
    return " · ".join(facts)


def _by(segment: Segment) -> str:
    voice = voice_of(segment)
    return f" {plain(voice)}:" if voice else ""


def _text(part: list[Segment]) -> str:
    return plain(" ".join(one_line(" ".join(segment.text for segment in part)).split()))


def plain(text: str) -> str:
    """Text in the middle of a line that no Markdown renderer takes for markup."""
    return _SPECIAL.sub(r"\\\1", text)
