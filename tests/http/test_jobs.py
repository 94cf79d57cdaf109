"""The routes of jobs: look, list, cancel, delete, and the files that came out."""

import hashlib
import re
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.http.pools import ODD_NAMES
from tests.http.server import FORM, Running, field, file, finished, form, until_running, upload

HOLD = field("prompt", "hold")


async def make(client: aiohttp.ClientSession, *parts: bytes) -> str:
    status, job = await upload(client, file(b"abc"), *parts)
    assert status == 201
    return str(job["workerJobId"])


async def test_a_job_is_told_from_queue_to_end(client: aiohttp.ClientSession, server: Running) -> None:
    """Running, waiting with its place in the queue, then complete with outputs, timings and durations."""
    first = await make(client, HOLD)
    await until_running(client, first)
    second, third = await make(client), await make(client)
    for job_id, place in ((first, None), (second, 0), (third, 1)):
        async with client.get(f"/v1/jobs/{job_id}") as response:
            assert (await response.json())["queuePosition"] == place
    server.pool.release.set()
    done = await finished(client, third)
    assert done["status"] == done["stage"] == "complete"
    assert done["progress"]["percent"] == 100
    assert done["inputs"][0]["durationSeconds"] == 1.5
    assert done["timings"] == {"transcribing": 0.5}
    assert done["error"] is None
    assert done["finishedAt"] >= done["startedAt"] >= done["createdAt"]


async def test_a_waiting_job_says_for_what_and_how_long(client: aiohttp.ClientSession, server: Running) -> None:
    """How long is not known before a job like it has ended here; afterwards it follows from those before it."""
    held = await make(client, HOLD)
    await until_running(client, held)
    second, third = await make(client), await make(client)
    seen = [await get_job(client, job_id) for job_id in (held, second, third)]
    assert [job["waitingFor"] for job in seen] == [
        None, "a worker that is free", "a worker that is free, 1 job before it",
    ]  # fmt: skip
    assert [(job["startsInSeconds"], job["etaSeconds"]) for job in seen] == [(None, None)] * 3
    server.pool.release.set()
    await finished(client, third)
    server.pool.release.clear()
    held = await make(client, HOLD)
    await until_running(client, held)
    waiting = [await make(client) for _ in range(3)]
    for place, job in enumerate([await get_job(client, job_id) for job_id in waiting]):
        assert 0.5 * place <= job["startsInSeconds"] <= 0.5 * (place + 1)
        assert job["etaSeconds"] == pytest.approx(job["startsInSeconds"] + 0.5, abs=0.11)
    async with client.get("/v1/jobs?status=queued") as response:
        listed = (await response.json())["jobs"]
    assert [job["queuePosition"] for job in listed] == [2, 1, 0]
    assert all(job["startsInSeconds"] is not None for job in listed)
    asked = form(field("stream", "true"), file(b"streamed"))
    async with client.post("/v1/audio/transcriptions", data=asked, headers=FORM) as response:
        comment = (await response.content.readline()).decode()
        assert re.fullmatch(
            r": waiting for a worker that is free, 3 jobs before it, likely to start in [12] s\n", comment
        )
        server.pool.release.set()
        await response.text()
    done = await finished(client, waiting[-1])
    assert (done["waitingFor"], done["startsInSeconds"], done["etaSeconds"]) == (None, None, None)


async def get_job(client: aiohttp.ClientSession, job_id: str) -> Any:
    """The job now."""
    async with client.get(f"/v1/jobs/{job_id}") as response:
        return await response.json()


async def test_a_failed_job_says_why(client: aiohttp.ClientSession) -> None:
    done = await finished(client, await make(client, field("prompt", "fail")))
    assert done["status"] == "failed"
    assert done["error"] == {"code": "NO_AUDIO", "message": "the file has no audio"}


