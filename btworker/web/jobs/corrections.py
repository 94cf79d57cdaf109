"""The routes of corrections: what is corrected, by whom and when; changes with If-Match, so that two writers at once
never overwrite each other unseen. Parent; the work is service/corrections.py's."""

import re
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from btworker.corrections.edits import MAX_EDITS, Change, Edit
from btworker.corrections.layer import Layer, layers_of
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.web.context import caller_of, context_of
from btworker.web.jobs.handlers import job_id_of, json_answer, plain_number
from btworker.web.jobs.json_jobs import JSON, is_json, json_body
from btworker.web.mistakes import first_mistake
from btworker.web.schemas import Wire, rfc3339

DEFAULT_CHANGES, MAX_CHANGES = 100, 1000
"""Changes in a page of the history."""
_TAG = re.compile(r'"(\d{1,9})"')
SHAPES = '{"edits": [{"op": "name", "speaker": "SPEAKER_00", "name": "Anna"}, …]}, or {"restore": 3}'


class CorrectionForm(BaseModel):
    """A change: edits, or the number of the version that is to be there again (0: nothing is corrected)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    edits: Annotated[list[Edit], Field(max_length=MAX_EDITS)] = []
    restore: Annotated[int, Field(ge=0, le=10_000_000)] | None = None


class SpeakerWire(Wire):
    """A speaker who has a name, or was merged into another one."""

    speaker: str
    name: str | None
    merged_into: str | None


class SegmentWire(Wire):
    """A segment in which something is corrected; null: as the engine has it."""

    segment: int
    text: str | None
    speaker: str | None
    checked: bool


class InputCorrectionsWire(Wire):
    """What is corrected in one input."""

    input: int
    speakers: tuple[SpeakerWire, ...]
    segments: tuple[SegmentWire, ...]


class CorrectionsWire(Wire):
    """What is corrected at a version; version 0 is what the engine found."""

    version: int
    newest: int
    inputs: tuple[InputCorrectionsWire, ...]


class ChangeWire(Wire):
    """A version: what was edited, or which earlier one it brought back, by which key, and when."""

    version: int
    at: str
    by: str
    edits: tuple[Edit, ...]
    restored: int | None


class HistoryWire(Wire):
    """Changes, newest first; `before` asks for those before the last one here, null where there are none."""

    changes: tuple[ChangeWire, ...]
    before: int | None


async def get(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/corrections?version=: what is corrected, now or at an earlier version."""
    changes = await _changes(request)
    version = _number(request, "version", len(changes), most=len(changes))
    tag = _tag(version)
    if tag in (one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers={"ETag": tag})
    layers = await context_of(request).data.run(layers_of, changes, version)
    inputs = tuple(_input(number, layer) for number, layer in sorted(layers.items()) if layer != Layer())
    response = json_answer(CorrectionsWire(version=version, newest=len(changes), inputs=inputs))
    response.headers["ETag"] = tag
    return response


async def history(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/corrections/history?before=&limit=: who changed what, newest first."""
    changes = await _changes(request)
    before = _number(request, "before", len(changes) + 1, most=10**9)
    limit = _number(request, "limit", DEFAULT_CHANGES, least=1, most=MAX_CHANGES)
    found = changes[: max(before - 1, 0)][-limit:][::-1]
    following = found[-1].version if found and found[-1].version > 1 else None
    return json_answer(HistoryWire(changes=tuple(map(_change, found)), before=following))


async def correct(request: web.Request) -> web.StreamResponse:
    """PATCH /v1/jobs/{id}/corrections: 200 with the change, durable; 412 where another one was first, 428 without
    If-Match."""
    context = context_of(request)
    job = await context.service.get(job_id_of(request))
    version = await _expected(request, job)
    if not is_json(request):
        raise BtworkerError(ErrorCode.UNSUPPORTED_MEDIA, f"send the change as {JSON}")
    form = _form(await json_body(request))
    change = await context.service.corrections.change(
        job, version, caller_of(request).name, edits=form.edits, restored=form.restore
    )
    response = json_answer(_change(change))
    response.headers["ETag"] = _tag(change.version)
    return response


async def _changes(request: web.Request) -> list[Change]:
    context = context_of(request)
    return await context.service.corrections.of(await context.service.get(job_id_of(request)))


async def _expected(request: web.Request, job: Job) -> int:
    """The version that the client has seen. Raises PRECONDITION_REQUIRED, PRECONDITION_FAILED."""
    given = request.headers.get("If-Match")
    if given is None:
        message = 'send If-Match with the ETag of the corrections that you changed, such as "0" where there are none'
        raise BtworkerError(ErrorCode.PRECONDITION_REQUIRED, message, param="If-Match")
    if given.strip() == "*":
        return len(await context_of(request).service.corrections.stored(job))
    found = _TAG.fullmatch(given.strip())
    if found is None:
        message = 'If-Match is not an ETag of these corrections, which are numbers such as "3"'
        raise BtworkerError(ErrorCode.PRECONDITION_FAILED, message, param="If-Match")
    return int(found[1])


def _form(raw: object) -> CorrectionForm:
    try:
        form = CorrectionForm.model_validate(raw)
    except ValidationError as error:
        where, what = first_mistake(error)
        param = ".".join(where[:2] + where[3:])[:100]  # without the name of the edit's kind
        message = f"{param or 'the body'}: {what}; send {SHAPES}"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param=param or None) from None
    if bool(form.edits) == (form.restore is not None):
        raise BtworkerError(ErrorCode.BAD_OPTION, f"send edits, or the version to restore: {SHAPES}", param="edits")
    return form


def _input(number: int, layer: Layer) -> InputCorrectionsWire:
    speakers = sorted({*layer.names, *layer.merges})
    return InputCorrectionsWire(
        input=number,
        speakers=tuple(
            SpeakerWire(speaker=one, name=layer.names.get(one), merged_into=layer.merges.get(one)) for one in speakers
        ),
        segments=tuple(
            SegmentWire(segment=at, text=one.text, speaker=one.speaker, checked=one.checked)
            for at, one in sorted(layer.segments.items())
        ),
    )


def _change(change: Change) -> ChangeWire:
    return ChangeWire(
        version=change.version,
        at=rfc3339(change.at) or "",
        by=change.by,
        edits=change.edits,
        restored=change.restored,
    )


def _tag(version: int) -> str:
    return f'"{version}"'


def _number(request: web.Request, name: str, default: int, *, least: int = 0, most: int) -> int:
    return plain_number(request.query.get(name), name, default=default, least=least, most=most)
