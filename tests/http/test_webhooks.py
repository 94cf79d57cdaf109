"""R24: the end of an upload's job is told to the URL that it named, signed, until somebody takes it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.http.server import FORM, TOKEN, Running, field, file, finished, form
from tests.waiting import eventually

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sink:
    """A receiver of webhooks; `trouble` answers until it is None."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.tries = 0
        self.trouble: Handler | None = None
        self.port = 0
        self._runner = web.AppRunner(self._app(), shutdown_timeout=0.1, handler_cancellation=True)

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        return app

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        self.tries += 1
        if self.trouble is not None:
            return await self.trouble(request)
        self.taken.append((dict(request.headers), await request.read()))
        return web.Response(status=204)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    await sink.start()
    yield sink
    await sink.stop()


@pytest.fixture
def overrides(sink: Sink) -> dict[str, object]:
    """The sink is on loopback, which the operator has to allow."""
    return {
        "allowed_hosts": f"127.0.0.1:{sink.port}",
        "webhook_secret": SECRET,
        "delivery_timeout_s": 0.3,
    }


async def submitted(client: aiohttp.ClientSession, sink: Sink, prompt: str = "") -> str:
    parts = form(file(b"speech"), field("callbackUrl", f"http://127.0.0.1:{sink.port}/hook"), field("prompt", prompt))
    async with client.post("/v1/jobs", data=parts, headers=FORM) as response:
        job = await response.json()
        assert response.status == 201, job
    return str(job["workerJobId"])


async def delivered(client: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    """The job, once its webhook was taken."""

    async def look() -> dict[str, Any] | None:
        job = await finished(client, job_id)
        return job if job["delivery"]["state"] == "delivered" else None

    job: dict[str, Any] = await eventually(look, "its webhook was taken", within_s=30)
    return job


@pytest.mark.parametrize(("prompt", "status"), [("", "complete"), ("fail", "failed")])
async def test_a_webhook_is_signed_and_carries_no_token(
    client: aiohttp.ClientSession, sink: Sink, prompt: str, status: str
) -> None:
    """As Standard Webhooks say, checked with nothing but their words."""
    job_id = await submitted(client, sink, prompt)
    job = await delivered(client, job_id)
    assert job["delivery"]["attempts"] == 1
    ((headers, body),) = sink.taken
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert TOKEN not in str(headers)
    told = json.loads(body)
    assert (told["type"], told["workerJobId"], told["status"]) == (f"job.{status}", job_id, status)
    assert [one["filename"] for one in told["outputs"]] == [one["filename"] for one in job["outputs"]]


async def _hangs(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


async def _refuses(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def _redirects(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "/hook"})


async def _resets(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _floods(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=500)
    await response.prepare(request)
    while True:
        await response.write(bytes(2**20))


@pytest.mark.parametrize("trouble", [_hangs, _refuses, _redirects, _resets, _floods])
async def test_a_receiver_in_trouble_is_told_again(
    client: aiohttp.ClientSession, server: Running, sink: Sink, trouble: Handler
) -> None:
    """The job is complete meanwhile, and another one is not kept waiting."""
    sink.trouble = trouble
    job_id = await submitted(client, sink)
    job = await finished(client, job_id)
    assert job["status"] == "complete"
    await eventually(lambda: sink.tries >= 2)
    job = await finished(client, job_id)
    assert job["delivery"]["state"] == "delivering"
    assert job["delivery"]["lastError"]
    assert server.service.active() == 0
    sink.trouble = None
    await delivered(client, job_id)
    ids = {headers["webhook-id"] for headers, _ in sink.taken}
    assert ids == {job_id}


async def test_a_job_that_is_deleted_is_told_of_no_more(client: aiohttp.ClientSession, sink: Sink) -> None:
    """Its delivery ends with it."""
    sink.trouble = _refuses
    job_id = await submitted(client, sink)
    await finished(client, job_id)
    await eventually(lambda: sink.tries >= 1)
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    tries = sink.tries
    sink.trouble = None
    other = await submitted(client, sink)
    await delivered(client, other)
    assert sink.tries == tries + 1
