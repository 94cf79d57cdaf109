"""What the process tests share: a service with real spawned children, and waiting for a condition with a deadline."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from btworker.config import Settings
from btworker.jobs import Input, Job, Options, new_job_id
from btworker.keys import OPERATOR
from btworker.pool.supervisor import Supervisor
from btworker.service import JobService, NewJob
from btworker.storage import DataFolder
from btworker.store import Store
from tests.waiting import WITHIN_S, eventually

FAKE_ENGINE = "tests.fake_engine:load"


def settings_for(folder: Path, **changes: Any) -> Settings:
    """Settings of a worker on the CPU with the scripted engine."""
    values: dict[str, Any] = {
        "token": "a-token",
        "data_dir": folder,
        "device": "cpu",
        "model": "fake",
        "models": "fake,other",
        "engine": FAKE_ENGINE,
        "disk_reserve_mb": 0,
        "log_level": "warning",
    }
    return Settings(**{**values, **changes})


@asynccontextmanager
async def running_service(folder: Path, **changes: Any) -> AsyncIterator[JobService]:
    """A started service; stopped, with its children, at the end."""
    settings = settings_for(folder, **changes)
    data = DataFolder.open(settings.data_dir)
    store = Store.open(data.database)
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    service = JobService(settings=settings, store=store, pool=Supervisor(settings), data=data)
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await store.close()
        data.close()


async def submit(
    service: JobService, *steps: list[Any], text: str | bytes = "hello", owner: str = OPERATOR, **options: Any
) -> Job:
    """Accept a job with one small input and a script."""
    job_id = new_job_id()
    folder = service.data.create(job_id)
    data = text.encode() if isinstance(text, str) else text
    folder.input(0).write_bytes(data)
    prompt = json.dumps({"steps": list(steps)}) if steps else ""
    chosen = Options(**{"model": service.settings.model, "prompt": prompt, **options})
    item = Input("0", "talk.wav", "talk", len(data), hashlib.sha256(data).hexdigest())
    job, _ = await service.submit(NewJob(job_id, chosen, (item,), owner=owner))
    return job


async def ended(service: JobService, job: Job, *, within_s: float = WITHIN_S) -> Job:
    """The job once it has ended."""

    async def look() -> Job | None:
        now = await service.get(job.id)
        return now if now.status.finished else None

    found: Job = await eventually(look, within_s=within_s)
    return found


def alive(pid: int) -> bool:
    """Whether a process exists (a zombie counts as dead)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def transcript(service: JobService, job: Job) -> Any:
    """The JSON output of the job's first input."""
    path = service.data.folder(job.id).outputs / job.outputs[0].filename
    return json.loads(path.read_text().split("x", 1)[0] if path.stat().st_size > 1 << 20 else path.read_text())


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))
