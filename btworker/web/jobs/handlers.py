"""The routes of jobs: list, look, cancel, delete, fetch what came out. Parent; the work is JobService's."""

import base64
import re
from unicodedata import normalize

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job, JobStatus, Output
from btworker.service.awaited import as_seen
from btworker.service.search import search_words
from btworker.web.context import Context, caller_of, context_of
from btworker.web.files import StoredFile, send_file
from btworker.web.schemas import CancelWire, JobListWire, JobWire, OutputListWire, Wire, job_wire, outputs_wire

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
QUERY = ("status", "limit", "cursor", "q")
_JOB_ID = re.compile(r"wk_[0-9a-f]{12,64}")
_PLAIN_NUMBER = re.compile(r"[0-9]{1,18}")


def to_wire(context: Context, job: Job) -> JobWire:
    """A job as of now."""
    service = context.service
    owner = service.keys.name_of(job.owner)
    return job_wire(as_seen(job, service.workers()), service.outlooks.of(job), owner=owner)


def json_answer(body: Wire, *, status: int = 200) -> web.Response:
    """A wire model as the answer."""
    return web.Response(status=status, text=body.to_json(), content_type="application/json")


def job_id_of(request: web.Request) -> str:
    """The id in the path; anything that cannot be one is NOT_FOUND before it reaches a table or a folder."""
    job_id = request.match_info["job_id"]
    if not _JOB_ID.fullmatch(job_id):
        raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such job")
    return job_id


async def list_jobs(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs?status=&limit=&cursor=&q="""
    context = context_of(request)
    if unknown := next((name for name in request.query if name not in QUERY), None):
        shown = ascii(unknown[:64])
        message = f"there is no parameter {shown}; there are {', '.join(QUERY)}"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param=shown)
    page = await context.service.page(
        status=_status(request.query.get("status")),
        limit=plain_number(request.query.get("limit"), "limit", default=DEFAULT_LIMIT, least=1, most=MAX_LIMIT),
        cursor=_cursor(request.query.get("cursor")),
        owner=caller_of(request).view,
        words=search_words(query) if (query := request.query.get("q", "")) else (),
    )
    following = None if page.cursor is None else make_cursor(page.cursor)
    return json_answer(JobListWire(jobs=tuple(to_wire(context, job) for job in page.jobs), next_cursor=following))


async def get_job(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}"""
    context = context_of(request)
    return json_answer(to_wire(context, await context.service.get(job_id_of(request))))


async def cancel_job(request: web.Request) -> web.StreamResponse:
    """POST /v1/jobs/{id}/cancel: idempotent; a finished job stays as it is."""
    await context_of(request).service.cancel(job_id_of(request), "canceled by the client")
    return json_answer(CancelWire())


async def delete_job(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/jobs/{id}: 204; CONFLICT while it waits or runs."""
    await context_of(request).service.delete(job_id_of(request))
    return web.Response(status=204)


async def list_outputs(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/outputs"""
    job = await context_of(request).service.get(job_id_of(request))
    return json_answer(OutputListWire(outputs=outputs_wire(job)))


async def get_output(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/outputs/{name}: only names that the job lists, whatever lies in its folder."""
    context = context_of(request)
    job = await context.service.get(job_id_of(request))
    output = _find(job, request.match_info["name"])
    path = context.data.folder(job.id).outputs / output.filename
    try:
        return await send_file(request, context.data, StoredFile(path, output.filename, output.sha256))
    except FileNotFoundError:
        raise BtworkerError(ErrorCode.NOT_FOUND, "the file was deleted") from None


def _find(job: Job, name: str) -> Output:
    for output in job.outputs:
        if normalize("NFC", output.filename) == normalize("NFC", name) and "/" not in name and name not in (".", ".."):
            return output
    raise BtworkerError(ErrorCode.NOT_FOUND, "the job has no such output")


def _status(raw: str | None) -> JobStatus | None:
    if not raw:
        return None
    try:
        return JobStatus(raw)
    except ValueError:
        names = ", ".join(status.value for status in JobStatus)
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"status must be one of {names}", param="status") from None


def plain_number(raw: str | None, name: str, *, default: int, least: int = 0, most: int) -> int:
    """A parameter that is a whole number. Raises BAD_REQUEST."""
    if not raw:
        return default
    if not _PLAIN_NUMBER.fullmatch(raw) or not least <= int(raw) <= most:
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"{name} must be a whole number from {least} to {most}", param=name)
    return int(raw)


def make_cursor(place: int) -> str:
    """An opaque name for the place where the next page begins."""
    return base64.urlsafe_b64encode(b"j%d" % place).decode().rstrip("=")


def _cursor(raw: str | None) -> int | None:
    if not raw:
        return None
    try:
        plain = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        plain = ""
    if not plain.startswith("j") or not _PLAIN_NUMBER.fullmatch(plain[1:]):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "cursor must be a nextCursor of an earlier page", param="cursor")
    return int(plain[1:])
