"""A job of inputs that lie elsewhere, as JSON and without a controller: what is fetched, refused, and whose it is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.http.elsewhere import elsewhere
from tests.http.keyring import key
from tests.http.server import Running, finished
from tests.waiting import eventually

SOUND = {"one.wav": b"speech" * 1000, "two.wav": b"more speech" * 500}


@pytest.fixture
def asked_for() -> list[str]:
    """Names of the recordings that were asked for, in their order."""
    return []


@pytest.fixture
def gate() -> asyncio.Event:
    """Open, until a test shuts it: what the server of the recordings waits for before it answers."""
    gate = asyncio.Event()
    gate.set()
    return gate


@pytest.fixture
async def place(asked_for: list[str], gate: asyncio.Event) -> AsyncIterator[str]:
    """The address of a server that has the recordings."""

    def content(name: str) -> bytes | None:
        asked_for.append(name)
        return SOUND.get(name)

    async with elsewhere(content, gate=gate) as port:
        yield f"http://127.0.0.1:{port}/talks"


@pytest.fixture
def more() -> dict[str, object]:
    """Settings beside those of all tests here."""
    return {}


@pytest.fixture
def overrides(place: str, more: dict[str, object]) -> dict[str, object]:
    """The operator lets the worker fetch from it."""
    allowed = place.removeprefix("http://").partition("/")[0]
    return {"allowed_hosts": allowed, "download_retry_s": 0.1, "max_files_per_job": 3, **more}


async def sent(client: aiohttp.ClientSession, body: object, **headers: str) -> tuple[int, Any]:
    """Status and answer."""
    async with client.post("/v1/jobs", json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_inputs_are_fetched_in_their_order(client: aiohttp.ClientSession, place: str) -> None:
    """One job for all, with the names that were given, or those that the addresses end with; none is shown again."""
    wanted = [{"url": f"{place}/two.wav?sig=secret"}, {"url": f"{place}/one.wav", "filename": "../../talk.wav"}]
    status, job = await sent(client, {"inputs": wanted, "options": {"language": "de"}})
    assert (status, job["stage"], job["options"]["language"]) == (201, "downloading", "de")
    ended = await finished(client, job["workerJobId"])
    assert ended["status"] == "complete"
    assert [(item["filename"], item["sizeBytes"]) for item in ended["inputs"]] == [
        ("two.wav", len(SOUND["two.wav"])),
        ("talk.wav", len(SOUND["one.wav"])),
    ]
    assert "secret" not in str(job) + str(ended)


async def test_one_that_is_not_there_ends_the_job(client: aiohttp.ClientSession, place: str) -> None:
    """With what its server answered."""
    _, job = await sent(client, {"inputs": [{"url": f"{place}/one.wav"}, {"url": f"{place}/nothing"}]})
    ended = await finished(client, job["workerJobId"])
    assert (ended["error"]["code"], ended["error"]["message"]) == (
        "DOWNLOAD_FAILED",
        "127.0.0.1 answered 404 to the download",
    )


async def test_the_same_key_is_the_same_job(client: aiohttp.ClientSession, place: str) -> None:
    """A program that does not know whether its request arrived sends it again."""
    body = {"inputs": [{"url": f"{place}/one.wav"}]}
    first, second = [await sent(client, body, **{"Idempotency-Key": "k"}) for _ in range(2)]
    assert (first[0], second[0]) == (201, 200)
    assert first[1]["workerJobId"] == second[1]["workerJobId"]


async def test_it_is_its_keys_own(client: aiohttp.ClientSession, server: Running, place: str) -> None:
    """Every key may send one, with its own token; another key does not see it."""
    status, job = await sent(client, {"inputs": [{"url": f"{place}/one.wav"}]}, **await key(server, "ann"))
    assert (status, job["owner"]) == (201, "ann")
    async with client.get(f"/v1/jobs/{job['workerJobId']}", headers=await key(server, "bob")) as response:
        assert response.status == 404


@pytest.mark.parametrize("more", [{"downloads": 1}])
async def test_files_are_fetched_in_turn_for_each_key(
    client: aiohttp.ClientSession, server: Running, place: str, asked_for: list[str], gate: asyncio.Event
) -> None:
    """One that has many of them does not keep those of another waiting."""
    ann, bob = await key(server, "ann"), await key(server, "bob")
    gate.clear()
    jobs = [await sent(client, {"inputs": [{"url": f"{place}/one.wav"}] * 3}, **ann)]
    await eventually(lambda: asked_for, "the first file is asked for")
    jobs.append(await sent(client, {"inputs": [{"url": f"{place}/two.wav"}]}, **bob))
    await eventually(lambda: len(server.service.outbound._downloads._turns._lines) == 2, "both wait for their turns")
    gate.set()
    for _, job in jobs:
        assert (await finished(client, job["workerJobId"]))["status"] == "complete"
    assert asked_for == ["one.wav", "one.wav", "two.wav", "one.wav"]


async def test_a_full_queue_or_a_drain_refuses_it(client: aiohttp.ClientSession, server: Running, place: str) -> None:
    """As an upload; only a controller's job is always taken."""
    server.service.begin_drain()
    status, answer = await sent(client, {"inputs": [{"url": f"{place}/one.wav"}]})
    assert (status, answer["error"]["code"]) == (503, "DRAINING")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": []}, "inputs: must have at least 1; send {"),
        ({"inputs": "x"}, "inputs: must be a list; send {"),
        ({"inputs": [{"url": 5}]}, "inputs.0.url: must be a text; send {"),
        ({"inputs": [{"s3": {"store": "a", "bucket": "b"}}]}, "inputs.0.s3.bucket: must match ^[A-Za-z0-9]["),
        ({"inputs": [{"s3": {"store": "a", "bucket": "bb"}}]}, "inputs.0.s3.key: is missing; send {"),
        (
            {"inputs": [{"s3": {"store": "a", "bucket": "bb", "key": ".."}}]},
            "inputs.0.s3.key: must be the name of an object",
        ),
        ({"inputs": [{"url": "https://a.example/b"}], "outputsTo": "there"}, "outputsTo: must be an object; send {"),
        ({"inputs": [{"url": "https://a.example/b"}], "more": 1}, "more: there is no such field; send {"),
    ],
)
async def test_what_is_wrong_is_said_in_our_words(client: aiohttp.ClientSession, body: object, words: str) -> None:
    """Not in those of a library, which are about Python's types."""
    answer = (await sent(client, body))[1]
    assert answer["error"]["message"].startswith(words)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"inputs": []}, "BAD_REQUEST", "inputs"),
        ({"inputs": "http://a.example/b"}, "BAD_REQUEST", "inputs"),
        ({"inputs": [{}]}, "BAD_REQUEST", "inputs.0"),
        ({"inputs": [{"url": 7}]}, "BAD_REQUEST", "inputs.0.url"),
        ({"inputs": [{"url": "http://a.example/b", "path": "/etc/passwd"}]}, "BAD_REQUEST", "inputs.0.path"),
        ({"inputs": [{"url": "http://a.example/b"}], "more": 1}, "BAD_REQUEST", "more"),
        ({"inputs": [{"url": f"http://a.example/{n}"} for n in range(4)]}, "BAD_REQUEST", "inputs"),
        ({"inputs": [{"url": "http://a.example/b"}], "options": {"speed": 2}}, "BAD_OPTION", "speed"),
        ({"inputs": [{"url": "http://a.example/b"}], "options": {"url": "http://a.example/c"}}, "BAD_OPTION", "url"),
        (
            {"inputs": [{"url": "http://a.example/b"}], "options": {"knownSpeakerNames": ["Nobody"]}},
            "BAD_OPTION",
            "known_speaker_names",
        ),
    ],
)
async def test_what_cannot_be_followed_is_refused(
    client: aiohttp.ClientSession, server: Running, body: object, code: str, param: str
) -> None:
    """By name, before anything is fetched; nothing stays."""
    status, answer = await sent(client, body)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, code, param)
    assert server.files() == []


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "file:///etc/passwd", "http://localhost/a", "talk"])
async def test_an_address_of_the_inside_is_refused(client: aiohttp.ClientSession, server: Running, url: str) -> None:
    """By the guard of all URLs, and by the number of the input."""
    status, answer = await sent(client, {"inputs": [{"url": "https://a.example/b"}, {"url": url}]})
    assert (status, answer["error"]["code"]) == (403, "URL_REFUSED")
    assert answer["error"]["message"].startswith("inputs.1.url is refused: ")
    assert server.files() == []
