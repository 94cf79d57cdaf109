"""A form with a URL in place of a file, as Groq's clients send it: fetched, then an ordinary job."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.http.elsewhere import elsewhere
from tests.http.resumable import PATCH, metadata
from tests.http.server import FORM, Running, field, file, finished, form
from tests.waiting import eventually

SOUND = b"speech" * 1000
PATH = "/talks/Gespr%C3%A4ch%20%231.wav"


@pytest.fixture
async def place() -> AsyncIterator[int]:
    """The port of a server that has one recording."""

    async with elsewhere(lambda _: SOUND) as port:
        yield port


@pytest.fixture
def overrides(place: int) -> dict[str, object]:
    """The operator lets the worker fetch from it."""
    return {"allowed_hosts": f"127.0.0.1:{place}", "download_retry_s": 0.1}


async def asked(client: aiohttp.ClientSession, route: str, *parts: bytes) -> tuple[int, Any]:
    """Status and answer."""
    async with client.post(route, data=form(*parts), headers=FORM) as response:
        return response.status, await response.json()


async def test_a_recording_is_fetched(client: aiohttp.ClientSession, place: int) -> None:
    """The job is accepted at once; its file has the name that the URL ends with, and the URL is not shown again."""
    url = f"http://127.0.0.1:{place}{PATH}?sig=secret"
    status, job = await asked(client, "/v1/jobs", field("url", url), field("language", "de"))
    assert (status, job["options"]["language"]) == (201, "de")
    ended = await finished(client, job["workerJobId"])
    assert (ended["status"], ended["inputs"][0]["filename"]) == ("complete", "Gespräch #1.wav")
    assert ended["inputs"][0]["sizeBytes"] == len(SOUND)
    assert "secret" not in str(job) + str(ended)


async def test_openais_route_takes_one(client: aiohttp.ClientSession, place: int) -> None:
    """The same URL twice is two jobs: what it gives may have changed."""
    url = f"http://127.0.0.1:{place}{PATH}"
    for _ in range(2):
        await asked(client, "/v1/audio/transcriptions", field("url", url), field("model", "whisper-of-mine"))
        status, _ = await asked(client, "/v1/audio/transcriptions", field("url", url), field("model", "whisper-1"))
        assert status != 400
    async with client.get("/v1/jobs") as response:
        assert [job["status"] for job in (await response.json())["jobs"]] == ["complete", "complete"]


@pytest.mark.parametrize("route", ["/v1/jobs", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://localhost/a", "talk.wav"]
)
async def test_an_address_of_the_inside_is_refused(
    client: aiohttp.ClientSession, server: Running, route: str, url: str
) -> None:
    """By the guard of all URLs; there is no job, and nothing of one."""
    status, answer = await asked(client, route, field("url", url))
    assert (status, answer["error"]["code"]) == (403, "URL_REFUSED")
    assert server.files() == []


@pytest.mark.parametrize("parts", [[file(SOUND), field("url", "U")], [field("url", "U"), file(SOUND)]])
async def test_a_file_and_a_url_are_one_too_many(
    client: aiohttp.ClientSession, server: Running, place: int, parts: list[bytes]
) -> None:
    """Neither is dropped without a word."""
    parts = [part.replace(b"\r\nU\r\n", f"\r\nhttp://127.0.0.1:{place}{PATH}\r\n".encode()) for part in parts]
    status, answer = await asked(client, "/v1/jobs", *parts)
    assert (status, answer["error"]["message"]) == (400, "send a file or a url, not both")
    await eventually(lambda: server.files() == [])


async def test_a_resumable_upload_has_no_url(client: aiohttp.ClientSession, place: int) -> None:
    """It is the file."""
    headers = {**PATCH, "Upload-Length": "6", "Upload-Metadata": metadata(filename="a.wav")}
    async with client.post("/v1/uploads", data=b"speech", headers=headers) as response:
        upload = response.headers["Location"].rpartition("/")[2]
    body = {"uploads": [upload], "options": {"url": f"http://127.0.0.1:{place}{PATH}"}}
    async with client.post("/v1/jobs", json=body) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["param"]) == (400, "url")


async def test_a_recording_that_is_not_there(client: aiohttp.ClientSession, place: int) -> None:
    """The job fails with what its server said."""
    _, job = await asked(client, "/v1/jobs", field("url", f"http://127.0.0.1:{place}/nothing"))
    ended = await finished(client, job["workerJobId"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "DOWNLOAD_FAILED")


async def test_openais_clients_hear_that_the_url_is_at_fault(client: aiohttp.ClientSession, place: int) -> None:
    """As OpenAI and Groq say it: 400 with the field, and no fault of the server's, which clients would try again."""
    status, answer = await asked(client, "/v1/audio/transcriptions", field("url", f"http://127.0.0.1:{place}/nothing"))
    error = answer["error"]
    assert (status, error["code"], error["param"]) == (400, "DOWNLOAD_FAILED", "url")
    assert (error["type"], error["message"]) == ("invalid_request_error", "127.0.0.1 answered 404 to the download")
