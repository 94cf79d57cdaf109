"""POST /v1/jobs: a job of an upload (uploads.py) or of a JSON document (json_jobs.py), and its answer. Parent.

admission.py says no before the body is read.
"""

import asyncio

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.web.context import TOUCHED, Context, context_of
from btworker.web.jobs import admission, json_jobs
from btworker.web.jobs.form import PLAIN, Form
from btworker.web.jobs.handlers import json_answer, to_wire
from btworker.web.jobs.uploads import Upload


async def create_job(request: web.Request) -> web.StreamResponse:
    """Handler: 201 with the new job, or 200 with the one that this Idempotency-Key made before."""
    context = context_of(request)
    if json_jobs.is_json(request):
        return _answer(context, *await json_jobs.create(request))
    return _answer(context, *await accept(request, context, PLAIN))


async def accept(request: web.Request, context: Context, form: Form) -> tuple[Job, bool]:
    """The job of an upload, and whether it is a new one. Raises what the upload's refusals are."""
    outcome = "failed"
    try:
        job = await admission.admit(request, context)
        created = False
        if job is None:
            job, created = await _receive(request, context, form)
        outcome, request[TOUCHED] = "accepted" if created else "known", job.id
    except BtworkerError as error:
        outcome = _outcome(error, request)
        raise
    except (asyncio.CancelledError, ConnectionError):
        outcome = "aborted"
        raise
    finally:
        context.metrics.upload_done(outcome)
    return job, created


def _answer(context: Context, job: Job, created: bool) -> web.Response:  # noqa: FBT001 - as submit gives it
    response = json_answer(to_wire(context, job), status=201 if created else 200)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _outcome(error: BtworkerError, request: web.Request) -> str:
    if request.transport is None or error.code is ErrorCode.IDLE_TIMEOUT:
        return "aborted"
    return "failed" if error.code in (ErrorCode.DISK_FULL, ErrorCode.INTERNAL) else "refused"


async def _receive(request: web.Request, context: Context, form: Form) -> tuple[Job, bool]:
    await admission.invite_body(request)
    upload = Upload(request, context, form)
    with context.metrics.upload():
        try:
            await upload.read()
            return await upload.submit()
        finally:
            await upload.close()
