"""One client connection as we want it: a deadline for headers, our own log line, errors of the parser as JSON.

Parent. aiohttp has no header deadline of its own, but its keep-alive timer closes a connection on which no complete
request has arrived since the connection, or the answer before, began; set to our deadline, it is one.
"""

import asyncio
import os
import socket
from typing import Any

from aiohttp import web

from btworker.config import Settings
from btworker.errors import ErrorCode
from btworker.logs import get_logger
from btworker.metrics import Metrics
from btworker.receiving.wire import Wire
from btworker.web.context import CALLER
from btworker.web.drain import LAST_BYTES, LAST_S
from btworker.web.middlewares import error_response, request_id_of, route_pattern
from btworker.web.strangers import Strangers

log = get_logger()
PROBES = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds by machines: logged at debug level only."""
MAX_HEADER_BYTES = 40_960
"""Of one header: Upload-Metadata may hold options with a long prompt (web/tus/handlers.py)."""
MAX_HEADERS = 64
"""Clients and proxies send half as many at most; together with the limit above they bound what a stranger can hold."""
PAGE = "/docs"
PAGES = frozenset({"/", PAGE, "/docs/{name}", "/openapi.json"})
"""Read by people, now and then: one route to the metrics."""


class Connection(web.RequestHandler):
    """aiohttp's protocol with our settings. No lingering of its own: middlewares.py reads a bounded rest itself. Where
    there are no `metrics`, as for a fleet's boxes, requests are neither counted nor logged."""

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        strangers: Strangers,
        metrics: Metrics | None,
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=settings.header_timeout_s,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=0,
            auto_decompress=False,
        )
        self._logging_enabled = (
            metrics is not None
        )  # so that requests are timed, whatever the level of aiohttp's own logger
        self._metrics = metrics
        self._strangers = strangers
        self._body: Wire | None = None
        """Who reads the rest of the request's body in our place."""
        self._is_refused = False
        """The parser has refused what came: nothing of it, nor behind it, is a request."""
        self._unwanted: asyncio.Future[None] | None = None
        """Done once enough of what is dropped has come, or no more will."""
        self._unwanted_bytes = 0
        self._last_transport: asyncio.Transport | None = None
        """The transport, also while it is closing: aiohttp forgets it then, with bytes that nobody has read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: a stranger until a token is seen."""
        super().connection_made(transport)
        self._last_transport = self.transport
        self._strangers.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Its last byte was taken, or never will be."""
        self._last_transport = None
        if self._body is not None:
            self._body.stop()
        self._end_dropping()
        self._strangers.remove(self)
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """The server stops: a handler has `timeout` seconds.

        aiohttp ends what reads a body from its own parser after them, and any other handler only after as long again.
        """
        ending = None if timeout is None else self._loop.call_later(timeout, self._end_body)
        try:
            await super().shutdown(timeout)
        finally:
            if ending is not None:
                ending.cancel()

    def _end_body(self) -> None:
        if self._body is not None and self._task_handler is not None:
            self._task_handler.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes for the parser, unless they are dropped."""
        if self._unwanted is None:
            super().data_received(data)
            return
        self._unwanted_bytes += len(data)
        if self._unwanted_bytes >= LAST_BYTES:
            self._end_dropping()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer to its end. Behind the refusal of what is no request, a little of what the client goes on
        sending is taken, as behind others (drain.py): else a reset may be all that it sees."""
        sent = await super().finish_response(request, resp, start_time)
        transport = self.transport
        if self._is_refused and transport is not None and not transport.is_closing():
            self._unwanted = self._loop.create_future()
            transport.write_eof()
            transport.resume_reading()
            await asyncio.wait({self._unwanted}, timeout=LAST_S)
        return sent

    def _end_dropping(self) -> None:
        if self._unwanted is not None and not self._unwanted.done():
            self._unwanted.set_result(None)

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""
        if self._last_transport is not None:
            self._last_transport.abort()

    def copy_socket(self) -> socket.socket:
        """Another descriptor of the connection, for the rest of the body. Raises OSError where there are too many."""
        if self.transport is None:
            raise ConnectionResetError
        return socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno()))

    def hand_over(self, body: Wire) -> None:
        """Read no more: `body` does. The connection is closed behind the answer."""
        if self.transport is not None:
            self.transport.pause_reading()
        self.close()  # no next request: it would be looked for in the rest of this one
        self._body = body

    def has_unsent(self) -> bool:
        """Whether bytes wait for the client to read."""
        return self._last_transport is not None and self._last_transport.get_write_buffer_size() > 0

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:
        """One line and one count for each request, after its last byte was handed over."""
        if self._metrics is None:
            return
        seconds = 0.0 if time is None else self._loop.time() - time
        route = route_pattern(request)
        self._metrics.request_done(request.method, PAGE if route in PAGES else route, response.status, seconds)
        write = log.debug if route in PROBES else log.info
        write(
            "request",
            method=request.method[:16],
            route=route,
            status=response.status,
            ms=round(seconds * 1000, 1),
            bytes=response.body_length,
            requestId=request_id_of(request),
            **({"key": request[CALLER].name} if CALLER in request else {}),
        )

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the parser refused, before any handler; its own words would show more than a client needs."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status == 400:
            self._is_refused = True
            log.info("bad_request", reason=type(exc).__name__)
            response = error_response(ErrorCode.BAD_REQUEST, "this is not a valid HTTP request")
        else:
            log.error("request_failed", exc_info=exc, detail=message)
            response = error_response(ErrorCode.INTERNAL, "something went wrong in the worker; its log has the details")
        response.force_close()
        response.headers.update({"X-Request-Id": request_id_of(request), "Server": "btworker"})
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """aiohttp's own complaints, as one event."""
        log.error("connection_failed", detail=str(args[0] % args[1:]) if args else "", exc_info=kw.get("exc_info"))
