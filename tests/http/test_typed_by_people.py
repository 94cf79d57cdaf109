"""Names, prompts, languages and empty fields as people and their programs send them, on every route."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from tests.http.server import FORM, field, file, form, upload
from tests.http.test_dispatch import body as dispatch
from tests.http.test_tus import PATCH, TUS, metadata

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


async def by_openai(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    parts = [*(field(name, str(value)) for name, value in options.items()), file(b"speech")]
    async with client.post("/v1/audio/transcriptions", data=form(*parts), headers=FORM) as response:
        answer = await response.json()
    if response.status == 400:
        return 400, answer
    async with client.get("/v1/jobs") as response:
        return 201, (await response.json())["jobs"][0]


STRICT = [as_fields, as_one_object, of_uploads, by_tus_alone, by_openai]
PROMPTS = [
    "He wrote <|endoftext|> on the board.",
    "東京都港区" * 800,
    "🏳️‍🌈" * 666,
    "\u202eright to left\u202c \u200f\u05e9\u05dc\u05d5\u05dd",
]


@pytest.mark.parametrize(
    "prompt", PROMPTS, ids=["a sign of the model", "4,000 of CJK", "4,000 of emoji", "right to left"]
)
@pytest.mark.parametrize("submit", [*STRICT, by_the_controller])
async def test_a_prompt_is_text_on_every_route(client: aiohttp.ClientSession, submit: Submit, prompt: str) -> None:
    """It reaches the job character by character."""
    status, job = await submit(client, {"prompt": prompt})
    assert status == 201, job
    assert job["options"]["prompt"] == prompt


@pytest.mark.parametrize("submit", STRICT)
async def test_a_language_is_understood_on_every_route(client: aiohttp.ClientSession, submit: Submit) -> None:
    """A tag with a region is its language; what is unknown is refused with the nearest code, what the model lacks by
    its name."""
    status, job = await submit(client, {"language": "sr-Latn_RS"})
    assert (status, job["options"]["language"]) == (201, "sr")
    status, refusal = await submit(client, {"language": "jp"})
    assert (status, refusal["error"]["param"]) == (400, "language")
    assert "the nearest is ja (japanese)" in refusal["error"]["message"]
    status, refusal = await submit(client, {"language": "zh-yue"})
    assert status == 400
    assert refusal["error"]["message"].startswith("the model 'tiny' does not know cantonese")


async def test_the_controllers_job_is_taken_with_a_warning(client: aiohttp.ClientSession) -> None:
    """A refusal would cost it the job."""
    for number, language in enumerate(("jp", "yue")):
        wanted = dispatch(controllerJobId=f"job-{number}", options={"language": language})
        async with client.post("/v1/jobs", json=wanted) as response:
            job = await response.json()
        assert (response.status, job["options"]["language"]) == (201, "")
        assert "the option was left out" in job["warnings"][0]
