"""Which pool `btworker serve` has: the GPUs of this machine, or a fleet, with the listener that its boxes need. What a
fleet is made of is imported only where there is one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec

from btworker.config import Settings
from btworker.control import Command
from btworker.errors import EXIT_BAD_SETTINGS, StartupError
from btworker.logs import get_logger
from btworker.pool import Pool
from btworker.pool.supervisor import FirstChildren, Supervisor
from btworker.storage import DataFolder

log = get_logger()


@asynccontextmanager
async def pool_of(
    settings: Settings, data: DataFolder, children: FirstChildren
) -> AsyncIterator[tuple[Pool, Mapping[str, Command]]]:
    """The pool, and what commands on this machine may ask of it; `children` are those of first_children(). Raises
    StartupError."""
    if settings.pool == "local":
        yield Supervisor(settings, children), {}
        return
    if find_spec("ray") is None:
        message = "WORKER_POOL=ray needs Ray, which is not installed here: install the extra `ray` (docs/fleet.md)"
        raise StartupError(message, exit_code=EXIT_BAD_SETTINGS)
    async with fleet(settings, data) as (pool, commands):
        yield pool, commands


@asynccontextmanager
async def fleet(settings: Settings, data: DataFolder, **more: str) -> AsyncIterator[tuple[Pool, Mapping[str, Command]]]:
    """A fleet, whose boxes can reach its listener until the end of the block."""
    from btworker.fleet.leases import Leases
    from btworker.fleet.object_store import FleetStore
    from btworker.fleet.pool import FleetPool
    from btworker.fleet.sharing import Sharing
    from btworker.web.fleet.listener import FleetListener, bind

    leases, sharing = Leases(), Sharing()
    socket = bind(settings)
    host, port = socket.getsockname()[:2]
    store = FleetStore.of(settings, leases)
    listener = FleetListener(settings, data, leases, socket, sharing=sharing, store=store)
    pool = FleetPool(settings, leases, sharing, port=port, **more)
    await listener.start()
    log.info("fleet_listening", host=host, port=port)
    try:
        yield pool, {"fleet": pool.answer}
    finally:
        await listener.stop()
