"""Who gets in: default deny, tokens of any bytes, ids of requests, the one shape of every error."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btworker.web.app import build_app
from tests.http.server import AUTH, TOKEN, Running, request_head

FILES = {"/docs/{name}": "/docs/start.js", "/page/{name}": "/page/main.js"}
OPEN = {"/", "/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", *FILES}


async def test_every_route_outside_the_open_list_wants_a_token(server: Running) -> None:
    """Found by walking the router: every pattern x every method is 401 without a token, known or not."""
    app = build_app(server.settings, server.service, server.metrics)
    patterns = {resource.canonical for resource in app.router.resources()} | {"/nothing/here", "/v2/jobs"}
    assert len(patterns) > 10
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
    async with aiohttp.ClientSession(server.url) as session:
        for pattern in sorted(patterns - OPEN):
            path = pattern.replace("{job_id}", "wk_0123456789abcdef").replace("{name}", "a.json").replace("{path}", "x")
            for method in methods:
                async with session.request(method, path) as response:
                    assert response.status == 401, (method, path)
                    assert response.headers["WWW-Authenticate"] == "Bearer"
                    if method != "HEAD":
                        error = (await response.json())["error"]
                        assert set(error) == {"code", "message", "type", "param"}
                        assert error["code"] == "UNAUTHORIZED"


async def test_the_open_routes_are_open_and_no_others(server: Running) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        for path in sorted(FILES.get(path, path) for path in OPEN):
            async with session.get(path) as response:
                assert response.status == 200, path
            async with session.post(path) as response:
                assert response.status == 401, "another method on an open path is not open"


@pytest.mark.parametrize("overrides", [{"ping_public": True, "metrics_public": False}])
async def test_ping_can_be_opened_and_metrics_closed(server: Running) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        async with session.get("/v1/ping") as response:
            assert response.status == 200
        async with session.get("/metrics") as response:
            assert response.status == 401


async def _raw_status(server: Running, authorization: bytes) -> bytes:
    async with server.connect() as raw:
        raw.send(b"GET /v1/ping HTTP/1.1\r\nHost: t\r\nConnection: close\r\n" + authorization + b"\r\n\r\n")
        return (await raw.all()).split(b"\r\n", 1)[0]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Authorization:",
        b"Authorization: Bearer",
        b"Authorization: Bearer ",
        b"Authorization: Basic " + TOKEN.encode(),
        b"Authorization: " + TOKEN.encode(),
        b"Authorization: Bearer " + TOKEN.encode() + b"x",
        b"Authorization: Bearer " + TOKEN.encode()[:-1],
        b"Authorization: Bearer " + TOKEN.encode() + b", Bearer x",
        b"Authorization: Bearer \xff\xfe\xfd",
        b"Authorization: Bearer \xc3\xa9\xf0\x9f\x8e\xa7",
        b"Authorization: Bearer " + b"A" * 4000,
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\nAuthorization: Bearer " + TOKEN.encode(),
        b"X: Bearer " + TOKEN.encode(),
    ],
)
async def test_odd_tokens_are_401(server: Running, header: bytes) -> None:
    assert await _raw_status(server, header or b"X: y") == b"HTTP/1.1 401 Unauthorized"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_token_lets_in_whatever_the_case_of_its_scheme(server: Running, scheme: str) -> None:
    assert await _raw_status(server, f"Authorization: {scheme} {TOKEN}".encode()) == b"HTTP/1.1 200 OK"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.binary(max_size=80).filter(lambda raw: not set(raw) & set(b"\r\n\0")))
async def test_no_bytes_are_a_500(server: Running, token: bytes) -> None:
    """401 from us, or 400 from the parser where the bytes cannot stand in a header."""
    status = await _raw_status(server, b"Authorization: Bearer " + token)
    assert status.split(b" ")[1] in (b"401", b"400")


@pytest.mark.parametrize("overrides", [{"token": None, "token_file": "set by the test"}])
async def test_every_token_of_the_file_is_good(tmp_path: Path, overrides: dict[str, Any]) -> None:
    """Rotation: the old and the new token work at the same time."""
    from btworker.config import Settings
    from tests.http.server import serving

    (tmp_path / "tokens").write_text("first-token\nsecond-token\n")
    own = Settings.model_validate(
        {"token_file": tmp_path / "tokens", "data_dir": tmp_path / "data", "port": 0, "model": "tiny"}
    )
    async with serving(own) as server:
        assert await _raw_status(server, b"Authorization: Bearer first-token") == b"HTTP/1.1 200 OK"
        assert await _raw_status(server, b"Authorization: Bearer second-token") == b"HTTP/1.1 200 OK"
        assert await _raw_status(server, b"Authorization: Bearer third-token") == b"HTTP/1.1 401 Unauthorized"


async def test_unknown_paths_and_methods_have_the_one_shape(client: aiohttp.ClientSession) -> None:
    async with client.get("/v1/nothing") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "NOT_FOUND"
    async with client.put("/v1/jobs") as response:
        assert response.status == 405
        assert (await response.json())["error"]["code"] == "METHOD_NOT_ALLOWED"
        assert response.headers["Allow"] == "GET,HEAD,POST"
    for bad_id in ("1", "wk_", "wk_zz", "wk_0123456789abcdef", "%00", "%ff%fe", "wk_" + "0" * 2000):
        async with client.get(f"/v1/jobs/{bad_id}") as response:
            assert response.status == 404, bad_id


async def test_what_is_not_http_gets_the_one_shape_too(server: Running) -> None:
    for junk in (
        b"HELO there\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\r\n\r\n",
    ):
        async with server.connect() as raw:
            raw.send(junk)
            answer = await raw.all()
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), (junk, answer)
        assert b'"code": "BAD_REQUEST"' in answer
        assert b"aiohttp" not in answer.lower()
        assert b"python" not in answer.lower()


async def test_the_request_id_is_kept_when_it_is_sane(server: Running) -> None:
    async with aiohttp.ClientSession(server.url, headers=AUTH) as session:
        for offered, kept in (("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("a\u00e9", False), ("", False)):
            async with session.get("/v1/ping", headers={"X-Request-Id": offered}) as response:
                got = response.headers["X-Request-Id"]
                assert (got == offered) is kept
                assert 1 <= len(got) <= 64


async def test_answers_tell_no_version(client: aiohttp.ClientSession) -> None:
    for path in ("/health", "/v1/nothing", "/v1/jobs"):
        async with client.get(path) as response:
            assert response.headers["Server"] == "btworker"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_unexpected_error_is_a_generic_500(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, no path, no text of the exception."""

    async def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a secret at /var/lib/somewhere")

    monkeypatch.setattr(server.service, "page", broken)
    async with client.get("/v1/jobs") as response:
        assert response.status == 500
        text = await response.text()
    assert '"INTERNAL"' in text
    assert "secret" not in text
    assert "/var" not in text


async def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    async with server.connect() as raw:
        raw.send(request_head("GET", "/health") + request_head("GET", "/health/live", {"Connection": "close"}))
        assert (await raw.all()).count(b"HTTP/1.1 200 OK") == 2
