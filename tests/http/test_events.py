"""A job as server-sent events: every segment once, in order, also for those who come late or come back."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import JobId
from btworker.pool import Phase
from btworker.transcript import Segment, Transcript
from tests.http.event_stream import heard, segments
from tests.http.server import FORM, Running, field, file, finished, form
from tests.waiting import eventually

LISTENERS = 100


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btworker.service.live.JOURNAL_POLL_S", 0.02)
    monkeypatch.setattr("btworker.service.live.WORK_POLL_S", 0.02)


@pytest.fixture
async def job_id(client: aiohttp.ClientSession, server: Running) -> str:
    """A job that runs until it is released."""
    async with client.post("/v1/jobs", data=form(file(b"a"), field("prompt", "hold")), headers=FORM) as response:
        job_id = str((await response.json())["workerJobId"])
    await eventually(lambda: server.service._table.live[JobId(job_id)].status.value == "running")
    return job_id


def window(server: Running, job_id: str, *found: dict[str, Any], torn: str = "") -> None:
    """Append a finished window, as the child does."""
    path = server.service.data.folder(JobId(job_id)).windows_of(0)
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as journal:
        journal.write(json.dumps({"index": 0, "segments": list(found)}) + "\n" + torn)


def transcript(server: Running, job_id: str, count: int) -> None:
    """What a job of the real engine leaves."""
    whole = Transcript("", "en", tuple(Segment.from_dict(raw) for raw in segments(0, count)), float(count))
    path = server.service.data.folder(JobId(job_id)).transcript(0)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(whole.to_dict()))


async def all_of(client: aiohttp.ClientSession, job_id: str, **headers: str) -> list[tuple[str, str | None, Any]]:
    return [event async for event in heard(client, job_id, **headers)]


def texts(events: list[tuple[str, str | None, Any]]) -> list[str]:
    return [data["text"] for name, _, data in events if name == "segment"]


async def test_segments_come_as_they_are_done(client: aiohttp.ClientSession, server: Running, job_id: str) -> None:
    """While the job runs, and the whole job at its end; who comes later gets all of it from the transcript."""
    events = heard(client, job_id)
    assert (await anext(events))[0] == "status"
    assert (await anext(events))[0] == "progress"
    window(server, job_id, *segments(0, 2), torn='{"index": 1, "segme')
    assert [await anext(events), await anext(events)] == [
        ("segment", "0:1000", {"inputIndex": 0, "start": 0.0, "end": 1.0, "text": "said 0"}),
        ("segment", "0:2000", {"inputIndex": 0, "start": 1.0, "end": 2.0, "text": "said 1"}),
    ]
    server.pool.release.set()
    rest = [event async for event in events]
    assert rest[-1][0] == "done"
    assert rest[-1][2]["status"] == "complete"
    transcript(server, job_id, 3)
    late = await all_of(client, job_id)
    assert texts(late) == ["said 0", "said 1", "said 2"]
    assert [event[0] for event in late][-1] == "done"


async def test_who_comes_back_gets_the_rest(client: aiohttp.ClientSession, server: Running, job_id: str) -> None:
    """From the id that it names, by header or by query; nonsense is named."""
    server.pool.release.set()
    await finished(client, job_id)
    transcript(server, job_id, 4)
    assert texts(await all_of(client, job_id, **{"Last-Event-ID": "0:2000"})) == ["said 2", "said 3"]
    async with client.get(f"/v1/jobs/{job_id}/events?lastEventId=0:4000") as response:
        assert b"event: segment" not in await response.read()
    async with client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}) as response:
        assert response.status == 400


async def test_a_second_attempt_tells_nobody_twice(client: aiohttp.ClientSession, server: Running, job_id: str) -> None:
    """Its journal may begin anew."""
    events = heard(client, job_id)
    window(server, job_id, *segments(0, 2))
    first = [await anext(events) for _ in range(4)]
    server.service.data.folder(JobId(job_id)).windows_of(0).unlink()
    window(server, job_id, *segments(0, 1))
    await asyncio.sleep(0.1)  # looks at the shorter file
    window(server, job_id, *segments(1, 2))
    following = await anext(events)
    assert texts(first) == ["said 0", "said 1"]
    assert following[2]["text"] == "said 2"
    await events.aclose()


async def test_many_listen_at_once(client: aiohttp.ClientSession, server: Running, job_id: str) -> None:
    """All hear the same; one look serves them all, and nothing is left when they have gone."""
    listening = [asyncio.create_task(all_of(client, job_id)) for _ in range(LISTENERS)]
    await eventually(
        lambda: server.service.feeds._feeds and next(iter(server.service.feeds._feeds.values())).listeners == 100
    )
    window(server, job_id, *segments(0, 5))
    feed = next(iter(server.service.feeds._feeds.values()))
    await eventually(lambda: len(feed.segments) == 5)
    server.pool.release.set()
    for events in await asyncio.gather(*listening):
        assert texts(events) == [f"said {n}" for n in range(5)]
        assert events[-1][0] == "done"
    assert not server.service.feeds._feeds


async def test_a_canceled_job_ends_its_streams(client: aiohttp.ClientSession, job_id: str) -> None:
    """With how it ended; a job that is not there has none."""
    events = heard(client, job_id)
    await anext(events)
    async with client.post(f"/v1/jobs/{job_id}/cancel"):
        pass
    rest = [event async for event in events]
    assert rest[-1][0] == "done"
    assert rest[-1][2]["status"] == "canceled"
    async with client.get("/v1/jobs/wk_000000000000/events") as response:
        assert response.status == 404


async def test_what_a_job_waits_for_is_told_as_it_changes(client: aiohttp.ClientSession, server: Running) -> None:
    """The model on its way, how far it is, why it cannot be had: as events, in the job and in `ready`."""
    server.pool.phase, server.pool.loading = Phase.STARTING, "downloading the model tiny (1 of 72 MB)"
    async with client.post("/v1/jobs", data=form(file(b"a")), headers=FORM) as response:
        job = await response.json()
    assert (job["status"], job["stage"], job["waitingFor"]) == ("queued", "loading_model", server.pool.loading)
    stream = heard(client, job["workerJobId"])
    told = []
    async for name, _, data in stream:
        if name == "status":
            told.append((data["waitingFor"], data["warnings"]))
        if len(told) == 1:
            async with client.get("/health/ready") as response:
                body = await response.json()
            assert body["loading"] and body["reasons"] == [f"no worker is ready yet: {server.pool.loading}"]
            server.pool.loading = "downloading the model tiny (72 of 72 MB)"
        elif len(told) == 2:
            server.pool.problem = ErrorInfo(ErrorCode.MODEL_UNAVAILABLE, "it is no model")
        elif len(told) == 3:
            server.pool.phase, server.pool.problem = Phase.IDLE, None
            await server.pool.start()
            break
    assert told == [
        ("downloading the model tiny (1 of 72 MB)", []),
        ("downloading the model tiny (72 of 72 MB)", []),
        ("cannot load: it is no model", ["cannot load: it is no model"]),
    ]
    await stream.aclose()
    done = await finished(client, job["workerJobId"])
    assert (done["status"], done["waitingFor"], done["warnings"]) == ("complete", None, [])


async def test_a_job_in_the_line_is_told_as_it_moves_up(client: aiohttp.ClientSession, job_id: str) -> None:
    """Each place that it gains is an event, with what it waits for; so is its start."""
    waiting = []
    for _ in range(3):
        async with client.post("/v1/jobs", data=form(file(b"a")), headers=FORM) as response:
            waiting.append((await response.json())["workerJobId"])
    told, stream = [], heard(client, waiting[-1])
    async for name, _, data in stream:
        if name == "status" and data["status"] == "queued":
            told.append((data["queuePosition"], data["waitingFor"]))
            if len(told) <= 2:
                async with client.post(f"/v1/jobs/{waiting[len(told) - 1]}/cancel"):
                    pass
            else:
                break
    await stream.aclose()
    free = "a worker that is free"
    assert told == [(2, f"{free}, 2 jobs before it"), (1, f"{free}, 1 job before it"), (0, free)]
    async with client.post(f"/v1/jobs/{job_id}/cancel"):
        pass
    assert (await finished(client, waiting[-1]))["waitingFor"] is None


async def test_openais_stream_says_in_comments_what_a_job_waits_for(
    client: aiohttp.ClientSession, job_id: str, server: Running
) -> None:
    """Clients skip them; who looks at the stream sees why there is no text yet."""
    asked = form(field("model", "whisper-1"), field("stream", "true"), file(b"b"))
    async with client.post("/v1/audio/transcriptions", data=asked, headers=FORM) as response:
        assert await response.content.readline() == b": waiting for a worker that is free\n"
        server.pool.release.set()
        assert (await response.text()).endswith("data: [DONE]\n\n")
