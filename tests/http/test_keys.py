"""Keys over HTTP: each route with each scope, and what is another key's is not there."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from itertools import chain, combinations
from typing import Any

import aiohttp
import pytest

from btworker.client import Client, ClientError
from btworker.keys import OPERATOR, Limits, Scope, implied
from btworker.voices import Voice
from btworker.web.access import Door
from btworker.web.routes import ROUTES, Route
from tests.http.dispatching import body as dispatch
from tests.http.keyring import key
from tests.http.resumable import PATCH, TUS, metadata
from tests.http.server import FORM, Running, field, file, finished, form, upload

SCOPES = [*chain.from_iterable(combinations(Scope, size) for size in (1, 2))]
NAMED = re.compile(r"\{(job_id|upload_id|voice_id)\}")
UNKNOWN = {"job_id": "wk_0123456789abcdef", "upload_id": "up_" + "0" * 32, "voice_id": "vo_0123456789abcdef"}
NEEDS: dict[tuple[str, str], set[Scope]] = {
    ("GET", "/metrics"): {Scope.METRICS},
    ("GET", "/v1/ping"): set(),
    ("GET", "/v1/preflight"): set(),
    ("POST", "/v1/jobs"): {Scope.SUBMIT},
    ("GET", "/v1/jobs"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}"): {Scope.READ_OWN},
    ("DELETE", "/v1/jobs/{job_id}"): {Scope.SUBMIT},
    ("POST", "/v1/jobs/{job_id}/cancel"): {Scope.SUBMIT},
    ("GET", "/v1/jobs/{job_id}/events"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/transcript"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/outputs"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/outputs/{name:[^/]+}"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/corrections"): {Scope.READ_OWN},
    ("PATCH", "/v1/jobs/{job_id}/corrections"): {Scope.SUBMIT},
    ("GET", "/v1/jobs/{job_id}/corrections/history"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/inputs/{index}/audio"): {Scope.READ_OWN},
    ("GET", "/v1/jobs/{job_id}/inputs/{index}/peaks"): {Scope.READ_OWN},
    ("POST", "/v1/jobs/{job_id}/inputs/{index}/tickets"): {Scope.READ_OWN},
    ("POST", "/v1/audio/transcriptions"): {Scope.SUBMIT, Scope.READ_OWN},
    ("POST", "/v1/audio/translations"): {Scope.SUBMIT, Scope.READ_OWN},
    ("POST", "/openai/v1/audio/transcriptions"): {Scope.SUBMIT, Scope.READ_OWN},
    ("POST", "/openai/v1/audio/translations"): {Scope.SUBMIT, Scope.READ_OWN},
    ("GET", "/openai/v1/models"): set(),
    ("GET", "/openai/v1/models/{model:.+}"): set(),
    ("POST", "/v1/voices"): {Scope.SUBMIT},
    ("GET", "/v1/voices"): {Scope.READ_OWN},
    ("DELETE", "/v1/voices/{voice_id}"): {Scope.SUBMIT},
    ("GET", "/v1/usage"): {Scope.READ_OWN},
    ("GET", "/v1/models"): set(),
    ("GET", "/v1/models/{model:.+}"): set(),
    ("OPTIONS", "/v1/uploads"): set(),
    ("POST", "/v1/uploads"): {Scope.SUBMIT},
    ("OPTIONS", "/v1/uploads/{upload_id}"): set(),
    ("HEAD", "/v1/uploads/{upload_id}"): {Scope.SUBMIT},
    ("PATCH", "/v1/uploads/{upload_id}"): {Scope.SUBMIT},
    ("DELETE", "/v1/uploads/{upload_id}"): {Scope.SUBMIT},
    ("POST", "/v1/uploads/{upload_id}"): {Scope.SUBMIT},
    ("*", "/{path:.*}"): set(),
}
"""What each route wants, written once more: the table may not change by itself."""


@pytest.fixture
def overrides() -> dict[str, object]:
    return {"metrics_public": False}


@pytest.fixture
async def session(server: Running) -> Any:
    """A client without a token of its own."""
    async with aiohttp.ClientSession(server.url) as session:
        yield session


def closed() -> list[Route]:
    return [route for route in ROUTES if route.access.door is not Door.OPEN]


def method_of(route: Route) -> str:
    return "GET" if route.method == "*" else route.method


def path_of(route: Route, ids: dict[str, str]) -> str:
    path = NAMED.sub(lambda found: ids[found[1]], route.path)
    return (
        path.replace("{name:[^/]+}", "x.json")
        .replace("{model:.+}", "tiny")
        .replace("{index}", "0")
        .replace("{path:.*}", "v1/nothing")
    )


def test_what_each_route_wants_is_written_down() -> None:
    """A route that is added says here, too, what a key needs for it."""
    assert {(route.method, route.path): set(route.access.scopes) for route in closed()} == NEEDS


async def test_each_route_with_each_scope(server: Running, session: aiohttp.ClientSession) -> None:
    """403 where the key lacks a scope, and something else where it has what the route wants, on every closed route and
    for each scope and each two of them."""
    for number, scopes in enumerate(SCOPES):
        header = await key(server, f"k{number}", *scopes)
        for route in closed():
            async with session.request(method_of(route), path_of(route, UNKNOWN), headers=header) as response:
                good = NEEDS[route.method, route.path] <= implied(scopes)
                assert (response.status != 403) is good, (route.method, route.path, scopes, response.status)
                assert response.status != 401
                if not good and method_of(route) != "HEAD":
                    assert (await response.json())["error"]["code"] == "FORBIDDEN"


async def made(server: Running, session: aiohttp.ClientSession, header: dict[str, str], owner: str) -> dict[str, str]:
    """A job, an upload and a voice of a key."""
    async with session.post("/v1/uploads", headers={**TUS, **header, "Upload-Length": "6"}) as response:
        upload_id = response.headers["Location"].rpartition("/")[2]
    status, job = await upload(session, file(b"speech"), **header)
    assert status == 201, job
    voice = server.context.voices.add("Ben", Voice((0.5, -0.25), "0123456789abcdef", 5.0), owner)
    return {"job_id": job["workerJobId"], "upload_id": upload_id, "voice_id": voice.id}


async def test_what_is_another_keys_is_not_there(server: Running, session: aiohttp.ClientSession) -> None:
    """On every route with an id, found by walking the table: 404 in the words of an id that never was, and nothing
    changes."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    owner = server.service.keys.all()[0].id
    ids = await made(server, session, alice, owner)
    named = [route for route in closed() if NAMED.search(route.path) and route.access.scopes]
    assert len(named) >= 12
    for route in named:
        answers = []
        for asked in (ids, UNKNOWN):
            for headers in ({**bob, **TUS}, bob):
                async with session.request(route.method, path_of(route, asked), headers=headers) as response:
                    answers.append((response.status, await response.text()))
        assert {status for status, _ in answers} == {404} and len({text for _, text in answers}) == 1, (route, answers)
    for path in ("/v1/jobs", "/v1/jobs?q=talk"):
        for header, jobs in ((bob, []), (alice, [ids["job_id"]])):
            async with session.get(path, headers=header) as response:
                assert [job["workerJobId"] for job in (await response.json())["jobs"]] == jobs, path
    async with session.get("/v1/voices", headers=bob) as response:
        assert (await response.json())["voices"] == []
    async with session.get(f"/v1/jobs/{ids['job_id']}", headers=alice) as response:
        assert (await response.json())["owner"] == "alice"
    async with session.get("/v1/voices", headers=alice) as response:
        assert [voice["id"] for voice in (await response.json())["voices"]] == [ids["voice_id"]]
    async with session.head(f"/v1/uploads/{ids['upload_id']}", headers={**alice, **TUS}) as response:
        assert response.status == 200


