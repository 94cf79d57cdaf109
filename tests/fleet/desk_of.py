"""The fleet's listener with a job that a box has an attempt of: what the tests of bytes between the two share."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from btworker.config import Settings
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FrontEnd
from btworker.fleet.leases import Leases, path_of
from btworker.fleet.object_store import FleetStore
from btworker.fleet.sharing import Sharing
from btworker.job_folder import JobFolder
from btworker.jobs import Input, JobId, new_job_id
from btworker.storage import DataFolder
from btworker.web.fleet.listener import FleetListener, bind
from tests.process.pool_of import settings_for
from tests.waiting import eventually

SOUND = bytes(range(256)) * 8192


@dataclass
class Desk:
    """A listener, a job in its data folder with an attempt that a box has, and the box's courier."""

    settings: Settings
    leases: Leases
    front: JobFolder
    job_id: JobId
    url: str
    ticket: str
    session: aiohttp.ClientSession
    box: JobFolder
    listener: FleetListener
    sharing: Sharing

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def connections(self) -> int:
        """How many are open."""
        server = self.listener._runner.server
        return 0 if server is None else len(server.connections)

    def courier(self, **more: float) -> Courier:
        return Courier(FrontEnd(self.session, self.url + path_of(self.job_id, 1), self.ticket), self.box, **more)

    async def status(self, method: str, path: str, ticket: str | None = None, **arguments: object) -> int:
        headers = {"Authorization": f"Bearer {self.ticket if ticket is None else ticket}"}
        async with self.session.request(method, self.url + path, headers=headers, **arguments) as answer:
            return answer.status


@asynccontextmanager
async def desk_of(folder: Path, **changes: Any) -> AsyncIterator[Desk]:
    """All of it, with these settings; nothing lingers at the end."""
    settings = settings_for(folder / "front", fleet_port=0, **changes)
    data = DataFolder.open(settings.data_dir)
    leases, sharing, socket, job_id = Leases(), Sharing(), bind(settings), new_job_id()
    front = data.create(job_id)
    front.input(0).write_bytes(SOUND)
    listener = FleetListener(
        settings, data, leases, socket, sharing=sharing, store=FleetStore.of(settings, leases, grace_s=0.2)
    )
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    await listener.start()
    ticket = leases.grant(job_id, 1)
    assert ticket is not None
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        box = JobFolder(folder / "box" / job_id)
        yield Desk(settings, leases, front, job_id, url, ticket, session, box, listener, sharing)
    await listener.stop()
    data.close()
    await eventually(lambda: len(asyncio.all_tasks()) == 1, "no request lingers")


def inputs(sha256: str = "") -> tuple[Input, ...]:
    return (Input("0", "talk.wav", "talk", len(SOUND), sha256 or hashlib.sha256(SOUND).hexdigest()),)
