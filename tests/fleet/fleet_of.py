"""A service over boxes on this machine: real listener, gateway, boxes and children; only Ray is left out (or not)."""

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from btworker.cli.pool import fleet
from btworker.fleet.pool import FleetPool
from btworker.service import JobService
from btworker.storage import DataFolder
from btworker.store import Store
from tests.fleet.line import Line
from tests.process.pool_of import FAKE_ENGINE, settings_for
from tests.process.server_of import plain_environment
from tests.waiting import eventually

BOX = {
    "WORKER_ENGINE": FAKE_ENGINE,
    "WORKER_MODEL": "fake",
    "WORKER_MODELS": "fake,other",
    "WORKER_DEVICE": "cpu",
    "WORKER_LOG_FORMAT": "json",
}
"""Settings of a box with the scripted engine."""
LOCAL = "tests.fleet.local_cluster:LocalCluster"


@dataclass
class Fleet:
    """A front end's service, and the boxes that it can have."""

    service: JobService
    pool: FleetPool
    cluster: Path

    def add_box(self, name: str, **settings: str) -> None:
        """Let one more box come."""
        folder = self.cluster / name
        folder.mkdir(parents=True, exist_ok=True)
        environment = plain_environment(**{**BOX, "WORKER_DATA_DIR": str(folder / "data"), **settings})
        (folder / "env.part").write_text(json.dumps(environment))
        (folder / "env.part").rename(folder / "env.json")

    def boxes(self) -> dict[str, dict[str, Any]]:
        """The boxes as `btworker fleet list` shows them."""
        return {box.box: asdict(box) for box in self.pool.boxes()}

    async def until_ready(self, *names: str) -> None:
        """Wait until these boxes take jobs."""

        def ready() -> bool:
            found = self.boxes()
            return all(found.get(name, {}).get("ready") for name in names)

        await eventually(ready, f"{names} are ready")

    def pid(self, name: str) -> int:
        """Process id of the box."""
        return int((self.cluster / name / "pid").read_text())

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process of a box."""
        os.kill(self.pid(name), number)

    def on_disk(self, name: str) -> list[str]:
        """Files of jobs on a box, as <job id>/<rest of the path>, with what is behind the id left out."""
        jobs = self.cluster / name / "data" / "boxes" / name / "jobs"
        walked = os.walk(jobs)  # which folders that go meanwhile do not disturb
        found = (Path(folder, file).relative_to(jobs) for folder, _, files in walked for file in files)
        return sorted("/".join((path.parts[0].partition(".")[0], *path.parts[1:])) for path in found)

    def box_of(self, job_id: str) -> str:
        """The box that has this job; empty where none has."""
        return next((worker.box for worker in self.pool.workers() if job_id in worker.job_ids), "")

    def log(self, name: str) -> str:
        """What the box and its children logged."""
        return (self.cluster / name / "log").read_text()


@asynccontextmanager
async def running_fleet(
    folder: Path, *boxes: str, line: Line | None = None, box: Mapping[str, str] | None = None, **changes: Any
) -> AsyncIterator[Fleet]:
    """A started service with these boxes, all of them ready; stopped, with its gateway and boxes, at the end. Their
    bytes go over the line, where there is one; `box` has more settings of theirs."""
    cluster = folder / "cluster"
    cluster.mkdir(exist_ok=True, parents=True)
    changes = {"fleet_url": line.url if line else "", "models": "fake,other", **changes}
    settings = settings_for(folder / "front", pool="ray", ray_address=str(cluster), fleet_port=0, **changes)
    data = DataFolder.open(settings.data_dir)
    store = Store.open(data.database)
    try:
        async with fleet(settings, data, cluster=LOCAL) as (pool, _):
            assert isinstance(pool, FleetPool)
            if line is not None:
                line.port = pool._port
            service = JobService(settings=settings, store=store, pool=pool, data=data)
            running = Fleet(service, pool, cluster)
            for name in boxes:
                running.add_box(name, **(box or {}))
            await service.start()
            try:
                await running.until_ready(*boxes)
                yield running
            finally:
                await service.stop()
    finally:
        await store.close()
        data.close()
