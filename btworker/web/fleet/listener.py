"""The socket that boxes connect to, apart from the one of clients, so that a firewall can tell them apart. Parent."""

import socket

from aiohttp import web

from btworker.config import Settings
from btworker.fleet.leases import Leases
from btworker.fleet.object_store import FleetStore
from btworker.fleet.sharing import Sharing
from btworker.storage import DataFolder
from btworker.web.app import SHUTDOWN_S, Site, bound
from btworker.web.drain import DRAINS, Drains
from btworker.web.fleet.desk import DESK, Desk, fenced
from btworker.web.fleet.handlers import routes
from btworker.web.middlewares import add_headers, close_after_early_answer, errors_to_json
from btworker.web.strangers import STRANGERS, Strangers


class FleetListener:
    """The fleet's routes on a bound socket, with the limits of the clients' one: on headers, silence, answers that
    nobody reads, and connections without a valid ticket."""

    def __init__(
        self,
        settings: Settings,
        data: DataFolder,
        leases: Leases,
        listener: socket.socket,
        *,
        sharing: Sharing,
        store: FleetStore | None = None,
    ) -> None:
        app = web.Application(middlewares=[close_after_early_answer, errors_to_json, fenced])
        app[DESK] = Desk(leases, data, settings, sharing, store)
        app[DRAINS] = Drains(settings)
        app[STRANGERS] = Strangers(most=settings.stranger_connections)
        app.on_response_prepare.append(add_headers)
        app.on_shutdown.append(_end_waits)
        app.add_routes(routes())
        self._settings = settings
        self._store = store
        self._runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_S, access_log=None)
        self._listener = listener

    async def start(self) -> None:
        """Listen."""
        if self._store is not None:
            await self._store.start()
        await self._runner.setup()
        await Site(self._runner, self._listener, self._settings).start()

    async def stop(self) -> None:
        """Stop listening, and close every connection."""
        if self._store is not None:
            await self._store.stop()
        await self._runner.cleanup()
        self._listener.close()


async def _end_waits(app: web.Application) -> None:
    app[DRAINS].close()
    app[STRANGERS].close()
    app[DESK].sharing.stop()


def bind(settings: Settings) -> socket.socket:
    """A bound socket at WORKER_FLEET_HOST and WORKER_FLEET_PORT. Raises StartupError."""
    return bound(settings, settings.fleet_host, settings.fleet_port, mend="set WORKER_FLEET_HOST or WORKER_FLEET_PORT")
