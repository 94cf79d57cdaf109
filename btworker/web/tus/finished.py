"""Finished resumable uploads become jobs: their bytes get a second name, and not one is copied. Parent."""

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Job, JobId, new_job_id
from btworker.keys import Caller
from btworker.service import NewJob
from btworker.service.resumable_files import Resumable
from btworker.service.unbroken import unbroken
from btworker.stems import unique_stems
from btworker.web.context import Context
from btworker.web.filenames import clean_filename
from btworker.web.jobs import admission
from btworker.web.option_fields import JSON_FIELD, SOURCE, Fields, url_option
from btworker.web.options import parse_options
from btworker.web.parts import decoded
from btworker.web.stores import delivery_of
from btworker.web.tus.voices import SpeakerVoices, complete_upload, named_uploads


@dataclass(frozen=True, slots=True)
class Asked:
    """Who makes a job of uploads, and under which Idempotency-Key."""

    caller: Caller
    request_id: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the worker reads of Upload-Metadata."""

    filename: str
    submit: str | None
    """Options as JSON text: the upload becomes a job by itself."""


def read_metadata(raw: str) -> Metadata:
    """Upload-Metadata: keys and base64 values. Raises BAD_REQUEST."""
    values: dict[str, bytes] = {}
    try:
        for pair in filter(None, (part.strip() for part in raw.split(","))):
            key, _, encoded = pair.partition(" ")
            values[key] = base64.b64decode(encoded.strip(), validate=True)
        submit = values["submit"].decode("utf-8") if "submit" in values else None
    except (binascii.Error, UnicodeDecodeError):
        message = "Upload-Metadata must be keys, each with a space and the base64 of UTF-8"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="Upload-Metadata") from None
    return Metadata(clean_filename(decoded(values.get("filename") or values.get("name") or b"")), submit)


def check_metadata(raw: str, context: Context, owner: str) -> tuple[int, tuple[str, ...]]:
    """Judge the options of a job to be, before a byte of it comes; the number of channels to expect of its sound, and
    the uploads that it takes along. Raises BAD_REQUEST, BAD_OPTION, NOT_FOUND, CONFLICT, GONE."""
    metadata = read_metadata(raw)
    if metadata.submit is None:
        return 1, ()
    fields = _fields(metadata.submit)
    options, voices = parse_options(fields, context.settings), SpeakerVoices(context, fields, _only(owner))
    voices.check(options, owner)
    return options.expected_channels, tuple(one.id for one in voices.uploads)


def _only(owner: str) -> Caller:
    """Whoever finishes an upload acts for its owner, and may do no more."""
    return Caller(owner, "", frozenset())


async def submit(context: Context, record: Resumable, *, request_id: str) -> str | None:
    """The job of a complete upload that is to become one by itself; None for others. Raises what submitting does."""
    wanted = read_metadata(record.metadata).submit
    if wanted is None:
        return None
    asked = Asked(_only(record.owner), request_id, f"tus:{record.id}")
    return await unbroken(_submit_one(context, record, _fields(wanted), asked), name=f"submit-{record.id}")


async def _submit_one(context: Context, record: Resumable, options: Fields, asked: Asked) -> str:
    uploads, used = context.resumable, [record.id, *record.needs]
    async with uploads.held(used):
        job, created = await _submitted(context, [record.id], options, asked)
        if not created:  # perhaps a crash came between the job and the notes of it
            for upload_id in used:
                with suppress(BtworkerError):  # it is gone
                    if (one := uploads.get(upload_id)).job_id is None:
                        await uploads.became(one, job.id)
    return job.id


async def submit_all(context: Context, upload_ids: Sequence[str], options: Fields, asked: Asked) -> tuple[Job, bool]:
    """A job whose inputs are these uploads, and whether it is new. Raises BAD_OPTION, NOT_FOUND, CONFLICT, EMPTY_FILE
    and what JobService.submit raises; the uploads are then as they were.
    """
    return await unbroken(_submit_held(context, upload_ids, options, asked), name=f"submit-{asked.request_id}")


async def _submit_held(context: Context, upload_ids: Sequence[str], options: Fields, asked: Asked) -> tuple[Job, bool]:
    async with context.resumable.held([*upload_ids, *named_uploads(options)]):
        return await _submitted(context, upload_ids, options, asked)


async def _submitted(context: Context, upload_ids: Sequence[str], options: Fields, asked: Asked) -> tuple[Job, bool]:
    service, owner = context.service, asked.caller.owner
    if asked.key is not None and (known := await service.by_key(asked.key, owner)) is not None:
        return known, False
    records = [complete_upload(context, upload_id, asked.caller) for upload_id in upload_ids]
    parsed, voices = parse_options(options, context.settings), SpeakerVoices(context, options, asked.caller)
    if url_option(options, SOURCE) is not None:
        raise BtworkerError(ErrorCode.BAD_OPTION, "send an upload or a url, not both", param=SOURCE)
    delivery = delivery_of(options, context, owner)
    sizes = [record.length or 0 for record in records]
    largest_bytes = max(sizes) * parsed.expected_channels
    await admission.check_elsewhere(context, owner, largest_bytes=largest_bytes, all_bytes=sum(sizes))
    job_id = new_job_id()
    accepted = False
    try:
        inputs = await _lent(context, records, job_id)
        parsed = await voices.known(parsed, job_id, inputs, owner=owner)
        new = NewJob(
            job_id,
            parsed,
            inputs,
            idempotency_key=asked.key,
            request_id=asked.request_id,
            delivery=delivery,
            owner=owner,
        )
        job, created = await service.submit(new)
        accepted = job.id == job_id
    finally:
        if not accepted:
            await context.data.run(context.data.remove, job_id)
    for record in [*records, *voices.uploads]:
        await context.resumable.became(record, job.id)
    return job, created


async def _lent(context: Context, records: list[Resumable], job_id: JobId) -> tuple[Input, ...]:
    """The uploads under their names in the new job's folder, durable."""
    data, uploads = context.data, context.resumable
    names = [read_metadata(record.metadata).filename for record in records]
    folder = await data.run(data.create, job_id)
    inputs = []
    for number, (record, name, stem) in enumerate(zip(records, names, unique_stems(names), strict=True)):
        await uploads.lend(record, folder.input(number))
        inputs.append(Input(str(number), name, stem, record.length or 0, await uploads.sha256(record)))
    for path in (folder.inputs, folder.path, folder.path.parent):
        await data.run(sync_folder, path)
    return tuple(inputs)


def _fields(options: str) -> list[tuple[str, str]]:
    return [(JSON_FIELD, options)]
