"""POST /v1/jobs as JSON: inputs that are elsewhere (inputs.py, a controller's: controller.py) or here already
(web/tus/finished.py). Parent."""

import json
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.web.body import Body
from btworker.web.context import Context, caller_of, context_of
from btworker.web.jobs import inputs
from btworker.web.jobs.admission import (
    check_encoding,
    check_expectation,
    idempotency_key,
    invite_body,
    media_type_of,
)
from btworker.web.jobs.controller import dispatch
from btworker.web.middlewares import request_id_of
from btworker.web.mistakes import first_field
from btworker.web.option_fields import JSON_FIELD
from btworker.web.tus.finished import Asked, submit_all
from btworker.web.tus.voices import OF_VOICES

JSON = "application/json"
MAX_BODY_BYTES = 2**20


class UploadsForm(BaseModel):
    """A job of finished resumable uploads, by its wire names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uploads: tuple[str, ...] = Field(min_length=1)
    options: dict[str, Any] | None = Field(None, description=OF_VOICES)


def is_json(request: web.Request) -> bool:
    """Whether the body says that it is JSON."""
    return media_type_of(request) == JSON


async def create(request: web.Request) -> tuple[Job, bool]:
    """The job, and whether it is a new one. Raises BAD_REQUEST and what its kind does."""
    raw = await json_body(request)
    if isinstance(raw, dict) and "uploads" in raw:
        return await _of_uploads(request, context_of(request), raw)
    return await (inputs.submit if inputs.is_ours(raw) else dispatch)(request, raw)


async def json_body(request: web.Request) -> Any:
    """What a body of JSON holds. Raises BAD_REQUEST, UNSUPPORTED_MEDIA, IDLE_TIMEOUT."""
    check_expectation(request)
    check_encoding(request)
    await invite_body(request)
    try:
        return json.loads(await _body(request))
    except (ValueError, RecursionError):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "the body is no JSON") from None


async def _of_uploads(request: web.Request, context: Context, raw: dict[str, Any]) -> tuple[Job, bool]:
    try:
        form = UploadsForm.model_validate(raw)
    except ValidationError as error:
        where = first_field(error)
        message = 'send {"uploads": [ids of finished uploads], "options": {…}}'
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param=where[:100]) from None
    limit = context.settings.max_files_per_job
    if not len(set(form.uploads)) == len(form.uploads) <= limit:
        message = f"a job has at most {limit} uploads here (WORKER_MAX_FILES_PER_JOB), each of them once"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="uploads")
    key, options = idempotency_key(request), [*request.query.items(), (JSON_FIELD, json.dumps(form.options or {}))]
    asked = Asked(caller_of(request), request_id_of(request), key)
    return await submit_all(context, form.uploads, options, asked)


async def _body(request: web.Request) -> bytes:
    context = context_of(request)
    body = Body(request, context.settings, context.receivers)
    message = f"a body of JSON has at most {MAX_BODY_BYTES // 1024} KiB"
    try:
        return await body.read_all(most_bytes=MAX_BODY_BYTES, too_long=BtworkerError(ErrorCode.BAD_REQUEST, message))
    finally:
        body.close()
