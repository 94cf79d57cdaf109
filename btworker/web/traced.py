"""What of the requests is traced: whatever changes something, and whatever its caller traces. Parent.

Middleware around all others but the first; service/traces.py says what follows from a traced request.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from btworker.metrics import METHODS
from btworker.service.traces import TRACEPARENT
from btworker.web.middlewares import Handler, route_pattern

if TYPE_CHECKING:
    from btworker.service.spans import Spans


def traced(spans: "Spans") -> Callable[..., Awaitable[web.StreamResponse]]:
    """Middleware: a span for a request, by its route."""

    @web.middleware
    async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in ("GET", "HEAD") and "traceparent" not in request.headers:
            return await handler(request)
        method = request.method if request.method in METHODS else "other"
        with spans.request(method, route_pattern(request), request.headers) as traced_request:
            token = TRACEPARENT.set(traced_request.traceparent)
            try:
                response = await handler(request)
            finally:
                TRACEPARENT.reset(token)
            traced_request.status = response.status
            return response

    return trace
