"""A request that is canceled, as at a stop, while its job is being stored: there is no job without its files."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from btworker.jobs import Job
from tests.http.resumable import created, metadata, patched
from tests.http.server import Running, finished
from tests.waiting import eventually

DATA = b"RIFF" + bytes(5000)


@pytest.mark.parametrize("by", ["tus", "json"])
async def test_the_job_has_its_files(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Its row is durable when the request ends; the job runs to its end, and the upload knows it."""
    is_stored, may_go_on = asyncio.Event(), asyncio.Event()
    insert = server.service._store.insert

    async def slow_insert(job: Job, **more: Any) -> tuple[Job, bool]:
        outcome = await insert(job, **more)
        is_stored.set()
        await may_go_on.wait()
        return outcome

    monkeypatch.setattr(server.service._store, "insert", slow_insert)
    told = metadata(filename="talk.wav", **({"submit": "{}"} if by == "tus" else {}))
    place = await created(client, len(DATA), **{"Upload-Metadata": told})
    if by == "tus":
        asking = asyncio.create_task(patched(client, place, 0, DATA))
    else:
        assert (await patched(client, place, 0, DATA)).status == 204
        body = {"uploads": [place.rsplit("/", 1)[1]]}
        asking = asyncio.create_task(post(client, body))
    await is_stored.wait()
    assert handlers()
    for task in handlers():
        task.cancel()
    await eventually(lambda: not handlers(), "the handlers have ended")
    may_go_on.set()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    async def the_job() -> str | None:
        async with client.head(place, headers={"Tus-Resumable": "1.0.0"}) as response:
            return response.headers.get("Btworker-Job")

    job = await finished(client, str(await eventually(the_job, "the upload became a job")))
    assert (job["status"], job["inputs"][0]["sizeBytes"]) == ("complete", len(DATA))


async def post(client: aiohttp.ClientSession, body: Any) -> None:
    async with client.post("/v1/jobs", data=json.dumps(body), headers={"Content-Type": "application/json"}):
        pass


def handlers() -> list["asyncio.Task[Any]"]:
    """The server's requests at work."""
    return [
        task for task in asyncio.all_tasks() if "RequestHandler.start" in getattr(task.get_coro(), "__qualname__", "")
    ]
