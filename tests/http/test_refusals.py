"""Every refusal of an upload: its status, its code, a sentence, and nothing left on the disk."""

import errno
import io
import json
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from btworker.receiving.direct_file import DirectFile
from tests.http.server import (
    BOUNDARY,
    FORM,
    Running,
    field,
    file,
    form,
    open_descriptors,
    part,
    request_head,
    until_running,
    upload,
)

BIG = 4 * 2**20 + 1
END = f"--{BOUNDARY}--\r\n".encode()


async def refused(
    client: aiohttp.ClientSession, server: Running, body: object, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    """POST; the error, after looking that nothing was left behind."""
    async with client.post("/v1/jobs", data=body, headers=FORM if headers is None else headers) as response:
        answer = await response.json()
        assert set(answer["error"]) == {"code", "message", "type", "param"}
        assert response.headers["X-Request-Id"]
    assert len(answer["error"]["message"]) > 10
    assert server.files() == []
    assert open_descriptors() == []
    return response.status, answer["error"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"inputs": [{"url": "https://example.com/a.wav"}], "options": {"\ud800": 1}}, "BAD_OPTION"),
        ({"inputs": [{"url": "https://example.com/a.wav"}], "\ud800": 1}, "BAD_REQUEST"),
        ({"uploads": ["up_x"], "\ud800": 1}, "BAD_REQUEST"),
        ({"controllerJobId": "a", "\ud800": 1}, "BAD_REQUEST"),
    ],
)
async def test_half_a_character_as_a_name_is_refused(
    client: aiohttp.ClientSession, server: Running, document: object, code: str
) -> None:
    """JSON can write it (`\\ud800`), and it is no text."""
    status, error = await refused(client, server, json.dumps(document), {"Content-Type": "application/json"})
    assert (status, error["code"]) == (400, code), error
    status, error = await refused(client, server, form(field("options", json.dumps({"\ud800": 1})), file(b"abc")))
    assert (status, error["code"]) == (400, "BAD_OPTION"), error


