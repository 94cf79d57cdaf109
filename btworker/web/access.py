"""Who may use which route: the words of the table in routes.py, and the middleware that holds requests to them.

    token --> service/keys.py: the caller --> the route's scopes --> the owner of what its path names --> handler

Runs in the parent, before every handler. What is another key's is answered as what is not there, in the same words.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import Caller, Scope
from btworker.service.keys import NO_TOKEN, Keys
from btworker.tickets import PARAMETER
from btworker.web.context import CALLER, HAS_TOKEN, context_of
from btworker.web.jobs.handlers import job_id_of
from btworker.web.middlewares import Handler
from btworker.web.strangers import STRANGERS


class Door(Enum):
    """When a route needs no token."""

    CLOSED = "never"
    OPEN = "always"
    PING = "with WORKER_PING_PUBLIC"
    METRICS = "unless WORKER_METRICS_PUBLIC=false"

    def is_open(self, settings: Settings) -> bool:
        """Whether it is open under these settings."""
        opens = {Door.OPEN: True, Door.PING: settings.ping_public, Door.METRICS: settings.metrics_public}
        return opens.get(self, False)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use a route."""

    scopes: frozenset[Scope] = frozenset()
    """What the key has to be good for, all of it; empty: any key will do."""
    door: Door = Door.CLOSED
    tickets: bool = False
    """Whether a ticket for the path will do as well."""
    audited: bool = False
    """Whether the audit log has a line for each request."""


OPEN = Access(door=Door.OPEN)
ANY_KEY = Access()
PING = Access(door=Door.PING)
METRICS = Access(frozenset({Scope.METRICS}), Door.METRICS)
SUBMIT = Access(frozenset({Scope.SUBMIT}), audited=True)
"""Whatever makes or changes something: a job, an upload, a voice."""
LOOK = Access(frozenset({Scope.SUBMIT}))
"""How far an upload is: asked again and again."""
READ = Access(frozenset({Scope.READ_OWN}))
READ_TEXT = Access(frozenset({Scope.READ_OWN}), audited=True)
"""What was found in a recording, or the recording itself."""
READ_OR_TICKET = Access(frozenset({Scope.READ_OWN}), tickets=True)
SUBMIT_AND_READ = Access(frozenset({Scope.SUBMIT, Scope.READ_OWN}), audited=True)
"""A submission whose answer is the transcript."""
ADMIN = Access(frozenset({Scope.ADMIN}), audited=True)

Accesses = Mapping[web.AbstractRoute, Access]


def guard(keys: Keys, accesses: Accesses, settings: Settings) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Middleware: who may pass. A route that is not among `accesses` is the admin's."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        token = _token(request)
        caller = None if token is None else keys.identify(token)
        request[HAS_TOKEN] = caller is not None
        if caller is not None:
            request[CALLER] = caller
            request.app[STRANGERS].remove(request.protocol)
        access = accesses.get(request.match_info.route, ADMIN)
        has_ticket = caller is None and access.tickets and _has_ticket(request, keys)
        if has_ticket:
            request.app[STRANGERS].remove(request.protocol)
        elif not access.door.is_open(settings):
            if caller is None:
                raise BtworkerError(ErrorCode.UNAUTHORIZED, NO_TOKEN if token is None else keys.why_refused(token))
            context_of(request).service.limits.take_request(caller.owner)
            _check_scopes(caller, access)
            if access.scopes:
                await _check_owner(request, caller, changes=Scope.SUBMIT in access.scopes)
        return await handler(request)

    return check


def _has_ticket(request: web.Request, keys: Keys) -> bool:
    """Whether a ticket came along that is good for this path, and whose key is still good. Raises UNAUTHORIZED."""
    offered = request.query.getall(PARAMETER, [])
    if not offered:
        return False
    holder = context_of(request).tickets.holder(offered[0], request.path) if len(offered) == 1 else None
    if holder is None or not keys.is_good(holder):
        raise BtworkerError(ErrorCode.UNAUTHORIZED, "the ticket has expired, or is for something else: get a new one")
    return True


def _token(request: web.Request) -> bytes | None:
    """The bytes of the bearer token; None where there is none, or more than one."""
    headers = request.headers.getall("Authorization", [])
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return token.strip(" ").encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else None


def _check_scopes(caller: Caller, access: Access) -> None:
    missing = sorted(scope.value for scope in access.scopes - caller.scopes)
    if missing:
        message = f"the key {caller.name!r} is not good for this: it lacks the scope {' and '.join(missing)}"
        raise BtworkerError(ErrorCode.FORBIDDEN, message)


async def _check_owner(request: web.Request, caller: Caller, *, changes: bool) -> None:
    """Hold the path's id to the caller. Raises NOT_FOUND, and FORBIDDEN for what may be seen but not changed."""
    if Scope.ADMIN in caller.scopes:
        return
    found = await _owner(request)
    if found is None:
        return
    owner, kind = found
    if owner is None or not (caller.may_see(owner) or caller.may_change(owner)):
        raise BtworkerError(ErrorCode.NOT_FOUND, f"there is no such {kind}")
    if changes and not caller.may_change(owner):
        raise BtworkerError(ErrorCode.FORBIDDEN, f"the {kind} is another key's: it may be looked at, and not changed")


async def _owner(request: web.Request) -> tuple[str | None, str] | None:
    """Whose the job, upload or voice is that the path names, and its kind; the owner is None where there is none."""
    context, names = context_of(request), request.match_info
    if "job_id" in names:
        return (await context.service.get(job_id_of(request))).owner, "job"
    if "upload_id" in names:
        return context.resumable.owner_of(names["upload_id"]), "upload"
    if "voice_id" in names:
        return context.voices.owner_of(names["voice_id"]), "voice"
    return None
