"""Whether an upload may begin: everything that can be said before its body is read. Parent.

Size: the limit is per file and a body may hold several files, so a length alone is refused only where it is more than
max_file_bytes for every allowed file together; a part's own Content-Length, and the count while reading, do the rest.
"""

from aiohttp import hdrs, web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.receiving.received_file import too_large
from btworker.web.context import IS_INVITED, Context, caller_of
from btworker.web.interim import CONTINUE, send_interim
from btworker.web.parts import boundary_of

OVERHEAD_BYTES = 2**20
"""Bytes of a body beside its files that are always fine: boundaries, part headers, options."""
PART_OVERHEAD_BYTES = 16_384
SMALL_BYTES = 2**16
"""Bodies up to which the disk is looked at once they are there: they are read sooner than a look is awaited. Whoever
asks before the body is answered before."""
MAX_KEY_CHARS = 255
FORM = "multipart/form-data"
FreeBytes = tuple[int, int | None]
"""As DataFolder.free_for finds them."""


async def admit(request: web.Request, context: Context) -> Job | None:
    """None: read on. A job: this Idempotency-Key was seen, and that is the answer. Raises every early refusal."""
    check_expectation(request)
    check_content_type(request)
    key = idempotency_key(request)
    if key is not None and (known := await context.service.by_key(key, caller_of(request).owner)) is not None:
        return known
    owner, length = caller_of(request).owner, request.content_length or 0
    context.service.check_accepts(owner)
    check_length(request, context)
    await context.service.limits.check_quotas(owner, length)
    if length > SMALL_BYTES or request.content_length is None or hdrs.EXPECT in request.headers:
        largest_bytes = min(length, context.settings.max_file_bytes)
        await check_room(context, incoming_bytes=length, largest_bytes=largest_bytes, all_bytes=length)
    return None


async def check_elsewhere(context: Context, owner: str, *, largest_bytes: int = 0, all_bytes: int = 0) -> None:
    """The same for a job whose bytes do not come with its request; sizes as far as they are known. Raises QUEUE_FULL,
    DRAINING, QUOTA_EXCEEDED, DISK_FULL."""
    context.service.check_accepts(owner)
    await context.service.limits.check_quotas(owner, 0)
    await check_room(context, incoming_bytes=0, largest_bytes=largest_bytes, all_bytes=all_bytes)


def check_expectation(request: web.Request) -> None:
    """The only expectation that exists is 100-continue."""
    expected = request.headers.get(hdrs.EXPECT, "")
    if expected and expected.lower() != "100-continue":
        raise BtworkerError(ErrorCode.BAD_REQUEST, "the only Expect that is known here is 100-continue")


def check_content_type(request: web.Request) -> None:
    """multipart/form-data with a boundary and no Content-Encoding. Raises UNSUPPORTED_MEDIA, BAD_MULTIPART."""
    check_encoding(request)
    if media_type_of(request) != FORM:
        message = "send the files as multipart/form-data; POST /v1/jobs takes a job with URLs as JSON, too"
        raise BtworkerError(ErrorCode.UNSUPPORTED_MEDIA, message)
    boundary_of(request.headers[hdrs.CONTENT_TYPE])


def media_type_of(request: web.Request) -> str:
    """The type of the body without its parameters, in lower case; empty where the request does not say. aiohttp's own
    reads the header as an e-mail's, which takes a tenth of a small upload's time."""
    return request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()


def check_encoding(request: web.Request) -> None:
    """The bytes of a body are what they stand for. Raises UNSUPPORTED_MEDIA."""
    codings = request.headers.getall(hdrs.CONTENT_ENCODING, [])
    if any(coding.strip().lower() != "identity" for coding in codings):
        raise BtworkerError(ErrorCode.UNSUPPORTED_MEDIA, "send the body without a Content-Encoding")


def idempotency_key(request: web.Request) -> str | None:
    """The client's key for this submission. Raises BAD_REQUEST."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
        message = f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} printable ASCII characters"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="Idempotency-Key")
    return key


def check_length(request: web.Request, context: Context) -> None:
    """Raise FILE_TOO_LARGE where the body's length cannot fit the files that one job may have."""
    settings = context.settings
    limit = settings.max_files_per_job * (settings.max_file_bytes + PART_OVERHEAD_BYTES) + OVERHEAD_BYTES
    if (request.content_length or 0) > limit:
        raise too_large(settings)


async def check_room(context: Context, *, incoming_bytes: int, largest_bytes: int, all_bytes: int) -> None:
    """Look at the disk, then `judge_room`."""
    free = await context.data.run(context.data.free_for, context.settings.scratch_dir)
    judge_room(context, free, incoming_bytes=incoming_bytes, largest_bytes=largest_bytes, all_bytes=all_bytes)


def judge_room(context: Context, found: FreeBytes, *, incoming_bytes: int, largest_bytes: int, all_bytes: int) -> None:
    """Raise DISK_FULL when this upload, with the rest of those under way, would go below the disk's reserve, or could
    not be decoded, and kept for players, beside the jobs that were accepted before. `largest_bytes` is the size of its
    largest file, `all_bytes` that of all, wherever they are by now.
    """
    settings, (free, scratch_free) = context.settings, found
    decoded = context.service.room.decoding_bytes(largest_bytes)
    needed = incoming_bytes + context.budget.promised_bytes + context.service.room.rendition_bytes(all_bytes)
    needed += decoded if scratch_free is None else 0
    if free - needed < settings.disk_reserve_bytes or (scratch_free is not None and scratch_free < decoded):
        message = "the worker's disk has no room for this upload and the sound that is in it; try again later"
        raise BtworkerError(ErrorCode.DISK_FULL, message)


async def invite_body(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, now that nothing speaks against the body."""
    if request.headers.get(hdrs.EXPECT):
        await send_interim(request, CONTINUE)
        request[IS_INVITED] = True


async def defer_continue(_request: web.Request) -> None:
    """Expect handler of every route: says nothing, since aiohttp calls it before token and size were looked at."""
