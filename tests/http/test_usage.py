"""GET /v1/usage: each key sees its own account, the operator all, and the sums are those of the jobs."""

import csv
import io
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest

from btworker.keys import Scope
from btworker.service.counters import MOST_OWNERS, OTHERS
from tests.http.keyring import key
from tests.http.server import Running, field, file, finished, upload

TODAY = datetime.now(timezone.utc).date()


async def usage(client: aiohttp.ClientSession, header: dict[str, str] | None = None, **query: str) -> Any:
    async with client.get("/v1/usage", headers=header, params=query) as response:
        return response.status, await response.json()


async def sent(server: Running, client: aiohttp.ClientSession, header: dict[str, str], *parts: bytes) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        status, job = await upload(session, *parts, **header)
        assert status == 201
        await finished(client, job["workerJobId"])


async def test_each_key_sees_what_it_used(server: Running, client: aiohttp.ClientSession) -> None:
    """Complete and failed jobs, also once they are deleted; read-all and the operator see every key, as metrics do."""
    alice, bob = await key(server, "alice"), await key(server, "bob")
    for size in (3, 5):
        await sent(server, client, alice, file(b"x" * size))
    await sent(server, client, bob, field("prompt", "fail"), file(b"x" * 7))
    async with client.get("/v1/jobs") as response:
        for job in (await response.json())["jobs"]:
            async with client.delete(f"/v1/jobs/{job['workerJobId']}") as deleted:
                assert deleted.status == 204
    status, found = await usage(client, alice)
    (mine,) = found["usage"]
    assert status == 200 and mine["workSeconds"] > 0
    wanted = {"owner": "alice", "jobs": 2, "audioSeconds": 3.0, "gpuSeconds": 0, "inputBytes": 8, "day": str(TODAY)}
    assert {name: mine[name] for name in wanted} == wanted
    assert [one["owner"] for one in (await usage(client, bob))[1]["usage"]] == ["bob"]
    for header in (None, await key(server, "auditor", Scope.READ_ALL)):
        lines = (await usage(client, header))[1]["usage"]
        assert {one["owner"]: (one["jobs"], one["audioSeconds"]) for one in lines} == {"alice": (2, 3.0), "bob": (1, 0)}
    async with client.get("/metrics") as response:
        text = await response.text()
    assert 'btworker_key_jobs_total{key="alice"} 2.0' in text
    assert 'btworker_key_audio_seconds_total{key="alice"} 3.0' in text
    assert 'btworker_key_waiting_jobs{key="bob"} 0.0' in text


async def test_days_and_csv(server: Running, client: aiohttp.ClientSession) -> None:
    """Only the days that were asked for; as CSV the same lines."""
    await sent(server, client, await key(server, "alice"), file(b"abc"))
    yesterday = str(TODAY - timedelta(days=1))
    assert (await usage(client, **{"from": yesterday, "to": yesterday}))[1]["usage"] == []
    assert (await usage(client, to=yesterday))[1]["from"] == str(TODAY - timedelta(days=31))
    assert (await usage(client, to="0001-01-05"))[1]["from"] == "0001-01-01"
    async with client.get("/v1/usage", params={"from": yesterday, "format": "csv"}) as response:
        assert response.content_type == "text/csv"
        (line,) = csv.DictReader(io.StringIO(await response.text()))
    assert (line["owner"], line["jobs"], line["inputBytes"]) == ("alice", "1", "3")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from"),
        ({"from": "2020-01-01", "to": "2026-11-01"}, "from"),
        ({"format": "xml"}, "format"),
        ({"owner": "alice"}, None),
    ],
)
async def test_what_is_no_day_is_refused(client: aiohttp.ClientSession, query: dict[str, str], param: str) -> None:
    status, answer = await usage(client, **query)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "BAD_REQUEST", param)


async def test_keys_of_one_name_are_apart(server: Running, client: aiohttp.ClientSession) -> None:
    """A name is given again once its key is revoked: each has its line, by its id."""
    ids = []
    for size in (3, 5):
        header = await key(server, "alice")
        await sent(server, client, header, file(b"x" * size))
        ids.append((await server.service.keys.revoke("alice")).id)
    await sent(server, client, dict(client.headers), file(b"x" * 7))
    found = (await usage(client))[1]["usage"]
    assert {one["keyId"]: (one["owner"], one["inputBytes"]) for one in found} == {
        ids[0]: ("alice", 3), ids[1]: ("alice", 5), "": ("operator", 7),
    }  # fmt: skip


async def test_labels_of_keys_are_bounded(server: Running, client: aiohttp.ClientSession) -> None:
    """However many keys there are, a hundred have series of their own."""
    owners = server.service.counters.owners
    owners.update({f"{n:012x}": (1, 1.0) for n in range(MOST_OWNERS)})
    await sent(server, client, await key(server, "late"), file(b"abc"))
    assert len(owners) == MOST_OWNERS + 1 and owners[OTHERS] == (1, 1.5)
    async with client.get("/metrics") as response:
        assert f'btworker_key_audio_seconds_total{{key="{OTHERS}"}} 1.5' in await response.text()
