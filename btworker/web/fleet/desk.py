"""What the handlers of the fleet's listener work with, and who may pass: by a ticket for the path's attempt. Parent."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import TICKET, NotYetError
from btworker.fleet.leases import ATTEMPTS, HELPS, PREFETCHES, Leases
from btworker.fleet.object_store import FleetStore
from btworker.fleet.sharing import Sharing
from btworker.job_folder import JobFolder
from btworker.jobs import JobId
from btworker.receiving.wire import Receivers
from btworker.storage import DataFolder
from btworker.web.body import Body
from btworker.web.context import HAS_TOKEN
from btworker.web.middlewares import Handler
from btworker.web.strangers import STRANGERS

MOST_HELD_BYTES = 4 * 2**20
"""Of a piece of windows, or a list of results, which are held in memory: a thousand windows at once."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the handlers work with."""

    leases: Leases
    data: DataFolder
    settings: Settings
    sharing: Sharing
    store: FleetStore | None = None
    """What large files go through; None: this listener."""
    receivers: Receivers = field(default_factory=lambda: Receivers(threads=0, least_bytes=0))
    """None: what boxes send is small beside what clients do."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt, or the prefetch or help for one, that a request's path names, with its job's folder."""

    job_id: JobId
    number: int
    folder: JobFolder
    kind: str = ATTEMPTS
    attempt: int = 0
    """The attempt's own number."""

    def may_read(self, name: str) -> bool:
        """Whether this is a file that its box needs."""
        if self.kind == HELPS:
            return files.is_lent(name)
        if self.kind == PREFETCHES:
            return files.is_input(name)
        return files.is_readable(name) or files.is_decoded(name)


DESK = web.AppKey("desk", Desk)
ATTEMPT = web.RequestKey("attempt", Attempt)


@web.middleware
async def fenced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let pass who has a ticket for the attempt of the path; each answer brings a new one."""
    if request.match_info.http_exception is not None:
        return await handler(request)
    attempt = request[ATTEMPT] = _checked(request)
    request[HAS_TOKEN] = True
    request.app[STRANGERS].remove(request.protocol)
    try:
        response = await handler(request)
    except NotYetError:
        response = web.Response(status=202)
    if not response.prepared:
        response.headers[TICKET] = request.app[DESK].leases.ticket(attempt.job_id, attempt.number, attempt.kind)
    return response


def _checked(request: web.Request) -> Attempt:
    """Raises UNAUTHORIZED, GONE."""
    desk = request.app[DESK]
    job_id, number, kind = (
        JobId(request.match_info["job_id"]),
        int(request.match_info["number"]),
        request.match_info["kind"],
    )
    scheme, _, ticket = request.headers.get("Authorization", "").partition(" ")
    desk.leases.check(job_id, number, ticket if scheme == "Bearer" else "", kind)
    return Attempt(job_id, number, desk.data.folder(job_id), kind, desk.leases.attempt_of(number, kind))


async def small_body(request: web.Request) -> bytes:
    """A body that is held in memory. Raises FILE_TOO_LARGE, IDLE_TIMEOUT."""
    desk = request.app[DESK]
    body = Body(request, desk.settings, desk.receivers)
    try:
        return await body.read_all(most_bytes=MOST_HELD_BYTES, too_long=too_large())
    finally:
        body.close()


def too_large() -> BtworkerError:
    """The refusal of what would be held in memory."""
    return BtworkerError(ErrorCode.FILE_TOO_LARGE, f"at most {MOST_HELD_BYTES} bytes are taken here at once")


def named_file(request: web.Request, allowed: Callable[[str], bool]) -> str:
    """The file that the path names. Raises NOT_FOUND for one that is none of a job's."""
    name = request.match_info["name"]
    if not allowed(name):
        raise no_file()
    return name


def no_file() -> BtworkerError:
    return BtworkerError(ErrorCode.NOT_FOUND, "there is no such file")