BODIES = {
    "no part at all": (form(), 400, "NO_FILE"),
    "only fields": (form(field("language", "de")), 400, "NO_FILE"),
    "an empty file": (form(file(b"")), 400, "EMPTY_FILE"),
    "an empty file after a good one": (form(file(b"abc"), file(b"")), 400, "EMPTY_FILE"),
    "an unknown option": (form(file(b"abc"), field("langage", "de")), 400, "BAD_OPTION"),
    "an unknown option first": (form(field("langage", "de"), file(b"abc")), 400, "BAD_OPTION"),
    "an unknown model": (form(file(b"abc"), field("model", "huge")), 400, "BAD_OPTION"),
    "a model that is a path": (form(file(b"abc"), field("model", "/etc/passwd")), 400, "BAD_OPTION"),
    "an unknown language": (form(file(b"abc"), field("language", "klingon")), 400, "BAD_OPTION"),
    "a number out of range": (form(file(b"abc"), field("beamSize", "99")), 400, "BAD_OPTION"),
    "speakers the wrong way round": (
        form(file(b"a"), field("minSpeakers", "3"), field("maxSpeakers", "2")),
        400,
        "BAD_OPTION",
    ),
    "options that are no JSON": (form(file(b"abc"), field("options", "{")), 400, "BAD_OPTION"),
    "options that are a list": (form(file(b"abc"), field("options", "[]")), 400, "BAD_OPTION"),
    "options nested deeply": (form(file(b"abc"), field("options", "[" * 200_000)), 400, "BAD_OPTION"),
    "an option given twice": (
        form(file(b"abc"), field("task", "translate"), field("task", "transcribe")),
        400,
        "BAD_OPTION",
    ),
    "a callback inside": (form(file(b"abc"), field("callbackUrl", "http://127.0.0.1/hook")), 403, "URL_REFUSED"),
    "a callback that is no URL": (form(file(b"abc"), field("options", '{"callbackUrl": 7}')), 400, "BAD_OPTION"),
    "a field that is not UTF-8": (form(file(b"abc"), field("prompt", b"\xff\xfe")), 400, "BAD_OPTION"),
    "a lone surrogate": (form(file(b"abc"), field("options", '{"prompt": "\\ud800"}')), 400, "BAD_OPTION"),
    "a field that is too large": (form(file(b"abc"), field("prompt", "x" * 70_000)), 400, "BAD_OPTION"),
    "options that are too large": (form(file(b"abc"), field("options", "x" * 300_000)), 400, "BAD_OPTION"),
    "a file without a filename": (form(field("file", b"RIFF")), 400, "NO_FILE"),
    "a second file without a filename": (form(file(b"abc"), field("file", b"RIFF")), 400, "NO_FILE"),
    "a file above the limit": (form(file(bytes(BIG))), 413, "FILE_TOO_LARGE"),
    "the second file above the limit": (form(file(b"abc"), file(bytes(BIG))), 413, "FILE_TOO_LARGE"),
    "a declared length above the limit": (
        form(part('form-data; name="f"; filename="a"', b"abc", f"Content-Length: {BIG}")),
        413,
        "FILE_TOO_LARGE",
    ),
    "a cut body": (form(file(b"abc"))[:-10], 400, "BAD_MULTIPART"),
    "a cut file": (form(file(os.urandom(2_500_000)))[:2_000_000], 400, "BAD_MULTIPART"),
    "an empty body": (b"", 400, "BAD_MULTIPART"),
    "no boundary ever": (b"x" * 3_000_000, 400, "BAD_MULTIPART"),
    "another boundary": (form(file(b"abc")).replace(BOUNDARY.encode(), b"other"), 400, "BAD_MULTIPART"),
    "a long epilogue": (form(file(b"abc")) + b"y" * 3_000_000, 400, "BAD_MULTIPART"),
    "base64": (
        form(part('form-data; name="f"; filename="a"', b"YWJj", "Content-Transfer-Encoding: base64")),
        400,
        "BAD_MULTIPART",
    ),
    "a gzipped part": (
        form(part('form-data; name="f"; filename="a"', b"abc", "Content-Encoding: gzip")),
        415,
        "UNSUPPORTED_MEDIA",
    ),
    "parts in a part": (
        form(part('form-data; name="f"; filename="a"', b"abc", "Content-Type: multipart/mixed; boundary=b")),
        400,
        "BAD_MULTIPART",
    ),
    "a part without a name": (form(part("form-data", b"abc")), 400, None),
    "a part of another kind": (form(part('attachment; filename="a"', b"abc")), 400, "BAD_MULTIPART"),
    "a part without headers": (f"--{BOUNDARY}\r\n\r\nabc\r\n".encode() + END, 400, "BAD_MULTIPART"),
    "a header of 100 KB": (
        form(part('form-data; name="f"; filename="a"', b"a", "X: " + "y" * 100_000)),
        400,
        "BAD_MULTIPART",
    ),
    "a name of 1 MB": (form(file(b"abc", filename="y" * 2**20)), 400, "BAD_MULTIPART"),
    "a hundred headers": (form(part('form-data; name="f"; filename="a"', b"a", *["X: y"] * 100)), 400, "BAD_MULTIPART"),
    "a header without end": (f"--{BOUNDARY}\r\nX: ".encode() + b"y" * 1_000_000, 400, "BAD_MULTIPART"),
    "a hundred thousand parts": (form(*[field("language", "")] * 100_000), 400, "BAD_MULTIPART"),
    "a bare line feed in the headers": (
        f"--{BOUNDARY}\nContent-Disposition: x\n\nabc".encode() + END,
        400,
        "BAD_MULTIPART",
    ),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bad_bodies(client: aiohttp.ClientSession, server: Running, name: str, *, chunked: bool) -> None:
    """With Content-Length and without."""
    body, status, code = BODIES[name]

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    got, error = await refused(client, server, pieces() if chunked else io.BytesIO(body))
    assert (got, error["code"]) == (status, code or error["code"]), error


HEADERS = {
    "no content type": ({}, 415, "UNSUPPORTED_MEDIA"),
    "another content type": ({"Content-Type": "audio/wav"}, 415, "UNSUPPORTED_MEDIA"),
    "urlencoded": ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_MEDIA"),
    "json in disguise": ({"Content-Type": "text/json"}, 415, "UNSUPPORTED_MEDIA"),
    "multipart of another kind": ({"Content-Type": "multipart/mixed; boundary=x"}, 415, "UNSUPPORTED_MEDIA"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, 400, "BAD_MULTIPART"),
    "an empty boundary": ({"Content-Type": 'multipart/form-data; boundary=""'}, 400, "BAD_MULTIPART"),
    "a boundary above the RFC's limit": (
        {"Content-Type": "multipart/form-data; boundary=" + "x" * 71},
        400,
        "BAD_MULTIPART",
    ),
    "a long boundary": ({"Content-Type": "multipart/form-data; boundary=" + "x" * 300}, 400, "BAD_MULTIPART"),
    "gzip": ({**FORM, "Content-Encoding": "gzip"}, 415, "UNSUPPORTED_MEDIA"),
    "an unknown encoding": ({**FORM, "Content-Encoding": "br, gzip"}, 415, "UNSUPPORTED_MEDIA"),
    "an unknown expectation": ({**FORM, "Expect": "tea"}, 400, "BAD_REQUEST"),
    "an empty key": ({**FORM, "Idempotency-Key": ""}, 400, "BAD_REQUEST"),
    "a long key": ({**FORM, "Idempotency-Key": "k" * 256}, 400, "BAD_REQUEST"),
    "a key that is not ASCII": ({**FORM, "Idempotency-Key": "kéy"}, 400, "BAD_REQUEST"),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_bad_headers(server: Running, name: str) -> None:
    """Said before the body is read; the connection closes."""
    headers, status, code = HEADERS[name]
    async with server.connect() as raw:
        raw.send(request_head(headers={**headers, "Content-Length": "1000000"}))
        answer = await raw.until(b"}}")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert f'"code": "{code}"'.encode() in answer
    assert b"Connection: close" in answer
    assert server.files() == []


@pytest.mark.parametrize("overrides", [{"max_files_per_job": 2}])
async def test_too_many_files(client: aiohttp.ClientSession, server: Running) -> None:
    status, error = await refused(client, server, form(*[file(b"abc")] * 3))
    assert (status, error["code"]) == (400, "BAD_MULTIPART")
    assert "at most 2 files" in error["message"]


@pytest.mark.parametrize("overrides", [{"queue_limit": 1}])
async def test_a_full_queue_is_429_with_retry_after(client: aiohttp.ClientSession, server: Running) -> None:
    """One job runs, one waits, the third is refused before its body is read."""
    hold = field("prompt", "hold")
    _, first = await upload(client, file(b"abc"), hold)
    await until_running(client, first["workerJobId"])
    assert (await upload(client, file(b"abc"), hold))[0] == 201
    before = server.files()
    async with client.post("/v1/jobs", data=form(file(b"abc")), headers=FORM) as response:
        assert response.status == 429
        assert (await response.json())["error"]["code"] == "QUEUE_FULL"
        assert int(response.headers["Retry-After"]) > 0
    assert server.files() == before


async def test_a_draining_worker_is_503_with_retry_after(client: aiohttp.ClientSession, server: Running) -> None:
    server.service.begin_drain()
    async with client.post("/v1/jobs", data=form(file(b"abc")), headers=FORM) as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "DRAINING"
        assert int(response.headers["Retry-After"]) > 0
    assert server.files() == []


@pytest.mark.parametrize("overrides", [{"disk_reserve_mb": 2**30}])
async def test_a_disk_without_room_is_507_before_reading(client: aiohttp.ClientSession, server: Running) -> None:
    status, error = await refused(client, server, form(file(b"abc")))
    assert (status, error["code"]) == (507, "DISK_FULL")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_disk_that_fills_up_while_writing_is_507(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """In the first write, in the last, or in the fsync: the partial file goes, and the next upload works."""
    real_write, real_fsync = DirectFile._write_some, os.fsync
    fail_in = ""

    def write(self: DirectFile, view: memoryview) -> int:
        if fail_in == "write" and self.tell() >= 2**20:
            raise OSError(number, os.strerror(number))
        return real_write(self, view)

    def fsync(descriptor: int) -> None:
        if fail_in == "fsync":
            raise OSError(number, os.strerror(number))
        real_fsync(descriptor)

    monkeypatch.setattr(DirectFile, "_write_some", write)
    monkeypatch.setattr(os, "fsync", fsync)
    for fail_in in ("write", "fsync"):  # noqa: B007 - the closures above read it
        status, error = await refused(client, server, io.BytesIO(form(file(bytes(3 * 2**20)))))
        assert (status, error["code"]) == (507, "DISK_FULL")
    fail_in = ""
    assert (await upload(client, file(bytes(3 * 2**20))))[0] == 201


@pytest.mark.parametrize("overrides", [{"max_file_mb": 1, "max_files_per_job": 2}])
async def test_a_length_that_no_job_can_have_is_413_before_reading(server: Running) -> None:
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(2 * 2**20 + 2 * 2**20)}))
        answer = await raw.until(b"}}")
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "FILE_TOO_LARGE"


async def test_a_message_names_the_option_and_its_range(client: aiohttp.ClientSession) -> None:
    _, answer = await upload(client, file(b"abc"), field("beamSize", "99"))
    assert answer["error"]["param"] == "beamSize"
    assert "from 1 to 20" in answer["error"]["message"]
    _, answer = await upload(client, file(b"abc"), field("model", "huge"))
    assert "large-v3" in answer["error"]["message"]
    _, answer = await upload(client, file(b"abc"), field("langage", "de"))
    assert answer["error"]["param"] == "langage"
    assert "language" in answer["error"]["message"]
