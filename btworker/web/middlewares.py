"""What every request passes: an id, errors as JSON, and an early answer that closes the connection.

Runs in the parent, around access.py and every handler of routes.py. The only place where an error's code becomes an
HTTP status.
"""

import errno
import json
import random
import re
import sqlite3
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import hdrs, web

from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger
from btworker.store import is_disk_trouble
from btworker.web.context import IS_WAITING, REQUEST_ID, ROUTE_PATTERN, WIRE
from btworker.web.drain import DRAINS
from btworker.web.fallback import CANONICAL
from btworker.web.refusal import Refusal

log = get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTTP_STATUS = {code: code.status for code in ErrorCode if code.status is not None}
"""Errors that can be the answer to a request; the others are failures of a job."""

_CODE_OF_STATUS = {
    401: ErrorCode.UNAUTHORIZED,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    411: ErrorCode.LENGTH_REQUIRED,
    413: ErrorCode.FILE_TOO_LARGE,
    415: ErrorCode.UNSUPPORTED_MEDIA,
    416: ErrorCode.RANGE_NOT_SATISFIABLE,
}
RETRY_AFTER_S = {429: 30, 503: 15}
GROQ = "/openai"
"""Groq's clients write this before /v1, which OpenAI's have in their base URL; the routes are the same."""
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def error_response(
    code: ErrorCode,
    message: str,
    *,
    param: str | None = None,
    status: int | None = None,
    more: Mapping[str, object] | None = None,
) -> web.Response:
    """The one shape of every error; `more` stands beside it in the JSON object."""
    number = HTTP_STATUS[code] if status is None else status
    refusal: Refusal = {"error": {"code": code, "message": message, "type": _type_of(number), "param": param}}
    response = web.Response(
        status=number, text=json.dumps({**(more or {}), **refusal}), content_type="application/json"
    )
    if number in RETRY_AFTER_S:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[number])
    if number == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _type_of(status: int) -> str:
    names = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return names.get(status, "server_error" if status >= 500 else "invalid_request_error")


def request_id_of(request: web.BaseRequest) -> str:
    """The client's id where it is sane, else a new one; the same for the whole request."""
    known = request.get(REQUEST_ID)
    if known is None:
        offered = request.headers.get("X-Request-Id", "")
        known = request[REQUEST_ID] = offered if _SANE_ID.fullmatch(offered) else _new_id()
    return known


def _new_id() -> str:
    """No secret, so that none has to be fetched from the kernel."""
    return f"{random.getrandbits(64):016x}"


async def add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """on_response_prepare: the request's id, no version of anything, and nothing for a browser to guess. Behind a 102
    the connection is closed: a proxy that passes all of it on, without a look, knows the end by that alone."""
    response.headers["X-Request-Id"] = request_id_of(request)
    response.headers["Server"] = "btworker"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    if request.get(IS_WAITING, False):
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"


@web.middleware
async def close_after_early_answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Where the body was not read: answer, read and drop the rest so that the client sees the answer, and close.

    The rest of such a body is never looked at as a next request.
    """
    request[ROUTE_PATTERN] = _find_pattern(request)
    try:
        response = await handler(request)
        if WIRE in request or not request.content.is_eof():
            response.force_close()
            await response.prepare(request)
            await response.write_eof()
            await request.app[DRAINS].drain(request)
    finally:
        if WIRE in request:
            request[WIRE].close()
    return response


@web.middleware
async def errors_to_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every exception becomes an answer in the one shape; an unexpected one is logged and says nothing of itself."""
    structlog.contextvars.bind_contextvars(requestId=request_id_of(request))
    try:
        return await handler(request)
    except Exception as error:
        if request.writer.output_size > 0:
            raise  # an answer has begun and cannot become another one: connection.py closes
        return _answer_to(error, request)


def _answer_to(error: Exception, request: web.Request) -> web.Response:
    match error:
        case BtworkerError():
            response = error_response(error.code, error.message, param=error.param)
            if error.retry_after_s is not None:
                response.headers["Retry-After"] = str(error.retry_after_s)
            return response
        case web.HTTPException():
            return _from_aiohttp(error)
        case ConnectionError() | web.RequestPayloadError():
            return error_response(ErrorCode.BAD_REQUEST, "the request ended early or is not valid HTTP")
    if is_full_disk(error):
        log.warning("disk_full", exc_info=error)
        return error_response(ErrorCode.DISK_FULL, "the worker's disk is full; try again once there is room")
    if is_disk_trouble(error):
        log.error("store_failed", exc_info=error)
        return error_response(ErrorCode.NOT_READY, "the worker's job table cannot be written; try again later")
    log.error("request_failed", method=request.method, route=route_pattern(request), exc_info=error)
    return error_response(ErrorCode.INTERNAL, "something went wrong in the worker; its log has the details")


def _from_aiohttp(error: web.HTTPException) -> web.Response:
    fallback = ErrorCode.INTERNAL if error.status >= 500 else ErrorCode.BAD_REQUEST
    code = _CODE_OF_STATUS.get(error.status, fallback)
    allowed = error.headers.get("Allow")
    hint = f"; this address takes {allowed.replace(',', ', ')}" if allowed else ""
    response = error_response(code, error.reason.lower() + hint, status=error.status)
    if allowed:
        response.headers["Allow"] = allowed
    return response


def is_full_disk(error: BaseException) -> bool:
    """The disk, or the user's share of it, has no room left."""
    if isinstance(error, OSError):
        return error.errno in _FULL_DISK
    return isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error)


def route_pattern(request: web.BaseRequest) -> str:
    """The pattern of the route, for labels and logs; "other" for a path that is none of ours."""
    pattern: str = request.get(ROUTE_PATTERN, "other")
    return pattern


def _find_pattern(request: web.Request) -> str:
    resource = request.match_info.route.resource
    if resource is None or resource.canonical == CANONICAL:
        return "other"
    return resource.canonical.removeprefix(GROQ)
