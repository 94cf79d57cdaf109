"""What became of a job that an OpenAI client waits for: its transcript, or a refusal that it understands. Parent."""

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job, JobStatus
from btworker.outputs import read_json
from btworker.transcript import Transcript
from btworker.web.context import Context
from btworker.web.middlewares import error_response

T = TypeVar("T")
CLIENTS_FAULT = frozenset({ErrorCode.BAD_OPTION, ErrorCode.NO_AUDIO, ErrorCode.CORRUPT_AUDIO, ErrorCode.AUDIO_TOO_LONG})
STATUS = {**dict.fromkeys((*CLIENTS_FAULT, ErrorCode.DOWNLOAD_FAILED), 400), ErrorCode.CANCELED: 409}
"""Of failures of a job that are no refusals elsewhere; 500 for others. A recording that cannot be fetched is for its
sender to put right, as OpenAI and Groq have it."""
OF_URL = frozenset({ErrorCode.DOWNLOAD_FAILED, ErrorCode.URL_REFUSED})


def refusal(job: Job) -> web.Response | None:
    """A job that did not become complete, as OpenAI's clients understand it: whether trying again can help."""
    if job.status is JobStatus.COMPLETE:
        return None
    code = ErrorCode.INTERNAL if job.error is None else job.error.code
    message = "the job ended without a result" if job.error is None else job.error.message
    status = STATUS.get(code, code.status or 500)
    response = error_response(code, message, status=status, param="url" if code in OF_URL else None)
    response.headers["x-should-retry"] = "true" if job.error is not None and job.error.retryable else "false"
    return response


async def from_transcript(context: Context, job: Job, make: Callable[[Transcript], T]) -> T:
    """What `make` makes of the job's transcript, in a thread: that of a day has hundreds of thousands of words."""
    path = context.data.folder(job.id).transcript(0)
    try:
        return await context.data.run(lambda: make(read_json(path)))
    except FileNotFoundError:
        raise BtworkerError(ErrorCode.NOT_FOUND, "the result of this job was deleted") from None
