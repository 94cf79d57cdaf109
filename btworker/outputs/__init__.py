"""Transcript -> files. One small pure writer per format, and the one table that names them.

The child writes a job's outputs with these; the front end renders a stored transcript again with the same ones, in a
thread. Neither torch nor numpy is needed. srt, vtt, tsv and txt equal openai-whisper's own writers byte for byte, but
for texts that would break the file.
"""

from pathlib import PurePath

from btworker.jobs import OutputFormat
from btworker.outputs.json import read_json, read_text, write_json
from btworker.outputs.markdown import write_markdown
from btworker.outputs.presentation import FileKind, Presentation
from btworker.outputs.rttm import write_rttm
from btworker.outputs.speakers import SPEAKER_FILES
from btworker.outputs.srt import write_srt
from btworker.outputs.tsv import write_tsv
from btworker.outputs.txt import write_txt
from btworker.outputs.vtt import write_vtt
from btworker.outputs.word import write_docx
from btworker.transcript import Transcript

__all__ = [
    "CONTENT_TYPES",
    "FORMATS",
    "SPEAKER_FILES",
    "FileKind",
    "Presentation",
    "output_name",
    "read_json",
    "read_text",
    "render",
]

FORMATS: dict[OutputFormat, FileKind] = {
    OutputFormat.JSON: FileKind("_transcript.json", "application/json", write_json),
    OutputFormat.MD: FileKind("_transcript.md", "text/markdown; charset=utf-8", write_markdown),
    OutputFormat.SRT: FileKind(".srt", "application/x-subrip; charset=utf-8", write_srt),
    OutputFormat.VTT: FileKind(".vtt", "text/vtt; charset=utf-8", write_vtt),
    OutputFormat.TXT: FileKind(".txt", "text/plain; charset=utf-8", write_txt),
    OutputFormat.TSV: FileKind(".tsv", "text/tab-separated-values; charset=utf-8", write_tsv),
    OutputFormat.RTTM: FileKind(".rttm", "text/plain; charset=utf-8", write_rttm),
    OutputFormat.DOCX: FileKind(
        ".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", write_docx
    ),
}
"""Every format that a client can ask for. A test holds this table and OutputFormat together."""
CONTENT_TYPES = {
    PurePath(kind.suffix).suffix: kind.content_type for kind in (*FORMATS.values(), *SPEAKER_FILES.values())
}
"""Suffix of an output's file name -> its content type."""


def output_name(stem: str, kind: OutputFormat) -> str:
    """The file name of one output of the input with this stem: "talk" -> "talk_transcript.json"."""
    return stem + FORMATS[kind].suffix


def render(transcript: Transcript, kind: OutputFormat, presentation: Presentation) -> str:
    """The text of one output, of a format that is text."""
    return FORMATS[kind].data(transcript, presentation).decode()
