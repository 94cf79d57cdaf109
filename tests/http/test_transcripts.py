"""A stored transcript in any format, with every subtitle option, long after the job."""

import asyncio
import json
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from btworker.jobs import JobId, OutputFormat
from btworker.outputs import FORMATS, Presentation, render
from btworker.outputs.ready import keep_ready
from btworker.transcript import Segment, Transcript, Turn, Word
from btworker.web.jobs import renderings
from tests.http.server import FORM, Running, field, file, finished, form

WORDS = tuple(Word(f" word{n}", float(n), n + 0.9, 0.9, "SPEAKER_00") for n in range(12))
SEGMENT = Segment(0, 0, 0.0, 12.0, "".join(word.word for word in WORDS), words=WORDS, speaker="SPEAKER_00")
TRANSCRIPT = Transcript(SEGMENT.text, "en", (SEGMENT,), 12.0, (Turn(0.0, 12.0, "SPEAKER_00"),))


@pytest.fixture
async def job_id(client: aiohttp.ClientSession, server: Running) -> str:
    """A complete job of two inputs, the second of which has a transcript."""
    async with client.post(
        "/v1/jobs", data=form(file(b"a"), file(b"b", filename="zwei.wav")), headers=FORM
    ) as response:
        job_id = str((await response.json())["workerJobId"])
    await finished(client, job_id)
    path = server.service.data.folder(JobId(job_id)).transcript(1)
    await asyncio.to_thread(path.write_text, json.dumps(TRANSCRIPT.to_dict()))
    return job_id


@pytest.mark.parametrize("kind", OutputFormat)
async def test_every_format_is_what_the_job_would_have_written(
    client: aiohttp.ClientSession, job_id: str, kind: OutputFormat
) -> None:
    """Byte for byte, with its type and a name."""
    async with client.get(f"/v1/jobs/{job_id}/transcript?format={kind.value}&input=1") as response:
        assert response.status == 200
        if kind is not OutputFormat.DOCX:  # which has the time at which it was made
            assert await response.text() == render(TRANSCRIPT, kind, Presentation("zwei"))
        assert response.headers["Content-Type"] == FORMATS[kind].content_type
        assert f'filename="zwei{FORMATS[kind].suffix}"' in response.headers["Content-Disposition"]


async def test_subtitles_are_laid_out_as_asked(client: aiohttp.ClientSession, job_id: str) -> None:
    """Width, lines, and the word that is spoken underlined."""
    query = "format=srt&input=1&maxLineWidth=20&maxLineCount=1"
    async with client.get(f"/v1/jobs/{job_id}/transcript?{query}") as response:
        text = await response.text()
    lines = [line.removeprefix("SPEAKER_00: ") for line in text.splitlines() if "word" in line]
    assert len(lines) > 3
    assert all(len(line) <= 20 for line in lines)
    async with client.get(f"/v1/jobs/{job_id}/transcript?format=vtt&input=1&highlightWords=true") as response:
        assert (await response.text()).count("<u>") == len(WORDS)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("format=pdf", "format"),
        ("input=2", "input"),
        ("input=-1", "input"),
        ("maxLineWidth=0", "maxLineWidth"),
        ("maxLineCount=x", "maxLineCount"),
        ("highlightWords=perhaps", "highlightWords"),
        ("frmat=srt", "parameter"),
        ("format=srt&format=vtt", "once"),
    ],
)
async def test_what_cannot_be_meant_is_named(client: aiohttp.ClientSession, job_id: str, query: str, word: str) -> None:
    """400 with the parameter."""
    async with client.get(f"/v1/jobs/{job_id}/transcript?{query}") as response:
        answer: dict[str, Any] = await response.json()
    assert (response.status, answer["error"]["code"]) == (400, "BAD_REQUEST")
    assert word in answer["error"]["message"]


async def test_there_is_none_before_the_end_and_none_of_a_failure(
    client: aiohttp.ClientSession, server: Running, job_id: str
) -> None:
    """409 while it runs, 404 where there never will be one."""
    async with client.post("/v1/jobs", data=form(file(b"a"), field("prompt", "hold")), headers=FORM) as response:
        running = (await response.json())["workerJobId"]
    async with client.get(f"/v1/jobs/{running}/transcript") as response:
        assert response.status == 409
    server.pool.release.set()
    await finished(client, running)
    for path in (
        f"/v1/jobs/{running}/transcript",
        f"/v1/jobs/{job_id}/transcript",
        "/v1/jobs/wk_0123456789ab/transcript",
    ):
        async with client.get(path) as response:
            assert response.status == 404


