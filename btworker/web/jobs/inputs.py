"""POST /v1/jobs with JSON and without a controller: inputs that lie elsewhere, at addresses or in buckets.
Parent.

Strict, as an upload is: what cannot be followed is refused with a sentence. Fetching:
service/downloads.py.
"""

import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Job, JobId, Options, new_job_id
from btworker.locations import Source
from btworker.service import NewJob
from btworker.service.unbroken import unbroken
from btworker.stems import unique_stems
from btworker.web.context import Context, caller_of, context_of
from btworker.web.filenames import clean_filename, name_in_source
from btworker.web.jobs.admission import check_elsewhere, idempotency_key
from btworker.web.middlewares import request_id_of
from btworker.web.mistakes import first_mistake
from btworker.web.option_fields import JSON_FIELD, OUTPUTS_TO, SOURCE, Fields, url_option
from btworker.web.options import parse_options
from btworker.web.stores import ObjectForm, TargetForm, check_readable, delivery_of
from btworker.web.tus.voices import OF_VOICES, SpeakerVoices, named_uploads

CONTROLLERS_OWN = frozenset({"controllerJobId", "outputsUploadUrl"})
"""Fields that only a controller's job has."""
_STRICT: ConfigDict = {"extra": "forbid", "frozen": True}
SHAPE = 'send {"inputs": [{"url": "https://…"} or {"s3": {"store": …, "bucket": …, "key": …}}, …], "options": {…}}'


class ElsewhereForm(BaseModel):
    """One input: by its address, or by its place in a bucket."""

    model_config = _STRICT

    url: str | None = Field(None, min_length=1, description="http:// or https://, outside of the worker's network")
    s3: ObjectForm | None = None
    filename: str | None = Field(None, max_length=1024, description="what the file is called, if not as where it lies")

    def source(self) -> Source:
        """Where it lies."""
        return self.s3.record() if self.s3 is not None else self.url or ""


class InputsForm(BaseModel):
    """A job of inputs that lie elsewhere, by its wire names."""

    model_config = ConfigDict(**_STRICT, alias_generator=to_camel)

    inputs: tuple[ElsewhereForm, ...] = Field(min_length=1)
    options: dict[str, Any] | None = Field(None, description=OF_VOICES)
    outputs_to: TargetForm | None = None


def is_ours(raw: object) -> bool:
    """Whether a body names inputs, and is no controller's."""
    return isinstance(raw, dict) and "inputs" in raw and not CONTROLLERS_OWN & raw.keys()


async def submit(request: web.Request, raw: object) -> tuple[Job, bool]:
    """The job, and whether it is a new one. Raises BAD_REQUEST, BAD_OPTION, URL_REFUSED, FORBIDDEN, and what
    JobService.submit does."""
    context, form = context_of(request), _form(raw)
    fields = [*request.query.items(), (JSON_FIELD, json.dumps(form.options or {}))]
    if form.outputs_to is not None:
        fields.append((OUTPUTS_TO, form.outputs_to.model_dump_json()))
    return await unbroken(_submit_held(request, context, form, fields), name=f"submit-{request_id_of(request)}")


async def _submit_held(request: web.Request, context: Context, form: InputsForm, fields: Fields) -> tuple[Job, bool]:
    async with context.resumable.held(named_uploads(fields)):
        return await _submitted(request, context, form, fields)


async def _submitted(request: web.Request, context: Context, form: InputsForm, fields: Fields) -> tuple[Job, bool]:
    caller, key = caller_of(request), idempotency_key(request)
    if key is not None and (known := await context.service.by_key(key, caller.owner)) is not None:
        return known, False
    _check_inputs(form, context, caller.owner)
    options, voices = parse_options(fields, context.settings), SpeakerVoices(context, fields, caller)
    voices.check(options, caller.owner)
    if url_option(fields, SOURCE) is not None:
        raise BtworkerError(ErrorCode.BAD_OPTION, "send inputs or a url, not both", param=SOURCE)
    delivery = delivery_of(fields, context, caller.owner)
    await check_elsewhere(context, caller.owner)
    job_id, inputs = new_job_id(), _inputs(form.inputs)
    accepted = False
    try:
        new = NewJob(
            id=job_id,
            options=await _with_voices(context, job_id, options, inputs, voices, caller.owner),
            inputs=inputs,
            idempotency_key=key,
            request_id=request_id_of(request),
            sources=tuple(item.source() for item in form.inputs),
            delivery=delivery,
            owner=caller.owner,
        )
        job, created = await context.service.submit(new)
        accepted = job.id == job_id
    finally:
        if options.known_speakers and not accepted:
            await context.data.run(context.data.remove, job_id)
    for record in voices.uploads:
        await context.resumable.became(record, job.id)
    return job, created


def _form(raw: object) -> InputsForm:
    try:
        return InputsForm.model_validate(raw)
    except ValidationError as error:
        path, what = first_mistake(error)
        where = ".".join(path)
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"{where}: {what}; {SHAPE}", param=where[:100]) from None


def _check_inputs(form: InputsForm, context: Context, owner: str) -> None:
    most = context.settings.max_files_per_job
    if len(form.inputs) > most:
        message = f"a job has at most {most} inputs here (WORKER_MAX_FILES_PER_JOB)"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="inputs")
    for number, item in enumerate(form.inputs):
        where = f"inputs.{number}"
        if (item.url is None) == (item.s3 is None):
            message = f"{where}: name one of url and s3; {SHAPE}"
            raise BtworkerError(ErrorCode.BAD_REQUEST, message, param=where)
        if item.url is not None:
            context.guard.checked(item.url, what=f"{where}.url")
        if item.s3 is not None:
            check_readable(context, item.s3.record(), owner, what=f"{where}.s3")


def _inputs(given: Sequence[ElsewhereForm]) -> tuple[Input, ...]:
    names = [
        name_in_source(item.source()) if item.filename is None else clean_filename(item.filename) for item in given
    ]
    return tuple(
        Input(str(number), name, stem, 0, "")
        for number, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True))
    )


async def _with_voices(
    context: Context, job_id: JobId, options: Options, inputs: Sequence[Input], voices: SpeakerVoices, owner: str
) -> Options:
    """The options with voices, which lie durable in the job's folder. Raises BAD_OPTION."""
    if not options.known_speakers:
        return options
    data = context.data
    folder = await data.run(data.create, job_id)
    known = await voices.known(options, job_id, inputs, owner=owner)
    for path in (folder.inputs, folder.path, folder.path.parent):
        await data.run(sync_folder, path)
    return known
