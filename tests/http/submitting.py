"""A job's options on every route: fields, one JSON object, finished uploads, tus alone, the controller, OpenAI's."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from tests.http.dispatching import body as dispatch
from tests.http.resumable import PATCH, TUS, metadata
from tests.http.server import FORM, field, file, form, upload

Submit = Callable[[aiohttp.ClientSession, dict[str, Any]], Awaitable[tuple[int, Any]]]
"""Options -> the status and the JSON answer: the job, or why there is none."""


async def as_fields(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    return await upload(client, *(field(name, str(value)) for name, value in options.items()), file(b"speech"))


async def as_one_object(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    return await upload(client, file(b"speech"), field("options", json.dumps(options)))


async def of_uploads(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    headers = {**TUS, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    async with client.post("/v1/uploads", data=b"speech", headers=headers) as response:
        upload_id = response.headers["Location"].rsplit("/", 1)[1]
    async with client.post("/v1/jobs", json={"uploads": [upload_id], "options": options}) as response:
        return response.status, await response.json()


async def by_tus_alone(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    headers = {**TUS, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    told = metadata(filename="talk.wav", submit=json.dumps(options))
    async with client.post("/v1/uploads", data=b"speech", headers={**headers, "Upload-Metadata": told}) as response:
        if response.status != 201:
            return response.status, await response.json()
        job_id = response.headers["Btworker-Job"]
    async with client.get(f"/v1/jobs/{job_id}") as response:
        return 201, await response.json()


async def by_the_controller(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    async with client.post("/v1/jobs", json=dispatch(options=options)) as response:
        return response.status, await response.json()


async def of_urls(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    body = {"inputs": [{"url": "https://recordings.invalid/talk.wav"}], "options": options}
    async with client.post("/v1/jobs", json=body) as response:
        return response.status, await response.json()


async def by_openai(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    parts = [*(field(name, str(value)) for name, value in options.items()), file(b"speech")]
    async with client.post("/v1/audio/transcriptions", data=form(*parts), headers=FORM) as response:
        answer = await response.json()
    if response.status == 400:
        return 400, answer
    async with client.get("/v1/jobs") as response:
        return 201, (await response.json())["jobs"][0]
