"""Jobs found by words: of names, texts and corrections, by those who may see them, and not after they are gone."""

import json
from pathlib import Path

import aiohttp
import pytest

from btworker.jobs import JobStatus
from btworker.keys import DEFAULT_SCOPES
from btworker.store import Store
from btworker.store.text import Indexed, matching
from tests.a_job import a_job
from tests.http.server import Running, field, file, finished, upload
from tests.waiting import eventually


async def found(client: aiohttp.ClientSession, q: str, **query: str) -> list[str]:
    """Ids of jobs, newest first."""
    async with client.get("/v1/jobs", params={"q": q, **query}) as response:
        assert response.status == 200, await response.text()
        return [job["workerJobId"] for job in (await response.json())["jobs"]]


async def until_found(client: aiohttp.ClientSession, q: str, *ids: str) -> None:
    """Wait until a search gives these jobs, whose words come a moment after them."""

    async def are_found() -> bool:
        return await found(client, q) == list(ids)

    await eventually(are_found, f"{q} finds {len(ids)} jobs")


async def talk(client: aiohttp.ClientSession, name: str, text: str, **headers: str) -> str:
    """A complete job whose transcript has a text."""
    _, job = await upload(client, file(b"abc", filename=name), field("prompt", f"say {text}"), **headers)
    return str((await finished(client, job["workerJobId"]))["workerJobId"])


async def test_jobs_are_found_by_names_and_text(client: aiohttp.ClientSession) -> None:
    """All words have to be there, in any order, whatever case and accents; the beginning of a word will do."""
    board = await talk(client, "Vorstand März.m4a", "We shall buy the Müller factory in Köln.")
    call = await talk(client, "call_17.wav", "The factory is closed.")
    await until_found(client, "factory", call, board)
    for q, ids in {
        "FACT": [call, board], "muller": [board], "koln factory": [board], "marz": [board], "call": [call],
        "17 closed": [call], "factory moon": [], "closed märz": [],
    }.items():  # fmt: skip
        assert await found(client, q) == ids, q
    assert await found(client, "factory", limit="1") == [call]
    assert await found(client, "factory", status="failed") == []


async def test_a_waiting_job_is_found_by_its_name(client: aiohttp.ClientSession, server: Running) -> None:
    """Once it is accepted, and also after its end."""
    _, job = await upload(client, file(b"abc", filename="interview.mp3"), field("prompt", "hold"))
    assert await found(client, "interview") == [job["workerJobId"]]
    server.pool.release.set()
    await finished(client, job["workerJobId"])
    await until_found(client, "interview", job["workerJobId"])


async def test_corrections_are_found_as_they_are_now(client: aiohttp.ClientSession) -> None:
    """A name and a new text are found, and no more once they are undone; a deleted job is found by nothing."""
    job_id = await talk(client, "talk.wav", "Hello there.")
    url = f"/v1/jobs/{job_id}/corrections"

    async def change(version: int, body: object) -> None:
        headers = {"Content-Type": "application/json", "If-Match": f'"{version}"'}
        async with client.patch(url, data=json.dumps(body), headers=headers) as response:
            assert response.status == 200, await response.text()

    text = {"op": "text", "segment": 0, "text": "Good morning, Bernadette."}
    await change(0, {"edits": [{"op": "name", "speaker": "SPEAKER_00", "name": "Anna"}, text]})
    assert await found(client, "anna bernad") == [job_id]
    await change(1, {"restore": 0})
    assert await found(client, "anna") == []
    await change(2, {"restore": 1})
    assert await found(client, "anna") == [job_id]
    await until_found(client, "hello", job_id)
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    for q in ("anna", "hello", "talk"):
        assert await found(client, q) == []


async def test_a_key_finds_only_its_own(client: aiohttp.ClientSession, server: Running) -> None:
    """Whatever the words are."""
    _, token = await server.service.keys.add("other", DEFAULT_SCOPES)
    mine = await talk(client, "mine.wav", "A secret word.")
    theirs = await talk(client, "theirs.wav", "A secret word, too.", Authorization=f"Bearer {token}")
    await until_found(client, "secret", theirs, mine)
    headers = {"Authorization": f"Bearer {token}"}
    async with client.get("/v1/jobs?q=secret", headers=headers) as response:
        assert [job["workerJobId"] for job in (await response.json())["jobs"]] == [theirs]


HOSTILE = [
    '"',
    "a OR b",
    "NEAR(a b)",
    "names:talk",
    "*",
    "^a",
    "{x}",
    "a'; DROP TABLE jobs; --",
    '""" "',
    "-a",
    "a\x00b",
]


@pytest.mark.parametrize("q", HOSTILE)
async def test_words_are_never_commands(client: aiohttp.ClientSession, q: str) -> None:
    """No query is an error of the table: it has words, or is refused for having none."""
    await talk(client, "talk.wav", "a b")
    async with client.get("/v1/jobs", params={"q": q}) as response:
        assert response.status == (200 if any(c.isalnum() for c in q) else 400)
    async with client.get("/v1/jobs", params={"q": "x" * 201}) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, "q")


@pytest.mark.parametrize("overrides", [{"search_text": False}])
async def test_texts_can_be_left_out(client: aiohttp.ClientSession) -> None:
    """WORKER_SEARCH_TEXT=false: names alone."""
    job_id = await talk(client, "talk.wav", "Hello there.")
    await until_found(client, "talk", job_id)
    assert await found(client, "hello") == []


async def test_what_was_not_indexed_is_taken_up(tmp_path: Path) -> None:
    """A job whose words a crash, or an earlier release, left out is listed until they are there; one that is gone
    meanwhile leaves nothing."""
    store = Store.open(tmp_path / "jobs.sqlite3")
    job, gone = a_job(), a_job()
    for one in (job, gone):
        await store.insert(one)
    assert await store.to_index(10) == []
    store._db.execute("UPDATE jobs SET indexed = 0")  # as a table of an earlier release is taken over
    (first, _), (second, _) = await store.to_index(10)
    await store.delete(gone.id)
    await store.index([Indexed(seq, "talk", "", is_final=False) for seq in (first, second)])
    assert await store.to_index(10) == []
    running = job.evolve(status=JobStatus.RUNNING, attempt=1)
    ended = running.evolve(status=JobStatus.COMPLETE, finished_at=1.0)
    assert await store.start_attempt(running) and await store.finish(ended, was=JobStatus.RUNNING)
    assert [one.id for _, one in await store.to_index(10)] == [job.id]
    await store.index([Indexed(first, "talk", "hello", is_final=True)])
    page, _ = await store.page(status=None, limit=5, before=None, words=["hell", "talk"])
    assert [one.id for one in page] == [job.id]
    assert await store.to_index(10) == []
    assert store._db.execute("SELECT count(*) FROM job_text").fetchone()[0] == 1
    await store.close()


def test_a_query_is_quoted() -> None:
    """Words and their beginnings, whatever is in them."""
    assert matching(['say "x"', "b"]) == '"say ""x""" * "b" *'
