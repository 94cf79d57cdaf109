"""The socket that boxes connect to, apart from the one of clients, so that a firewall can tell them apart. Parent."""

import socket

from aiohttp import web

from btworker.config import Settings
from btworker.fleet.leases import Leases
from btworker.storage import DataFolder
from btworker.web.app import SHUTDOWN_S, bound
from btworker.web.fleet.handlers import DESK, MOST_APPENDED_BYTES, Desk, fenced, routes
from btworker.web.middlewares import add_headers, errors_to_json

LINGER_S = 2.0
"""Seconds for which the rest of a refused body is read, so that its box sees the answer; most have sent nothing yet."""


class FleetListener:
    """The fleet's routes on a bound socket."""

    def __init__(self, settings: Settings, data: DataFolder, leases: Leases, listener: socket.socket) -> None:
        app = web.Application(middlewares=[errors_to_json, fenced], client_max_size=MOST_APPENDED_BYTES)
        app[DESK] = Desk(leases, data, settings)
        app.on_response_prepare.append(add_headers)
        app.add_routes(routes())
        self._runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S, access_log=None, lingering_time=LINGER_S)
        self._listener = listener

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        await self._runner.cleanup()
        self._listener.close()


def bind(settings: Settings) -> socket.socket:
    """A bound socket at WORKER_FLEET_HOST and WORKER_FLEET_PORT. Raises StartupError."""
    return bound(settings, settings.fleet_host, settings.fleet_port, mend="set WORKER_FLEET_HOST or WORKER_FLEET_PORT")
