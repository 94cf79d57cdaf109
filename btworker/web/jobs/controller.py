"""POST /v1/jobs with JSON: the Bulk Transcribe controller dispatches a job with URLs. Parent.

The controller gives a job up for good after any refusal, so that nothing but a request that makes no sense, or leads
inside, is refused: options that this worker has no use for, or cannot take as they are, become warnings.
"""

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from btworker.delivery.guard import Guard
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Job, new_job_id
from btworker.locations import Delivery
from btworker.service import NewJob
from btworker.stems import unique_stems
from btworker.web.context import Context, caller_of, context_of
from btworker.web.filenames import clean_filename
from btworker.web.jobs.admission import idempotency_key
from btworker.web.middlewares import request_id_of
from btworker.web.mistakes import first_mistake
from btworker.web.options import lenient_options

SPEAKER_COUNTS = ("numSpeakers", "minSpeakers", "maxSpeakers")
NOT_FOR_KEYS = (
    "a controller's job needs the worker's own token, which goes to the controller with the outputs; with a key, send "
    "a url in place of a file"
)
_STRICT = ConfigDict(alias_generator=to_camel, frozen=True)


class InputForm(BaseModel):
    """One input, by its wire names."""

    model_config = _STRICT

    input_id: str = Field(min_length=1, max_length=200)
    filename: str | None = None
    size_bytes: int | None = None
    download_url: str


class DispatchForm(BaseModel):
    """What the controller sends; whatever else is in it is of no use here."""

    model_config = _STRICT

    controller_job_id: str = Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")
    inputs: tuple[InputForm, ...] = Field(min_length=1)
    options: dict[str, Any] | None = None
    callback_url: str
    outputs_upload_url: str


async def dispatch(request: web.Request, raw: object) -> tuple[Job, bool]:
    """The job of a controller's JSON, and whether it is a new one. Raises BAD_REQUEST, FORBIDDEN, BAD_OPTION,
    URL_REFUSED."""
    context, caller = context_of(request), caller_of(request)
    form = _form(raw)
    if not caller.is_operator:
        raise BtworkerError(ErrorCode.FORBIDDEN, NOT_FOR_KEYS)
    key = idempotency_key(request) or form.controller_job_id
    if (known := await context.service.by_key(key, caller.owner)) is not None:
        return known, False
    return await context.service.submit(_new_job(form, request, context, key))


def _form(raw: object) -> DispatchForm:
    try:
        return DispatchForm.model_validate(raw)
    except ValidationError as error:
        path, what = first_mistake(error)
        where = ".".join(path) or "the body"
        raise _bad(f"{where}: {what}", param=where[:100]) from None


def _new_job(form: DispatchForm, request: web.Request, context: Context, key: str) -> NewJob:
    settings = context.settings
    if len(form.inputs) > settings.max_files_per_job:
        raise _bad(f"a job has at most {settings.max_files_per_job} inputs here (WORKER_MAX_FILES_PER_JOB)")
    _check_urls(form, context.guard)
    options, warnings = lenient_options({**request.query, **_wanted(form.options or {})}, settings)
    return NewJob(
        id=new_job_id(),
        options=options,
        inputs=_inputs(form),
        warnings=warnings,
        idempotency_key=key,
        controller_job_id=form.controller_job_id,
        request_id=request_id_of(request),
        sources=tuple(item.download_url for item in form.inputs),
        delivery=Delivery(form.callback_url, form.outputs_upload_url, to_controller=True),
    )


def _check_urls(form: DispatchForm, guard: Guard) -> None:
    for item in form.inputs:
        guard.checked(item.download_url, what="downloadUrl")
    guard.checked(form.outputs_upload_url, what="outputsUploadUrl")
    guard.checked(form.callback_url, what="callbackUrl")


def _inputs(form: DispatchForm) -> tuple[Input, ...]:
    names = [clean_filename(item.filename or "") for item in form.inputs]
    return tuple(
        Input(item.input_id, name, stem, max(item.size_bytes or 0, 0), "")
        for item, name, stem in zip(form.inputs, names, unique_stems(names), strict=True)
    )


def _wanted(options: dict[str, Any]) -> dict[str, Any]:
    """The options with the speaker counts, which may stand in two places; the controller's last word is the outer."""
    effective = options.get("diarizationEffective")
    inner = effective if isinstance(effective, dict) else {}
    # What the stock worker does, whatever the option says: each transcript has the times of its words
    always = {"wordTimestamps": True}
    counts = {name: inner[name] for name in SPEAKER_COUNTS if inner.get(name) is not None}
    outer = {name: value for name, value in options.items() if value is not None}
    return {**counts, **outer, **always}


def _bad(message: str, *, param: str | None = None) -> BtworkerError:
    return BtworkerError(ErrorCode.BAD_REQUEST, message, param=param)
