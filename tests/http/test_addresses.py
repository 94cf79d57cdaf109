"""What is found at an address that is none of the API's: the root in a browser, and a base URL that is wrong."""

import re

import aiohttp
import pytest

from tests.http.server import FORM, Running, file, form, request_head

WRONG = [
    ("//v1/jobs", "/v1/jobs"),
    ("/jobs", "/v1/jobs"),
    ("/v1/v1/jobs", "/v1/jobs"),
    ("/v1//jobs", "/v1/jobs"),
    ("/v1/jobs/", "/v1/jobs"),
    ("/V1/Jobs", "/v1/jobs"),
    ("/api/v1/jobs", "/v1/jobs"),
    ("/v1/jobs/v1/jobs/wk_0123456789abcdef/", "/v1/jobs/{job_id}"),
    ("/jobs/wk_0123456789abcdef/outputs/talk.srt", "/v1/jobs/{job_id}/outputs/{name}"),
    ("/audio/transcriptions", "/v1/audio/transcriptions"),
    ("//v1/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/v1/v1/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/openai/audio/transcriptions", "/v1/audio/transcriptions"),
    ("/api/openai/v1/models/", "/openai/v1/models"),
    ("/models", "/v1/models"),
    ("/uploads", "/v1/uploads"),
    ("/v1/health", "/health"),
    ("/ping", "/v1/ping"),
]


@pytest.mark.parametrize(("path", "meant"), WRONG)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_wrong_base_url_is_told_the_path_that_was_meant(
    server: Running, method: str, path: str, meant: str
) -> None:
    """404, byte for byte as the client sent it, with a body or without."""
    body = form(file(b"speech")) if method == "POST" else b""
    headers = {**FORM, "Content-Length": str(len(body)), "Connection": "close"}
    async with server.connect() as raw:
        raw.send(request_head(method, path, headers) + body)
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert f"; {meant} may be meant, so look at the base URL".encode() in answer


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/favicon.ico", "/v1/nothing", "/" + "a/" * 500, "/%2e%2e/x", "/\u00e9"]
)
async def test_what_nothing_is_like_names_the_contract(client: aiohttp.ClientSession, path: str) -> None:
    """And nothing of what was asked for is repeated."""
    async with client.get(path) as response:
        error = (await response.json())["error"]
    assert (response.status, error["message"]) == (
        404,
        "there is nothing at this address; /openapi.json lists what there is",
    )


async def test_the_root_says_what_this_is(client: aiohttp.ClientSession, server: Running) -> None:
    """To a browser, without a token, and its links lead somewhere; nothing can be sent there."""
    async with aiohttp.ClientSession(server.url) as stranger:
        async with stranger.get("/") as response:
            page = await response.text()
            assert (response.status, response.content_type) == (200, "text/html")
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        links = re.findall(r'href="([^"]+)"', page)
        assert "docs" in links
        for link in links:
            async with stranger.get(f"/{link}") as response:
                assert response.status in ((200, 503) if link == "health/ready" else (200,)), link
    async with client.post("/", data=b"x") as response:
        assert response.status == 405