async def test_pages_go_through_all_jobs_newest_first(client: aiohttp.ClientSession) -> None:
    made = [await make(client) for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        async with client.get("/v1/jobs", params={"limit": "3", "cursor": cursor}) as response:
            page = await response.json()
        seen += [job["workerJobId"] for job in page["jobs"]]
        if page["nextCursor"] is None:
            break
        cursor = page["nextCursor"]
    assert seen == made[::-1]


async def test_lists_can_be_narrowed_to_a_status(client: aiohttp.ClientSession) -> None:
    done = await make(client)
    await finished(client, done)
    await until_running(client, held := await make(client, HOLD))
    for status, ids in (("complete", [done]), ("running", [held]), ("failed", [])):
        async with client.get("/v1/jobs", params={"status": status}) as response:
            assert [job["workerJobId"] for job in (await response.json())["jobs"]] == ids


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=-1",
        "limit=%D9%A3",
        "cursor=x",
        "cursor=%ff",
    ],
)
async def test_bad_queries_are_400(client: aiohttp.ClientSession, query: str) -> None:
    async with client.get(f"/v1/jobs?{query}") as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert (error["code"], error["param"]) == ("BAD_REQUEST", query.partition("=")[0])


async def test_cancel_is_idempotent_and_leaves_a_finished_job_alone(client: aiohttp.ClientSession) -> None:
    held, waiting = await make(client, HOLD), await make(client)
    for job_id in (waiting, held, held):
        async with client.post(f"/v1/jobs/{job_id}/cancel") as response:
            assert (response.status, await response.json()) == (200, {"status": "cancel_requested"})
        assert (await finished(client, job_id))["status"] == "canceled"
    done = await make(client)
    await finished(client, done)
    async with client.post(f"/v1/jobs/{done}/cancel") as response:
        assert response.status == 200
    assert (await finished(client, done))["status"] == "complete"


async def test_delete_takes_files_and_row(client: aiohttp.ClientSession, server: Running) -> None:
    """409 while it runs; 204 once; then 404."""
    held = await make(client, HOLD)
    async with client.delete(f"/v1/jobs/{held}") as response:
        assert response.status == 409
        assert (await response.json())["error"]["code"] == "CONFLICT"
    server.pool.release.set()
    await finished(client, held)
    async with client.delete(f"/v1/jobs/{held}") as response:
        assert (response.status, await response.read()) == (204, b"")
    assert server.files() == []
    for method in ("GET", "DELETE"):
        async with client.request(method, f"/v1/jobs/{held}") as response:
            assert response.status == 404


@pytest.mark.parametrize("path", ["", "/cancel", "/outputs", "/outputs/a.json"])
@pytest.mark.parametrize("job_id", ["wk_0123456789abcdef", "wk_0123", "..", "wk_0123456789abcdef%2f..", "%F0%9F%8E%A7"])
async def test_no_such_job_is_404(client: aiohttp.ClientSession, job_id: str, path: str) -> None:
    method = "POST" if path == "/cancel" else "GET"
    async with client.request(method, f"/v1/jobs/{job_id}{path}") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "NOT_FOUND"


async def output(client: aiohttp.ClientSession) -> tuple[str, bytes, str]:
    """A finished job's output: its address, its bytes, its ETag."""
    [item] = (await finished(client, await make(client)))["outputs"]
    async with client.get(item["url"]) as response:
        assert response.status == 200
        content = await response.read()
    assert item["sha256"] == hashlib.sha256(content).hexdigest()
    assert item["sizeBytes"] == len(content)
    return item["url"], content, f'"{item["sha256"]}"'


async def test_outputs_are_listed_and_served(client: aiohttp.ClientSession) -> None:
    url, content, etag = await output(client)
    async with client.get(url.rsplit("/", 1)[0]) as response:
        assert [item["url"] for item in (await response.json())["outputs"]] == [url]
    async with client.head(url) as response:
        assert response.status == 200
        assert response.headers["Content-Length"] == str(len(content))
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["ETag"] == etag
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Content-Disposition"].startswith('attachment; filename="talk_transcript.json"')


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=5-", (5, None)),
        ("bytes=-4", (-4, None)),
        ("bytes=-9999", (0, None)),
        ("bytes=3-9999", (3, None)),
        ("Bytes=1-2", (1, 3)),
    ],
)
async def test_ranges(client: aiohttp.ClientSession, header: str, span: tuple[int, int | None]) -> None:
    url, content, _ = await output(client)
    async with client.get(url, headers={"Range": header}) as response:
        assert response.status == 206
        got = await response.read()
        assert got == content[slice(*span)]
        start = span[0] % len(content)
        assert response.headers["Content-Range"] == f"bytes {start}-{start + len(got) - 1}/{len(content)}"


