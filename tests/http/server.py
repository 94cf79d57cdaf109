"""The server under test, and what tests ask of it: its folder, conditions with deadlines, raw sockets, form bodies."""

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from btworker.config import Settings
from btworker.metrics import Metrics
from btworker.service import JobService
from btworker.storage import DataFolder
from btworker.store import Store
from btworker.web.app import Server, bind, build_app
from btworker.web.context import CONTEXT, Context
from tests.http.pools import LocalPool
from tests.waiting import WITHIN_S, eventually

TOKEN = "test-token-0123456789"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
BOUNDARY = "----test-boundary-7MA4YWxk"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@dataclass(frozen=True, slots=True)
class Raw:
    """A client's end of a connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def all(self, *, within_s: float = 10.0) -> bytes:
        """Everything until the server closes; a reset counts as its end."""
        found = bytearray()
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65_536), within_s):
                found += chunk
        return bytes(found)

    async def until(self, mark: bytes, *, within_s: float = 10.0) -> bytes:
        """Everything up to and including `mark`."""
        return await asyncio.wait_for(self.reader.readuntil(mark), within_s)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    url: str
    settings: Settings
    service: JobService
    pool: LocalPool
    metrics: Metrics
    context: Context
    drop_connections: Callable[[], None]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def files(self) -> list[str]:
        """Every file and folder below jobs/, relative; folders may go while we look."""
        jobs = str(self.settings.data_dir / "jobs")
        found = [Path(at, name) for at, folders, files in os.walk(jobs) for name in (*folders, *files)]
        return sorted(str(path.relative_to(jobs)) for path in found)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Raw"]:
        """A raw connection, closed at the end of the block."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Running]:
    """settings -> store -> pool -> service -> app, as cli/serving.py does it."""
    data = DataFolder.open(settings.data_dir)
    store = Store.open(data.database)
    pool = LocalPool()
    service = JobService(settings=settings, store=store, pool=pool, data=data)
    metrics = Metrics(service)
    app = build_app(settings, service, metrics)
    server = Server(app, bind(settings), settings)
    await service.start()
    url = await server.start()
    try:
        yield Running(url, settings, service, pool, metrics, app[CONTEXT], lambda: _drop(server))
    finally:
        await server.stop()
        await service.stop()
        await store.close()
        data.close()


def _drop(server: Server) -> None:
    """Close every connection under its request."""
    for connection in server._runner.server.connections:
        connection.force_close()


async def finished(client: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    """The job, once it has ended."""
    return await _once(client, job_id, "complete", "failed", "canceled")


async def until_running(client: aiohttp.ClientSession, job_id: str) -> None:
    """Wait until the job is at work."""
    await _once(client, job_id, "running", within_s=5.0)


async def _once(
    client: aiohttp.ClientSession, job_id: str, *statuses: str, within_s: float = WITHIN_S
) -> dict[str, Any]:
    """The job, once it has one of these statuses."""

    async def look() -> dict[str, Any] | None:
        async with client.get(f"/v1/jobs/{job_id}") as response:
            job: dict[str, Any] = await response.json()
        return job if job["status"] in statuses else None

    job: dict[str, Any] = await eventually(look, f"{job_id} is {' or '.join(statuses)}", within_s=within_s)
    return job


def field(name: str, value: str | bytes) -> bytes:
    """One plain form field."""
    raw = value.encode() if isinstance(value, str) else value
    return part(f'form-data; name="{name}"', raw)


def file(content: bytes, *, filename: str = "talk.wav", name: str = "file") -> bytes:
    """One file part."""
    return part(f'form-data; name="{name}"; filename="{filename}"', content)


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    """One part with its boundary before it."""
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A complete body for the headers in FORM."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def upload(client: aiohttp.ClientSession, *parts: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """POST a form; the status and the JSON answer."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    async with client.post("/v1/jobs", data=io.BytesIO(form(*parts)), headers={**FORM, **named}) as response:
        return response.status, await response.json()


def request_head(
    method: str = "POST", path: str = "/v1/jobs", headers: dict[str, str] | None = None, *, token: bool = True
) -> bytes:
    """The head of a raw request."""
    given = {"Host": "test", **(AUTH if token else {}), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def open_descriptors() -> Sequence[str]:
    """What this process has open that is a file on disk."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(link.readlink())
            if "/data/jobs/" in target:
                found.append(target)
    return found
