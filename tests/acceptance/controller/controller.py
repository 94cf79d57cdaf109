"""A Bulk Transcribe controller for tests: it dispatches jobs, serves signed inputs, takes outputs and callbacks.

Written from the contract, with its weaknesses: it knows a worker's job id only once its own request has returned, and
rewrites its manifest without a lock. `faults` are asked before each request, and may make trouble.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from tests.process.server_of import TOKEN
from tests.waiting import eventually

KEY = b"the controller's own key"
POLL_S = 0.02
ENDED = ("complete", "failed", "canceled")


class FaultError(Exception):
    """A request goes wrong: `how` is reset, hang, or a status."""

    def __init__(self, how: str | int) -> None:
        super().__init__(str(how))
        self.how = how


@dataclass
class Record:
    """What the controller knows of a job."""

    job_id: str
    inputs: dict[str, tuple[str, bytes]]
    """By id: (filename, content)."""
    options: dict[str, Any]
    worker_job_id: str = ""
    manifest: list[dict[str, str]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    """Every answer to a poll."""

    @property
    def ended(self) -> bool:
        return bool(self.callbacks)


@dataclass
class Controller:
    """A running controller. `seconds_good` is how long a signed URL works."""

    url: str = ""
    seconds_good: float = 7200.0
    learns_after: str = ""
    """What must have come once before a dispatch's answer arrives, while the worker works already; see `requests`."""
    manifest_delay_s: float = 0.0
    faults: Callable[[str, Record], None] = lambda _what, _record: None
    jobs: dict[str, Record] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    headers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0
    ranges: list[str] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; a second start takes the same port, as after a restart of the controller."""
        app = web.Application(client_max_size=2**30)
        app.router.add_get("/api/jobs/{job}/inputs/{input}", self._input)
        app.router.add_post("/api/jobs/{job}/outputs", self._output)
        app.router.add_post("/api/jobs/{job}/complete", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Refuse connections."""
        assert self._runner is not None
        await self._runner.cleanup()

    # what it does

    def body(self, record: Record) -> dict[str, Any]:
        """The JSON of a dispatch."""
        base = f"{self.url}/api/jobs/{record.job_id}"
        return {
            "controllerJobId": record.job_id,
            "controllerSessionHash": "5e55",
            "inputs": [
                {
                    "inputId": input_id,
                    "filename": filename,
                    "contentType": "audio/*",
                    "sizeBytes": 0,
                    "downloadUrl": self._signed(record.job_id, input_id),
                }
                for input_id, (filename, _) in record.inputs.items()
            ],
            "options": record.options,
            "callbackUrl": f"{base}/complete",
            "outputsUploadUrl": f"{base}/outputs",
        }

    async def dispatch(self, session: aiohttp.ClientSession, record: Record) -> tuple[int, dict[str, Any]]:
        """POST /v1/jobs; the worker's id is stored once the answer is here."""
        self.jobs[record.job_id] = record
        headers = {
            "Idempotency-Key": record.job_id,
            "User-Agent": "bulk-transcribe-controller/abc",
            "Accept": "application/json",
        }
        async with session.post("/v1/jobs", json=self.body(record), headers=headers) as response:
            answer = await response.json()
            await eventually(lambda: not self.learns_after or self.requests[self.learns_after])
            if response.status < 400:
                record.worker_job_id = answer["workerJobId"]
            return response.status, answer

    async def poll(self, session: aiohttp.ClientSession, record: Record, *, within_s: float = 60.0) -> dict[str, Any]:
        """Look at the job until it has ended, as the controller does."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            async with session.get(f"/v1/jobs/{record.worker_job_id}") as response:
                job: dict[str, Any] = await response.json()
            record.seen.append(job)
            if job["status"] in ENDED:
                return job
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"the job did not end: {record.seen[-1]}")

    # what it is asked

    def _signed(self, job_id: str, input_id: str) -> str:
        expires = time.time() + self.seconds_good
        path = f"/api/jobs/{job_id}/inputs/{quote(input_id, safe='')}"
        return f"{self.url}{path}?expires={expires}&sig={_sign(job_id, input_id, expires)}"

    async def _trouble(self, what: str, request: web.Request) -> Record:
        record = self.jobs[request.match_info["job"]]
        self.requests[what] += 1
        self.headers.append((what, dict(request.headers)))
        try:
            self.faults(what, record)
        except FaultError as fault:
            if fault.how == "hang":
                await asyncio.sleep(3600)
            if fault.how == "reset":
                assert request.transport is not None
                request.transport.abort()
                await asyncio.sleep(3600)
            raise web.HTTPException(text="no") if isinstance(fault.how, str) else _refusal(fault.how) from None
        return record

    async def _input(self, request: web.Request) -> web.StreamResponse:
        record = await self._trouble("input", request)
        input_id = request.match_info["input"]
        expires = float(request.query["expires"])
        good = hmac.compare_digest(request.query["sig"], _sign(record.job_id, input_id, expires))
        if not good or expires < time.time():
            raise web.HTTPForbidden
        content = record.inputs[input_id][1]
        return await self._send(request, record, content)

    async def _send(self, request: web.Request, record: Record, content: bytes) -> web.StreamResponse:
        start = request.http_range.start or 0
        if request.headers.get("Range"):
            self.ranges.append(request.headers["Range"])
        response = web.StreamResponse(status=206 if start else 200, headers={"ETag": '"1"', "Accept-Ranges": "bytes"})
        if start:
            response.headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response.content_length = len(content) - start
        await response.prepare(request)
        middle = start + (len(content) - start) // 2
        await response.write(content[start:middle])
        try:
            self.faults("middle", record)
        except FaultError:
            await asyncio.sleep(0.05)  # what was written is on its way
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(content[middle:])
        await response.write_eof()
        return response

    async def _output(self, request: web.Request) -> web.Response:
        record = await self._trouble("output", request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        form = await request.post()
        if form["workerJobId"] != record.worker_job_id:
            self.requests["refused output"] += 1
            return web.json_response({"error": "workerJobId mismatch"}, status=400)
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        entry = {"inputId": str(form["inputId"]), "type": str(form["outputType"]), "filename": upload.filename}
        manifest = list(record.manifest)  # read …
        await asyncio.sleep(self.manifest_delay_s)
        record.contents[upload.filename] = upload.file.read()
        try:
            self.faults("manifest", record)
        except FaultError:
            return web.json_response({"status": "ok", "outputId": "lost"})
        record.manifest = [*manifest, entry]  # … and written, whatever came between
        try:
            self.faults("output answer", record)
        except FaultError as fault:
            raise _refusal(int(fault.how)) from None
        return web.json_response({"status": "ok", "outputId": str(len(record.manifest))})

    async def _complete(self, request: web.Request) -> web.Response:
        record = await self._trouble("callback", request)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized
        record.callbacks.append(json.loads(await request.text()))
        return web.json_response({"status": "ok", "outputsReceived": len(record.manifest)})


async def look(session: aiohttp.ClientSession, record: Record) -> dict[str, Any]:
    """The job as the worker shows it."""
    async with session.get(f"/v1/jobs/{record.worker_job_id}") as response:
        job: dict[str, Any] = await response.json()
        return job


async def until_job(session: aiohttp.ClientSession, record: Record, true: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until something is so of the job."""

    async def is_so() -> bool:
        return true(await look(session, record))

    await eventually(is_so, "what is wanted of the job", within_s=60)


def _sign(job_id: str, input_id: str, expires: float) -> str:
    return hmac.digest(KEY, f"{job_id}/{input_id}/{expires}".encode(), hashlib.sha256).hex()[:32]


def _refusal(status: int) -> web.HTTPException:
    error = web.HTTPException(text="trouble")
    error.set_status(status)
    return error


@asynccontextmanager
async def controlling(**settings: Any) -> AsyncIterator[Controller]:
    """A controller that listens."""
    controller = Controller(**settings)
    await controller.start()
    try:
        yield controller
    finally:
        await controller.stop()