async def test_a_long_transcript_is_rendered_once(
    client: aiohttp.ClientSession, server: Running, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from a file the next time, with an ETag and ranges; other options and corrections are another one, and
    only so many are kept."""
    monkeypatch.setattr(renderings, "LARGE_BYTES", 0)
    monkeypatch.setattr(renderings, "MOST_KEPT", 3)
    rendered, url = server.service.data.folder(JobId(job_id)).rendered, f"/v1/jobs/{job_id}/transcript?input=1&format="
    async with client.get(f"{url}srt") as response:
        first, etag = await response.read(), response.headers["ETag"]
    assert first.decode() == render(TRANSCRIPT, OutputFormat.SRT, Presentation("zwei"))
    (kept,) = rendered.iterdir()
    async with client.get(f"{url}srt", headers={"Range": "bytes=3-9"}) as response:
        assert (response.status, await response.read()) == (206, first[3:10])
    async with client.get(f"{url}srt", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
    assert [(one, one.stat().st_size) for one in rendered.iterdir()] == [(kept, len(first))]
    for width in range(20, 26):
        async with client.get(f"{url}srt&maxLineWidth={width}") as response:
            assert await response.text() != first.decode()
    assert len(list(rendered.iterdir())) == 3
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    assert not rendered.exists()


async def test_of_a_kept_rendering_the_corrections_are_counted_and_not_read(
    client: aiohttp.ClientSession, server: Running, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands, of which only their version stands in its key: one whose text in the table is none, which
    no other format gets over, does not matter to it."""
    monkeypatch.setattr(renderings, "LARGE_BYTES", 0)
    url, corrections = f"/v1/jobs/{job_id}/transcript?input=1&format=", f"/v1/jobs/{job_id}/corrections"
    edits = {"edits": [{"op": "name", "input": 1, "speaker": "SPEAKER_00", "name": "Anna"}]}
    async with client.patch(corrections, json=edits, headers={"If-Match": '"0"'}) as response:
        assert response.status == 200, await response.text()
    async with client.get(f"{url}srt") as response:
        first = await response.read()
        assert b"Anna" in first
    store = server.service._store
    await store._run(store._db.execute, "UPDATE corrections SET body = 'none'")
    async with client.get(f"{url}srt") as response:
        assert (response.status, await response.read()) == (200, first)
    async with client.get(f"{url}vtt") as response:
        assert response.status == 500


async def test_what_was_rendered_at_the_end_of_the_job_is_sent(
    client: aiohttp.ClientSession, server: Running, job_id: str
) -> None:
    """As it is, where it is asked for as it looks by default and was not corrected; any other look is rendered."""
    outputs, url = server.service.data.folder(JobId(job_id)).outputs, f"/v1/jobs/{job_id}/transcript?input=1&format=srt"
    keep_ready(outputs, 1, {OutputFormat.SRT: b"ready"})
    for more in ("", "&corrected=false", "&highlightWords=false"):
        async with client.get(url + more) as response:
            assert (await response.read(), response.headers["ETag"]) == (b"ready", f'"{sha256(b"ready").hexdigest()}"')
    async with client.get(f"{url}&maxLineWidth=20") as response:
        assert "word0" in await response.text()
    corrections = f"/v1/jobs/{job_id}/corrections"
    async with client.get(corrections) as response:
        etag = response.headers["ETag"]
    edits = {"edits": [{"op": "name", "input": 1, "speaker": "SPEAKER_00", "name": "Anna"}]}
    async with client.patch(corrections, json=edits, headers={"If-Match": etag}) as response:
        assert response.status == 200, await response.text()
    async with client.get(url) as response:
        assert "word0" in await response.text()


async def test_a_disk_that_takes_no_copy_is_no_failure(
    client: aiohttp.ClientSession, server: Running, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transcript is answered all the same."""
    monkeypatch.setattr(renderings, "LARGE_BYTES", 0)
    (server.service.data.folder(JobId(job_id)).rendered).write_bytes(b"in the way")
    async with client.get(f"/v1/jobs/{job_id}/transcript?input=1&format=txt") as response:
        assert await response.text() == render(TRANSCRIPT, OutputFormat.TXT, Presentation("zwei"))


async def test_many_looks_at_once_are_all_sent(
    client: aiohttp.ClientSession, server: Running, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those whose file had to go for others before it was opened, and the same one to many."""
    monkeypatch.setattr(renderings, "LARGE_BYTES", 0)
    monkeypatch.setattr(renderings, "MOST_KEPT", 1)
    url = f"/v1/jobs/{job_id}/transcript?input=1&format=srt&maxLineWidth="

    async def text(width: int) -> str:
        async with client.get(f"{url}{width}") as response:
            assert response.status == 200, await response.text()
            return await response.text()

    widths = [*range(20, 60), *[70] * 8]
    texts = await asyncio.gather(*map(text, widths))
    assert texts == [render(TRANSCRIPT, OutputFormat.SRT, Presentation("zwei", max_line_width=one)) for one in widths]
    await text(100)
    assert len(list(server.service.data.folder(JobId(job_id)).rendered.iterdir())) == 1
