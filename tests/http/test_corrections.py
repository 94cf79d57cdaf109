"""Corrections over HTTP: changes with If-Match, their history, undo, and what is refused."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from btworker.durable import write_durably
from btworker.jobs import OutputFormat
from btworker.keys import Scope
from btworker.outputs import FORMATS, Presentation, render
from btworker.transcript import Segment, Transcript, Turn, Word
from tests.http.server import Running, field, file, finished, until_running, upload

JSON_BODY = {"Content-Type": "application/json"}


def found() -> Transcript:
    """What an engine found: three segments of two people."""
    said = [("SPEAKER_00", " Good morning."), ("SPEAKER_01", " Thank you, Ana."), ("SPEAKER_00", " Not at all.")]
    segments = []
    for number, (speaker, text) in enumerate(said):
        words = tuple(
            Word(f" {word}", 2.0 * number + place / 2, 2.0 * number + place / 2 + 0.4, 0.9, speaker)
            for place, word in enumerate(text.split())
        )
        segments.append(
            Segment(number, 0, 2.0 * number, 2.0 * number + 1.5, text, words=words, speaker=speaker, tokens=(1, 2))
        )
    turns = tuple(Turn(one.start, one.end, one.speaker or "") for one in segments)
    return Transcript("".join(text for _, text in said), "en", tuple(segments), 6.0, turns)


async def corrected(client: aiohttp.ClientSession, server: Running) -> str:
    """Address of the corrections of a job that has ended with `found`."""
    _, job = await upload(client, file(b"abc", filename="talk.wav"))
    job_id = str((await finished(client, job["workerJobId"]))["workerJobId"])
    path = server.context.data.folder(job_id).transcript(0)  # type: ignore[arg-type]
    write_durably(path, render(found(), OutputFormat.JSON, Presentation("talk")).encode())
    return f"/v1/jobs/{job_id}/corrections"


async def change(
    client: aiohttp.ClientSession, url: str, version: object, body: Any, **headers: str
) -> tuple[int, Any]:
    """A PATCH that stands on a version."""
    sent = {**JSON_BODY, "If-Match": f'"{version}"', **headers}
    async with client.patch(url, data=json.dumps(body), headers=sent) as response:
        return response.status, {**await response.json(), "etag": response.headers.get("ETag")}


async def state(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as response:
        assert response.status == 200
        return await response.json()


ANNA = {"edits": [{"op": "name", "speaker": "SPEAKER_00", "name": " Anna\u202e\n Müller "}]}


async def test_changes_have_versions_in_order(client: aiohttp.ClientSession, server: Running) -> None:
    """Each kind of edit, what is corrected then, who did it, and an ETag that is the version."""
    url = await corrected(client, server)
    assert await state(client, url) == {"version": 0, "newest": 0, "inputs": []}
    status, first = await change(client, url, 0, ANNA)
    assert (status, first["version"], first["by"], first["etag"]) == (200, 1, "operator", '"1"')
    edits = [
        {"op": "merge", "speaker": "SPEAKER_01", "into": "SPEAKER_00"},
        {"op": "assign", "segment": 2, "speaker": "SPEAKER_02"},
        {"op": "text", "segment": 1, "text": "Thank you,\x00\nAnna."},
        {"op": "check", "segment": 1, "checked": True},
    ]
    assert (await change(client, url, 1, {"edits": edits}))[0] == 200
    assert await state(client, url) == {
        "version": 2,
        "newest": 2,
        "inputs": [
            {
                "input": 0,
                "speakers": [
                    {"speaker": "SPEAKER_00", "name": "Anna Müller", "mergedInto": None},
                    {"speaker": "SPEAKER_01", "name": None, "mergedInto": "SPEAKER_00"},
                ],
                "segments": [
                    {"segment": 1, "text": "Thank you, Anna.", "speaker": None, "checked": True},
                    {"segment": 2, "text": None, "speaker": "SPEAKER_02", "checked": False},
                ],
            }
        ],
    }
    async with client.get(url, headers={"If-None-Match": '"2"'}) as response:
        assert (response.status, response.headers["ETag"]) == (304, '"2"')
    async with client.get(f"{url}?version=1") as response:
        assert len((await response.json())["inputs"][0]["segments"]) == 0


async def test_undo_to_any_version_and_the_history(client: aiohttp.ClientSession, server: Running) -> None:
    """What is brought back is a version of its own: nothing is lost, and an undo can be undone."""
    url = await corrected(client, server)
    await change(client, url, 0, ANNA)
    await change(client, url, 1, {"edits": [{"op": "name", "speaker": "SPEAKER_00", "name": "Ben"}]})
    assert (await change(client, url, 2, {"restore": 1}))[1]["restored"] == 1
    assert (await state(client, url))["inputs"][0]["speakers"][0]["name"] == "Anna Müller"
    assert (await change(client, url, 3, {"restore": 0}))[0] == 200
    assert (await state(client, url))["inputs"] == []
    assert (await change(client, url, 4, {"restore": 2}))[0] == 200
    assert (await state(client, url))["inputs"][0]["speakers"][0]["name"] == "Ben"
    async with client.get(f"{url}/history?limit=2") as response:
        page = await response.json()
    assert ([one["version"] for one in page["changes"]], page["before"]) == ([5, 4], 4)
    async with client.get(f"{url}/history?before={page['before']}") as response:
        page = await response.json()
    assert ([one["version"] for one in page["changes"]], page["before"]) == ([3, 2, 1], None)
    assert page["changes"][2]["edits"][0]["name"] == "Anna Müller"


async def test_two_writers_never_overwrite_each_other(client: aiohttp.ClientSession, server: Running) -> None:
    """Of two changes that stand on one version the second is refused with 412, and both are there once it is sent
    again; without If-Match it is 428."""
    url = await corrected(client, server)

    async def write(writer: int) -> int:
        refused = 0
        for number in range(10):
            while True:
                version = (await state(client, url))["version"]
                edit = {"op": "text", "segment": writer, "text": f"{writer}.{number}"}
                status, _ = await change(client, url, version, {"edits": [edit]})
                if status == 200:
                    break
                assert status == 412
                refused += 1
        return refused

    refused = await asyncio.gather(*map(write, range(3)))
    assert sum(refused) > 0
    async with client.get(f"{url}/history?limit=1000") as response:
        changes = (await response.json())["changes"]
    assert [one["version"] for one in changes] == list(range(30, 0, -1))
    for writer in range(3):
        texts = [edit["text"] for one in changes[::-1] for edit in one["edits"] if edit["segment"] == writer]
        assert texts == [f"{writer}.{number}" for number in range(10)]
    async with client.patch(url, data=json.dumps(ANNA), headers=JSON_BODY) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (428, "PRECONDITION_REQUIRED")


MISTAKES = {
    "no edits": ({"edits": []}, "send edits"),
    "both": ({**ANNA, "restore": 0}, "send edits"),
    "no object": ([1], "the body"),
    "unknown op": ({"edits": [{"op": "shout"}]}, "edits.0"),
    "unknown field": ({"edits": [{**ANNA["edits"][0], "color": "red"}]}, "edits.0.color"),
    "no such speaker": ({"edits": [{"op": "name", "speaker": "Anna", "name": "x"}]}, "SPEAKER_00, SPEAKER_01"),
    "empty name": ({"edits": [{"op": "name", "speaker": "SPEAKER_00", "name": " \u200b "}]}, "1 to 100 characters"),
    "no such segment": ({"edits": [{"op": "text", "segment": 3, "text": "x"}]}, "has 3 segments, counted from 0"),
    "no such input": ({"edits": [{"op": "check", "input": 1, "segment": 0, "checked": True}]}, "has 1 input"),
    "a number as text": ({"edits": [{"op": "text", "segment": 0, "text": 3}]}, "edits.0.text"),
    "long text": ({"edits": [{"op": "text", "segment": 0, "text": "x" * 10_001}]}, "10000 characters"),
    "into itself": ({"edits": [{"op": "merge", "speaker": "SPEAKER_00", "into": "SPEAKER_00"}]}, "one already"),
    "to a stranger": ({"edits": [{"op": "assign", "segment": 0, "speaker": "../x"}]}, "or a new SPEAKER_NN"),
    "a later version": ({"restore": 7}, "there is no version 7"),
    "too many": ({"edits": ANNA["edits"] * 1001}, "at most 1000"),
}  # fmt: skip


async def test_each_mistake_is_named_and_changes_nothing(client: aiohttp.ClientSession, server: Running) -> None:
    """400 with what is wrong, also where other edits of the same change are right."""
    url = await corrected(client, server)
    for kind, (body, words) in MISTAKES.items():
        status, answer = await change(client, url, 0, body)
        assert (status, answer["error"]["code"]) == (400, "BAD_OPTION"), (kind, answer)
        assert words in answer["error"]["message"], (kind, answer)
    circle = [("SPEAKER_00", "SPEAKER_01"), ("SPEAKER_01", "SPEAKER_00")]
    edits = [{"op": "merge", "speaker": speaker, "into": into} for speaker, into in circle]
    assert "edits[1]" in (await change(client, url, 0, {"edits": edits}))[1]["error"]["message"]
    assert (await change(client, url, 0, ANNA, **{"Content-Type": "text/plain"}))[0] == 415
    assert (await change(client, url, "x", ANNA))[0] == 412
    assert (await state(client, url))["version"] == 0


async def test_before_its_end_a_job_has_no_corrections(client: aiohttp.ClientSession, server: Running) -> None:
    """409 while it runs; a job that is deleted takes them along."""
    _, job = await upload(client, file(b"abc"), field("prompt", "hold"))
    await until_running(client, job["workerJobId"])
    held = f"/v1/jobs/{job['workerJobId']}/corrections"
    assert (await change(client, held, 0, ANNA))[1]["error"]["code"] == "CONFLICT"
    server.pool.release.set()
    url = await corrected(client, server)
    await change(client, url, 0, ANNA)
    job_id = url.split("/")[3]
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    async with client.get(url) as response:
        assert response.status == 404
    assert await server.service.corrections._store.corrections(job_id) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("overrides", [{"corrections_limit": 3}])
async def test_there_is_a_limit(client: aiohttp.ClientSession, server: Running) -> None:
    """Edits of all versions count, and an undo for one: what is too much is 409 and names the setting."""
    url = await corrected(client, server)
    for version in range(2):
        assert (await change(client, url, version, ANNA))[0] == 200
    assert (await change(client, url, 2, {"restore": 0}))[0] == 200
    status, answer = await change(client, url, 3, ANNA)
    assert (status, "WORKER_CORRECTIONS_LIMIT" in answer["error"]["message"]) == (409, True)


async def test_who_corrected_is_the_keys_name(client: aiohttp.ClientSession, server: Running) -> None:
    """A key that may see the job and not change it corrects nothing."""
    url = await corrected(client, server)
    for name, scopes, status in (("editor", (Scope.ADMIN,), 200), ("reader", (Scope.READ_ALL, Scope.SUBMIT), 403)):
        _, token = await server.service.keys.add(name, scopes)
        seen = await change(client, url, 0, ANNA, Authorization=f"Bearer {token}")
        assert seen[0] == status
        assert seen[1].get("by") in (name, None)


async def test_every_format_has_the_corrections_or_not(client: aiohttp.ClientSession, server: Running) -> None:
    """The transcript is corrected unless it is asked for raw; raw it is what it was before anybody corrected it."""
    url = await corrected(client, server)
    transcript = url.replace("corrections", "transcript")

    async def all_formats(query: str = "") -> dict[OutputFormat, bytes]:
        made = {}
        for kind in OutputFormat:
            async with client.get(f"{transcript}?format={kind.value}{query}") as response:
                assert response.status == 200, await response.text()
                assert response.content_type == FORMATS[kind].content_type.partition(";")[0]
                made[kind] = await response.read()
        return made

    before = await all_formats()
    texts = [{"op": "text", "segment": 1, "text": "Thank you, Anna."}]
    assert (await change(client, url, 0, {"edits": [*ANNA["edits"], *texts]}))[0] == 200
    after, raw = await all_formats(), await all_formats("&corrected=false")
    for kind in OutputFormat:
        if kind is not OutputFormat.DOCX:
            assert raw[kind] == before[kind]
            assert ("Anna Müller" if kind is not OutputFormat.RTTM else "Anna_Müller").encode() in after[kind], kind
    assert (await change(client, url, 1, {"restore": 0}))[0] == 200
    assert (await all_formats())[OutputFormat.JSON] == before[OutputFormat.JSON]
