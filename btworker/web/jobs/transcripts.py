"""GET /v1/jobs/{id}/transcript: what was found, in any format, without the recording and without a model. Parent.

The engine stores everything that it found beside the results; reading and rendering it is a thread's work.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from btworker.corrections.apply import corrected
from btworker.corrections.layer import layers_of
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder
from btworker.jobs import OutputFormat
from btworker.outputs import FORMATS, Presentation, output_name, read_json
from btworker.outputs.ready import find_ready
from btworker.service.corrections import no_transcript, read_changes
from btworker.web.context import Context, context_of
from btworker.web.files import StoredFile, content_answer, send_file
from btworker.web.jobs.handlers import job_id_of
from btworker.web.jobs.renderings import kept, sha256_of
from btworker.web.mistakes import read_query

_FORMATS = ", ".join(item.value for item in OutputFormat)
_LINES = "a whole number from 1 to 1000"


class Wanted(BaseModel):
    """The query by its wire names; a description says what is allowed, for the error message."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    format: OutputFormat = Field(OutputFormat.JSON, description=f"one of {_FORMATS}")
    input: Annotated[int, Field(ge=0, le=10_000, description="the number of an input, counted from 0")] = 0
    max_line_width: int | None = Field(None, ge=1, le=1000, description=_LINES)
    max_line_count: int | None = Field(None, ge=1, le=1000, description=_LINES)
    highlight_words: bool = Field(default=False, description="true or false")
    corrected: bool = Field(default=True, description="true or false")

    @property
    def is_plain(self) -> bool:
        """Whether it is to look as the job's own outputs do."""
        return self.max_line_width is None and self.max_line_count is None and not self.highlight_words


async def get_transcript(request: web.Request) -> web.StreamResponse:
    """Handler. Raises BAD_REQUEST, NOT_FOUND, and CONFLICT before the job has ended."""
    context = context_of(request)
    job = await context.service.get(job_id_of(request))
    wanted = read_query(request.query, Wanted)
    if wanted.input >= len(job.inputs):
        message = f"the job has {len(job.inputs)} input(s), counted from 0"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="input")
    folder, stem = context.data.folder(job.id), job.inputs[wanted.input].stem
    changes = await context.service.corrections.stored(job) if wanted.corrected else []
    name = output_name(stem, wanted.format)
    try:
        found = await context.data.run(_found, folder, wanted, stem, changes)
        with suppress(FileNotFoundError):  # a rendering had to go for others before it was opened
            return await _send(request, context, found, name, wanted.format)
        content = await context.data.run(_rendered, folder.transcript(wanted.input), wanted, stem, changes)
        return await _send(request, context, content, name, wanted.format)
    except FileNotFoundError:
        raise no_transcript(job) from None


async def _send(
    request: web.Request, context: Context, found: Path | bytes, name: str, form: OutputFormat
) -> web.StreamResponse:
    kind = FORMATS[form].content_type
    if isinstance(found, Path):
        return await send_file(request, context.data, StoredFile(found, name, sha256_of(found), kind))
    return content_answer(request, found, name, kind)


def _found(folder: JobFolder, wanted: Wanted, stem: str, changes: Sequence[str]) -> Path | bytes:
    """Blocking."""
    if wanted.is_plain and not changes and (ready := find_ready(folder.outputs, wanted.input, wanted.format)):
        return ready
    path, look = folder.transcript(wanted.input), (wanted.model_dump_json(), stem, len(changes))
    return kept(folder.rendered, path, look, lambda: _rendered(path, wanted, stem, changes))


def _rendered(path: Path, wanted: Wanted, stem: str, changes: Sequence[str]) -> bytes:
    """Blocking."""
    presentation = Presentation(
        title=stem,
        max_line_width=wanted.max_line_width,
        max_line_count=wanted.max_line_count,
        highlight_words=wanted.highlight_words,
    )
    transcript = read_json(path)
    if layer := layers_of(read_changes(changes)).get(wanted.input):
        transcript = corrected(transcript, layer, len(changes))
    return FORMATS[wanted.format].data(transcript, presentation)