@pytest.mark.parametrize("header", ["bytes=9999-", "bytes=-0"])
async def test_a_range_outside_of_the_file_is_416(client: aiohttp.ClientSession, header: str) -> None:
    url, content, _ = await output(client)
    async with client.get(url, headers={"Range": header}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{len(content)}"
        assert (await response.json())["error"]["code"] == "RANGE_NOT_SATISFIABLE"


@pytest.mark.parametrize(
    "header", ["bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 40 + "-"]
)
async def test_a_range_that_says_nothing_is_ignored(client: aiohttp.ClientSession, header: str) -> None:
    url, content, _ = await output(client)
    async with client.get(url, headers={"Range": header}) as response:
        assert (response.status, await response.read()) == (200, content)


@pytest.mark.parametrize("header", ["bytes=0-1", "bytes=999999-"])
async def test_a_head_is_that_of_the_whole(client: aiohttp.ClientSession, header: str) -> None:
    """A range is for GET alone."""
    url, content, etag = await output(client)
    async with client.head(url, headers={"Range": header}) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, str(len(content)))
        assert (response.headers["ETag"], await response.read()) == (etag, b"")


async def test_entity_tags_decide(client: aiohttp.ClientSession) -> None:
    url, content, etag = await output(client)
    cases = (
        ({"If-None-Match": etag}, 304, b""),
        ({"If-None-Match": f'"x", W/{etag}'}, 304, b""),
        ({"If-None-Match": "*"}, 304, b""),
        ({"If-None-Match": '"x"'}, 200, content),
        ({"If-Match": etag}, 200, content),
        ({"If-Match": '"x"'}, 412, None),
        ({"If-Match": '"x"', "If-None-Match": etag}, 412, None),
        ({"If-Range": etag, "Range": "bytes=0-1"}, 206, content[:2]),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200, content),
    )
    for headers, status, body in cases:
        async with client.get(url, headers=headers) as response:
            assert response.status == status, headers
            assert body is None or await response.read() == body


async def test_odd_names_survive_the_header_and_the_address(client: aiohttp.ClientSession) -> None:
    """Quotes, percent signs, line feeds, anything beyond ASCII: RFC 6266 and 8187."""
    done = await finished(client, await make(client, field("prompt", "odd names")))
    assert [item["filename"] for item in done["outputs"]] == list(ODD_NAMES)
    for item in done["outputs"]:
        async with client.get(item["url"]) as response:
            assert response.status == 200, item
            disposition = response.headers["Content-Disposition"]
        assert disposition.isascii()
        assert disposition.endswith(f"filename*=UTF-8''{quote(item['filename'], safe='')}")


@pytest.mark.parametrize(
    "name", ["../in/0", "..%2Fin%2F0", "talk_transcript.json%00", ".", "..", "jobs.sqlite3", "talk_transcript.jso"]
)
async def test_only_listed_names_are_served(client: aiohttp.ClientSession, name: str) -> None:
    url, _, _ = await output(client)
    async with client.get(f"{url.rsplit('/', 1)[0]}/{name}") as response:
        assert response.status in (200, 404)
        text = await response.text()
    assert "abc" not in text or '"error"' in text or '"outputs"' in text or '"workerJobId"' in text


async def test_a_file_that_was_deleted_is_404(client: aiohttp.ClientSession, server: Running) -> None:
    url, _, _ = await output(client)
    for path in (server.settings.data_dir / "jobs").rglob("*.json"):
        path.unlink()
    async with client.get(url) as response:
        assert response.status == 404
