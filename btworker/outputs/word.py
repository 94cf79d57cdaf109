"""A Word document: a heading, a line about the recording, paragraphs with times and speakers.

By python-docx, which is imported once somebody wants one: with lxml it takes some 20 MB.
"""

import io
import re
from datetime import datetime, timezone

from btworker.outputs.markdown import about, paragraphs
from btworker.outputs.presentation import Presentation, one_line, stamp, voice_of
from btworker.transcript import Segment, Transcript

_NOT_IN_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")
MAX_TITLE = 255
"""Characters of a title that Word's own properties take."""


def write_docx(transcript: Transcript, presentation: Presentation) -> bytes:
    """The document's bytes; its paragraphs are those of the Markdown."""
    import docx

    document = docx.Document()
    title = _plain(presentation.title)
    properties = document.core_properties
    properties.author, properties.comments, properties.title = "btworker", "", title[:MAX_TITLE]
    properties.created = properties.modified = datetime.now(timezone.utc).replace(tzinfo=None)
    document.add_heading(title, level=1)
    document.add_paragraph().add_run(_plain(about(transcript))).italic = True
    parts = list(paragraphs(transcript.segments))
    for part in parts:
        paragraph = document.add_paragraph()
        paragraph.add_run(_head(part[0])).bold = True
        paragraph.add_run(_plain(" ".join(segment.text for segment in part)))
    if not parts:
        document.add_paragraph("(no speech found)")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _head(segment: Segment) -> str:
    voice = voice_of(segment)
    return f"[{stamp(segment.start)}] {_plain(voice)}: " if voice else f"[{stamp(segment.start)}] "


def _plain(text: str) -> str:
    """Text on one line that XML can hold."""
    return " ".join(_NOT_IN_XML.sub("\ufffd", one_line(text)).split())