async def test_read_all_sees_and_does_not_touch(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Jobs of every key; to change them is 403. The admin may do both."""
    alice = await key(server, "alice")
    ids = await made(server, session, alice, server.service.keys.all()[0].id)
    job = f"/v1/jobs/{ids['job_id']}"
    await finished(client, ids["job_id"])
    auditor = await key(server, "auditor", Scope.READ_ALL, Scope.SUBMIT)
    for path in (job, f"{job}/outputs", f"{job}/events"):
        async with session.get(path, headers=auditor) as response:
            assert response.status == 200
    async with session.get("/v1/jobs", headers=auditor) as response:
        assert [one["owner"] for one in (await response.json())["jobs"]] == ["alice"]
    for path in (job, f"/v1/voices/{ids['voice_id']}"):
        async with session.delete(path, headers=auditor) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (403, "FORBIDDEN")
    admin = await key(server, "admin", Scope.ADMIN)
    for path in (job, f"/v1/voices/{ids['voice_id']}"):
        async with session.delete(path, headers=admin) as response:
            assert response.status == 204


async def test_what_came_without_a_key_is_the_operators(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """WORKER_TOKEN sees everybody's jobs, and its own are nobody else's."""
    alice = await key(server, "alice")
    ids = await made(server, client, {}, OPERATOR)
    await upload(session, file(b"speech"), **alice)
    async with session.get(f"/v1/jobs/{ids['job_id']}", headers=alice) as response:
        assert response.status == 404
    async with client.get("/v1/jobs") as response:
        assert [job["owner"] for job in (await response.json())["jobs"]] == ["alice", "operator"]


async def test_the_same_idempotency_key_of_two_keys_is_two_jobs(
    server: Running, session: aiohttp.ClientSession
) -> None:
    """On /v1/jobs and, where the bytes are the key, on OpenAI's route."""
    headers = [await key(server, name) for name in ("alice", "bob")]
    answers = [await upload(session, file(b"speech"), **header, Idempotency_Key="1") for header in headers * 2]
    assert [status for status, _ in answers] == [201, 201, 200, 200]
    assert [answers[n][1]["workerJobId"] == answers[n + 2][1]["workerJobId"] for n in (0, 1)] == [True, True]
    assert answers[0][1]["workerJobId"] != answers[1][1]["workerJobId"]


async def resumed(session: aiohttp.ClientSession, header: dict[str, str], **about: str) -> aiohttp.ClientResponse:
    headers = {**TUS, **header, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    async with session.post(
        "/v1/uploads", data=b"speech", headers={**headers, "Upload-Metadata": metadata(filename="a.wav", **about)}
    ) as response:
        assert response.status == 201
        return response


async def test_a_resumable_upload_becomes_its_keys_job(server: Running, session: aiohttp.ClientSession) -> None:
    """By itself or by POST /v1/jobs; another key cannot make a job of it, and is not told that it is there."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    job_id = (await resumed(session, alice, submit="{}")).headers["Btworker-Job"]
    upload_id = (await resumed(session, alice)).headers["Location"].rpartition("/")[2]
    refusals = []
    for one in (upload_id, UNKNOWN["upload_id"]):
        async with session.post("/v1/jobs", json={"uploads": [one]}, headers=bob) as response:
            refusals.append((response.status, await response.json()))
    assert refusals[0] == refusals[1] and refusals[0][0] == 404
    async with session.post("/v1/jobs", json={"uploads": [upload_id]}, headers=alice) as response:
        second = await response.json()
    for one in (job_id, second["workerJobId"]):
        async with session.get(f"/v1/jobs/{one}", headers=alice) as response:
            assert (await response.json())["owner"] == "alice"


async def test_voices_are_known_to_their_key_alone(server: Running, session: aiohttp.ClientSession) -> None:
    """Two keys may store the same name, and a job takes that of its own."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    for owner, number in zip([one.id for one in server.service.keys.all()], (0.25, 0.75), strict=True):
        server.context.voices.add("Ben", Voice((number,), "0123456789abcdef", 5.0), owner)
    for header, number in ((alice, 0.25), (bob, 0.75)):
        status, job = await upload(
            session, field("knownSpeakerNames", "Ben"), field("prompt", "hold"), file(b"speech"), **header
        )
        assert status == 201
        copy = server.settings.data_dir / "jobs" / job["workerJobId"] / "in" / "voice.0.json"
        assert json.loads(copy.read_text())["embedding"] == [number]


async def test_a_key_cannot_have_the_workers_token_sent_somewhere(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """The job of a controller is the operator's alone, since WORKER_TOKEN goes along with its outputs: 403 even for a
    key with every scope."""
    for header in (await key(server, "alice"), await key(server, "root", *Scope)):
        async with session.post("/v1/jobs", json=dispatch(), headers=header) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (403, "FORBIDDEN")
    async with client.post("/v1/jobs", json=dispatch()) as response:
        assert response.status == 201


async def test_a_key_ends_with_the_next_request(server: Running, session: aiohttp.ClientSession) -> None:
    """Revoked: 401, which says so to its holder; on an open route it is as good as none."""
    alice = await key(server, "alice")
    async with session.get("/v1/jobs", headers=alice) as response:
        assert response.status == 200
    await server.service.keys.revoke("alice")
    async with session.get("/v1/jobs", headers=alice) as response:
        assert response.status == 401 and response.headers["WWW-Authenticate"] == "Bearer"
        assert "the key 'alice' is revoked" in (await response.json())["error"]["message"]
    async with session.get("/health", headers=alice) as response:
        assert response.status == 200


async def test_keys_take_turns(server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession) -> None:
    """Whoever has sent less waits less: one job of bob's is behind one of alice's three, and not behind all of them;
    with a weight of 4, alice's are ahead again."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    carol = await key(server, "carol", weight=4.0)
    await upload(client, field("prompt", "hold"), file(b"speech"))
    sent = [(await upload(session, file(b"speech"), **header))[1] for header in (*[alice] * 3, bob, *[carol] * 3)]
    async with client.get("/v1/jobs", params={"status": "queued"}) as response:
        places = {job["workerJobId"]: job["queuePosition"] for job in (await response.json())["jobs"]}
    order = "".join(job["owner"][0] for job in sorted(sent, key=lambda job: places[job["workerJobId"]]))
    assert order == "abcccaa"


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str, int]:
    """Status, code, and when to try again."""
    return response.status, (await response.json())["error"]["code"], int(response.headers["Retry-After"])


async def test_jobs_that_wait_are_limited(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """On every way of submission, before the body is read; another key is not touched, nor is the operator."""
    await upload(client, field("prompt", "hold"), file(b"speech"))
    alice, bob = await key(server, "alice", limits=Limits(waiting=2)), await key(server, "bob")
    submit = metadata(filename="a.wav", submit="{}")
    upload_id = (await resumed(session, alice)).headers["Location"].rpartition("/")[2]
    for _ in range(2):
        assert (await upload(session, file(b"speech"), **alice))[0] == 201
    asks: tuple[dict[str, Any], ...] = (
        {"url": "/v1/jobs", "data": form(file(b"x")), "headers": {**FORM, **alice}},
        {"url": "/v1/jobs", "data": form(field("url", "https://example.org/a.wav")), "headers": {**FORM, **alice}},
        {"url": "/v1/jobs", "json": {"uploads": [upload_id]}, "headers": alice},
        {"url": "/v1/audio/transcriptions", "data": form(file(b"x")), "headers": {**FORM, **alice}},
        {"url": "/v1/uploads", "headers": {**alice, **TUS, "Upload-Length": "6", "Upload-Metadata": submit}},
    )
    for ask in asks:
        async with session.post(**ask) as response:
            assert await refusal(response) == (429, "QUEUE_FULL", 30), ask
    assert (await upload(session, file(b"speech"), **bob))[0] == (await upload(client, file(b"speech")))[0] == 201


async def test_no_more_jobs_wait_than_may_where_many_come_at_once(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Each finds those that are being accepted, though none of them waits yet."""
    await upload(client, field("prompt", "hold"), file(b"speech"))
    alice = await key(server, "alice", limits=Limits(waiting=3))
    sent = [upload(session, file(b"speech"), **alice) for _ in range(12)]
    assert sorted(status for status, _ in await asyncio.gather(*sent)) == [201] * 3 + [429] * 9


@pytest.mark.parametrize("overrides", [{"queue_limit": 7}])
async def test_no_key_fills_the_queue_alone(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Another finds room, and what is left is told as it is."""
    await upload(client, field("prompt", "hold"), file(b"speech"))
    alice, bob = await key(server, "alice"), await key(server, "bob")
    sent = 0
    while (answer := await upload(session, file(b"speech"), **alice))[0] == 201:
        sent += 1
    assert (sent, answer[0], answer[1]["error"]["code"]) == (5, 429, "QUEUE_FULL")
    assert "5 jobs of this key are waiting already" in answer[1]["error"]["message"]
    asked = form(field("stream", "true"), file(b"speech"))
    async with session.post("/v1/audio/transcriptions", data=asked, headers={**FORM, **bob}) as response:
        assert (response.status, response.headers["x-ratelimit-remaining-requests"]) == (200, "0")


@pytest.mark.parametrize("overrides", [{"queue_limit": 2, "allowed_hosts": "127.0.0.1:9", "download_retry_s": 600.0}])
async def test_jobs_whose_files_are_fetched_have_a_place_in_the_queue(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Else addresses would be a way around its limit."""
    body = {"inputs": [{"url": "http://127.0.0.1:9/a.wav"}]}
    for status in (201, 201, 429):
        async with client.post("/v1/jobs", json=body) as response:
            assert response.status == status
            answer = await response.json()
    assert answer["error"]["code"] == "QUEUE_FULL"


@pytest.mark.parametrize("overrides", [{"resumable_limit": 7}])
async def test_no_key_begins_all_uploads(server: Running, session: aiohttp.ClientSession) -> None:
    """Another finds room for one."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    statuses = []
    for who in (*[alice] * 6, bob):
        async with session.post("/v1/uploads", headers={**who, **TUS, "Upload-Length": "5"}) as response:
            statuses.append(response.status)
    assert statuses == [201] * 5 + [429, 201]


async def test_audio_a_day_is_limited(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """By what has ended today and what is expected of the jobs that wait; until tomorrow, UTC."""
    alice = await key(server, "alice", limits=Limits(audio_hours=2.9 / 3600))
    for _ in range(2):  # 1.5 s each
        status, job = await upload(session, file(b"speech"), **alice)
        assert status == 201
        await finished(client, job["workerJobId"])
    async with session.post("/v1/jobs", data=form(file(b"x")), headers={**FORM, **alice}) as response:
        status, code, wait_s = await refusal(response)
    assert (status, code) == (429, "QUOTA_EXCEEDED") and 0 < wait_s <= 86_400


async def test_stored_bytes_are_limited(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Inputs, uploads that are begun, and results count; a job that ends without one makes room."""
    await upload(client, field("prompt", "hold"), file(b"speech"))
    alice = await key(server, "alice", limits=Limits(stored_mb=1))
    status, job = await upload(session, file(b"x" * 600_000), **alice)
    assert status == 201
    begun = {**alice, **TUS, "Upload-Length": "300000"}
    async with session.post("/v1/uploads", headers=begun) as response:
        assert response.status == 201
    for path, headers, data in (
        ("/v1/uploads", begun, None),
        ("/v1/jobs", {**FORM, **alice}, form(file(b"x" * 300_000))),
    ):
        async with session.post(path, headers=headers, data=data) as response:
            assert await refusal(response) == (429, "QUOTA_EXCEEDED", 600)
    async with session.post(f"/v1/jobs/{job['workerJobId']}/cancel", headers=alice) as response:
        assert response.status == 200
    assert (await upload(session, file(b"x" * 300_000), **alice))[0] == 201


async def test_what_nobody_could_count_before_is_counted_at_the_end(
    server: Running, session: aiohttp.ClientSession, client: aiohttp.ClientSession
) -> None:
    """Uploads side by side, each of which alone has room, and one that does not say how long it is: nothing of what is
    refused stays."""
    await upload(client, field("prompt", "hold"), file(b"speech"))
    alice = await key(server, "alice", limits=Limits(stored_mb=1))
    begun, go = asyncio.Semaphore(0), asyncio.Event()

    async def send(size: int) -> int:
        body = form(file(b"x" * size))

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:1000]
            begun.release()
            await go.wait()
            yield body[1000:]

        async with session.post("/v1/jobs", data=slowly(), headers={**FORM, **alice}) as response:
            return response.status

    sending = [asyncio.create_task(send(size)) for size in (400_000, 400_000, 400_000, 400_000)]
    for _ in sending:
        await begun.acquire()
    go.set()
    assert sorted(await asyncio.gather(*sending)) == [201, 201, 429, 429]
    assert (await send(2_000_000), await send(200_000)) == (429, 201)
    assert len({path.split("/")[0] for path in server.files()}) == 1 + 3


async def test_uploads_are_counted_from_their_first_request_on(server: Running, session: aiohttp.ClientSession) -> None:
    """Side by side each finds the others; one that tells its length later is counted then."""
    alice = await key(server, "alice", limits=Limits(stored_mb=1))

    async def begin(**headers: str) -> tuple[int, str]:
        async with session.post(
            "/v1/uploads",
            headers={**alice, **TUS, **{name.replace("_", "-"): value for name, value in headers.items()}},
        ) as response:
            return response.status, response.headers.get("Location", "")

    statuses = [status for status, _ in await asyncio.gather(*(begin(Upload_Length="400000") for _ in range(5)))]
    assert sorted(statuses) == [201, 201, 429, 429, 429]
    status, path = await begin(Upload_Defer_Length="1")
    assert status == 201
    later = {**PATCH, **alice, "Upload-Offset": "0"}
    for size, wanted in ((400_000, 429), (100_000, 204)):
        async with session.patch(path, headers={**later, "Upload-Length": str(size)}, data=b"x" * 10) as response:
            assert response.status == wanted


async def test_requests_a_minute_are_limited(server: Running, session: aiohttp.ClientSession) -> None:
    """Of each key by itself, on every closed route; open ones do not count."""
    alice, bob = await key(server, "alice", limits=Limits(requests=3)), await key(server, "bob")
    for path in ("/v1/jobs", "/v1/ping", "/v1/nothing"):
        async with session.get(path, headers=alice) as response:
            assert response.status in (200, 404)
    async with session.get("/v1/ping", headers=alice) as response:
        status, code, wait_s = await refusal(response)
    assert (status, code) == (429, "RATE_LIMITED") and 1 <= wait_s <= 20
    for path, header in (("/health", alice), ("/v1/jobs", bob)):
        async with session.get(path, headers=header) as response:
            assert response.status == 200


async def test_a_client_asks_again_when_it_is_told_to(server: Running, client: aiohttp.ClientSession) -> None:
    """A worker that wants fewer requests is no worker that is away."""
    _, job = await upload(client, file(b"speech"))
    await finished(client, job["workerJobId"])
    token = (await key(server, "alice", Scope.READ_ALL, Scope.SUBMIT, limits=Limits(requests=60)))[
        "Authorization"
    ].split()[1]
    away: list[bool] = []
    async with Client(server.url, token) as alice:

        async def ask_on() -> None:
            while True:
                await alice.job(job["workerJobId"])

        with pytest.raises(ClientError) as refused:
            await ask_on()
        assert (refused.value.code, refused.value.retry_after_s) == ("RATE_LIMITED", 1.0)
        large = server.settings.data_dir.parent / "large.wav"
        large.write_bytes(bytes(3 * 2**20))
        upload_id = await alice.uploads.send(large, on_away=lambda: away.append(True))
        assert upload_id.startswith("up_")
        with pytest.raises(ClientError):
            await ask_on()
        assert (await alice.submit([large], {})).id != job["workerJobId"]
        found = await alice.wait(job["workerJobId"], on_away=lambda: away.append(True))
    assert (found.id, away) == (job["workerJobId"], [])
