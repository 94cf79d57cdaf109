"""What of the requests goes into the audit log: whatever changes something, and whatever fetches what was found.

Middleware around access.py, which says who it was: refusals are lines as well, once the caller is known. Parent.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from btworker.errors import BtworkerError
from btworker.service.audit import AuditLog
from btworker.web.context import CALLER, TOUCHED
from btworker.web.middlewares import Handler, request_id_of

KINDS = {"wk": "job", "up": "upload", "vo": "voice"}
_ID = re.compile(r"(wk|up|vo)_[0-9a-f]{12,64}")


def audited(log: AuditLog, names: Mapping[web.AbstractRoute, str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Middleware: a line for each request to one of these routes, by the name of its operation."""

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = names.get(request.match_info.route)
        if name is None:
            return await handler(request)
        outcome: int | str = "INTERNAL"
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
            outcome = response.status
            return response
        except BtworkerError as error:
            outcome = error.code.value
            raise
        except web.HTTPException as error:
            outcome = error.status
            raise
        except (asyncio.CancelledError, ConnectionError):
            outcome = "ABORTED"
            raise
        finally:
            if (caller := request.get(CALLER)) is not None and not _is_a_piece(response):
                about = {**_ids(request, response), "requestId": request_id_of(request)}
                log.note(name, key=caller.name, key_id=caller.owner, outcome=outcome, about=about)

    return note


def _is_a_piece(response: web.StreamResponse | None) -> bool:
    """One of the thousands of an upload, which began nothing and ended nothing."""
    if response is None or "Upload-Offset" not in response.headers:
        return False
    return "Location" not in response.headers and "Btworker-Job" not in response.headers


def _ids(request: web.Request, response: web.StreamResponse | None) -> dict[str, str]:
    """The job, upload or voice that the path names, or that came of the request; only what is an id of ours."""
    named = [request.match_info.get(name, "") for name in ("job_id", "upload_id", "voice_id")]
    made = [] if response is None else [response.headers.get("Location", "").rpartition("/")[2]]
    made += [] if response is None else [response.headers.get("Btworker-Job", "")]
    found = (_ID.fullmatch(one) for one in (*named, *made, request.get(TOUCHED, "")))
    return {KINDS[one[1]]: one[0] for one in found if one is not None}
