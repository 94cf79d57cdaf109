"""The application and the socket that it listens on. Parent; cli/serving.py is the only caller besides tests.

build_app puts routes.py and middlewares.py together; Server gives every client a connection.Connection. The socket is
bound before the service starts, so that a busy port is said at once.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from btworker.config import Settings
from btworker.errors import EXIT_PORT, StartupError
from btworker.metrics import Metrics
from btworker.pool.devices import find_gpus
from btworker.pool.gpu_watch import GpuWatch
from btworker.receiving.wire import Receivers
from btworker.service import JobService
from btworker.service.voices import Voices
from btworker.tickets import Tickets
from btworker.web import middlewares
from btworker.web.access import Access, guard
from btworker.web.audit import audited
from btworker.web.connection import Connection
from btworker.web.context import CONTEXT, Context
from btworker.web.contract.document import rendered
from btworker.web.drain import DRAINS, Drains
from btworker.web.jobs.admission import defer_continue
from btworker.web.routes import ROUTES, open_paths
from btworker.web.strangers import STRANGERS, Strangers
from btworker.web.system.looks import Looks
from btworker.web.traced import traced
from btworker.web.tus import handlers as tus

BACKLOG = 1024
SHUTDOWN_S = 10.0
"""Seconds that requests under way get when the server stops; the drain before it is what waits for jobs."""
LAG_TICK_S = 0.1


def build_app(settings: Settings, service: JobService, metrics: Metrics) -> web.Application:
    """The application, without a socket."""
    accesses: dict[web.AbstractRoute, Access] = {}
    names: dict[web.AbstractRoute, str] = {}
    app = web.Application(
        middlewares=[
            middlewares.close_after_early_answer,
            *([] if service.spans is None else [traced(service.spans)]),
            middlewares.errors_to_json,
            audited(service.audit, names),
            guard(service.keys, accesses, settings),
        ]
    )
    app[CONTEXT] = Context(
        settings,
        service,
        data=service.data,
        resumable=service.resumable,
        voices=Voices(service.data, settings),
        feeds=service.feeds,
        guard=service.outbound.guard,
        metrics=metrics,
        receivers=Receivers(threads=settings.fast_uploads, least_bytes=settings.fast_body_bytes),
        tickets=Tickets(settings.ticket_minutes * 60),
        contract=partial(rendered, open_paths(settings)),
        looks=Looks(service.data, service),
    )
    app[DRAINS] = Drains(settings)
    app[STRANGERS] = Strangers(most=settings.stranger_connections)
    app.on_response_prepare.extend((middlewares.add_headers, tus.add_headers))
    app.cleanup_ctx.append(_background)
    app.on_shutdown.append(_let_listeners_go)
    resources: dict[str, web.Resource] = {}
    for route in ROUTES:
        resource = resources.get(route.path) or app.router.add_resource(route.path)
        resources[route.path] = resource
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            added = resource.add_route(method, route.handler, expect_handler=defer_continue)
            accesses[added] = route.access
            if route.about is not None and route.access.audited:
                names[added] = route.about.name
    return app


async def _let_listeners_go(app: web.Application) -> None:
    """Else each of them would hold the stop up for SHUTDOWN_S."""
    await app[CONTEXT].feeds.close()
    app[DRAINS].close()
    app[STRANGERS].close()


async def _background(app: web.Application) -> AsyncIterator[None]:
    """What goes on beside the requests: lateness of the loop, log lines, GPUs; all of it for the metrics and ping."""
    context = app[CONTEXT]
    logging.getLogger().addHandler(context.metrics.log_lines)
    watch = context.machine.gpu_watch = GpuWatch(worker.device for worker in context.service.workers())
    watch.start()
    tasks = (
        asyncio.create_task(_measure_lag(context.metrics), name="loop-lag"),
        asyncio.create_task(_find_gpus(context), name="find-gpus"),
    )
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    watch.stop()
    context.looks.close()
    context.receivers.close()
    logging.getLogger().removeHandler(context.metrics.log_lines)


async def _find_gpus(context: Context) -> None:
    """Ask the driver, beside the start: it may take seconds, and only ping's warnings want it."""
    if context.settings.device != "cpu":
        context.machine.gpus = await asyncio.to_thread(find_gpus, context.settings.cuda_visible_devices)


async def _measure_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_TICK_S
        await asyncio.sleep(LAG_TICK_S)
        metrics.loop_lag(loop.time() - due)


def bind(settings: Settings) -> socket.socket:
    """A bound socket at WORKER_HOST and WORKER_PORT. Raises StartupError."""
    return bound(settings, settings.host, settings.port, mend="set WORKER_HOST or WORKER_PORT")


def bound(settings: Settings, host: str, port: int, *, mend: str) -> socket.socket:
    """A bound socket, whose connections end where nothing moves. Raises StartupError, with what mends it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error, mend) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. The kernel knows what a client has taken; our own buffers end where its begin.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.write_idle_s * 1000))
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error, mend) from None
    return listener


def _cannot_listen(host: str, port: int, error: OSError, mend: str) -> StartupError:
    message = f"cannot listen on {host}:{port}: {error.strerror}; {mend}"
    return StartupError(message, exit_code=EXIT_PORT)


class Server:
    """An application on a bound socket."""

    def __init__(self, app: web.Application, listener: socket.socket, settings: Settings) -> None:
        self._listener = listener
        self._runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S)
        self._site: Site | None = None
        self._settings = settings

    async def start(self) -> str:
        """Listen; returns the URL, with the port that the system chose for port 0."""
        await self._runner.setup()
        self._site = Site(self._runner, self._listener, self._settings, self._runner.app[CONTEXT].metrics)
        await self._site.start()
        return self._site.name

    async def stop(self) -> None:
        """Stop listening, let requests under way end, close every connection."""
        await self._runner.cleanup()
        self._listener.close()


class Site(web.BaseSite):
    """aiohttp's notion of a listening socket, with our own kind of connection; the application has STRANGERS."""

    def __init__(
        self, runner: web.AppRunner, listener: socket.socket, settings: Settings, metrics: Metrics | None = None
    ) -> None:
        super().__init__(runner)
        self._listener = listener
        self._settings = settings
        self._metrics = metrics
        self._strangers = runner.app[STRANGERS]

    @property
    def name(self) -> str:
        """The URL."""
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Accept connections."""
        await super().start()
        loop = asyncio.get_running_loop()
        manager = self._runner.server
        assert manager is not None  # noqa: S101 - BaseSite has checked it

        def connect() -> Connection:
            return Connection(
                manager, loop=loop, settings=self._settings, strangers=self._strangers, metrics=self._metrics
            )

        self._server = await loop.create_server(connect, sock=self._listener, backlog=BACKLOG)
