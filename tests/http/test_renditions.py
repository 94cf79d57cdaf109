"""What players get of inputs: by token or by ticket, in ranges, and as long as the results."""

from typing import Any

import aiohttp

from btworker.tickets import Tickets
from tests.http.server import Running, field, file, finished, upload


async def played(client: aiohttp.ClientSession) -> dict[str, Any]:
    """A job that has ended, with something to play."""
    _, job = await upload(client, file(b"abc"), field("prompt", "rendition"))
    return await finished(client, job["workerJobId"])


async def test_audio_and_peaks_come_in_ranges_with_an_etag(client: aiohttp.ClientSession) -> None:
    """As a player asks: the first bytes, the rest if it is the same file, nothing if it has it."""
    job = await played(client)
    for kind, content_type in (("audio", "audio/mp4"), ("peaks", "application/octet-stream")):
        url = job["inputs"][0][f"{kind}Url"]
        async with client.get(url) as response:
            whole, etag = await response.read(), response.headers["ETag"]
            assert (response.status, response.content_type) == (200, content_type)
            assert response.headers["Accept-Ranges"] == "bytes"
        async with client.get(url, headers={"Range": "bytes=10-19", "If-Range": etag}) as response:
            assert (response.status, await response.read()) == (206, whole[10:20])
        async with client.get(url, headers={"If-None-Match": etag}) as response:
            assert response.status == 304
        async with client.get(url, headers={"Range": "bytes=99999-"}) as response:
            assert response.status == 416


async def test_a_ticket_opens_its_path_and_no_other(client: aiohttp.ClientSession, server: Running) -> None:
    """Without a token: the sound of one input, for reading; not its peaks, another job's, nor anything else."""
    job, other = await played(client), await played(client)
    base = f"/v1/jobs/{job['workerJobId']}/inputs/0"
    async with client.post(f"{base}/tickets") as response:
        assert response.status == 201
        addresses = await response.json()
    async with client.get(addresses["audioUrl"]) as response:
        assert response.status == 200
    ticket = addresses["audioUrl"].partition("?ticket=")[2]
    elsewhere = (
        f"{base}/peaks?ticket={ticket}",
        f"/v1/jobs/{other['workerJobId']}/inputs/0/audio?ticket={ticket}",
        f"/v1/jobs/{job['workerJobId']}?ticket={ticket}",
        f"{base}/audio?ticket={ticket}&ticket={ticket}",
        f"{base}/audio?ticket={ticket[:-1]}x",
        f"{base}/audio?ticket=9{ticket}",
        f"{base}/audio?ticket=",
        f"{base}/audio",
    )
    async with aiohttp.ClientSession(server.url) as stranger:
        async with stranger.get(addresses["audioUrl"], headers={"Range": "bytes=0-2"}) as response:
            assert (response.status, await response.read()) == (206, b"0.m")
        async with stranger.get(addresses["peaksUrl"]) as response:
            assert response.status == 200
        for url in elsewhere:
            async with stranger.get(url) as response:
                assert response.status == 401, url
        async with stranger.post(f"{base}/tickets?ticket={ticket}") as response:
            assert response.status == 401


async def test_what_is_not_there_says_why(client: aiohttp.ClientSession) -> None:
    """No such input, nothing made of it, and a job that was deleted: its files are gone with it."""
    _, plain = await upload(client, file(b"abc"))
    assert (await finished(client, plain["workerJobId"]))["inputs"][0]["audioUrl"] is None
    job = await played(client)
    cases = (
        (f"/v1/jobs/{plain['workerJobId']}/inputs/0/audio", "nothing of this input"),
        (f"/v1/jobs/{job['workerJobId']}/inputs/1/audio", "1 input(s), counted from 0"),
        (f"/v1/jobs/{job['workerJobId']}/inputs/00/peaks", "nothing of this input"),
        (f"/v1/jobs/{job['workerJobId']}/inputs/x/peaks", "counted from 0"),
    )
    for url, words in cases:
        async with client.get(url) as response:
            assert (response.status, words in (await response.json())["error"]["message"]) == (404, True), url


async def test_a_deleted_job_leaves_nothing_to_play(client: aiohttp.ClientSession, server: Running) -> None:
    """Neither by token nor by a ticket from before, and nothing of it is on the disk."""
    job = await played(client)
    base = f"/v1/jobs/{job['workerJobId']}"
    async with client.post(f"{base}/inputs/0/tickets") as response:
        url = (await response.json())["audioUrl"]
    assert any("renditions" in name for name in server.files())
    async with client.delete(base) as response:
        assert response.status == 204
    async with aiohttp.ClientSession(server.url) as stranger, stranger.get(url) as response:
        assert response.status == 404
    assert not any("renditions" in name for name in server.files())


def test_a_ticket_expires_and_ends_with_the_worker() -> None:
    """It names its key; of another run's secret, another path or later than its time it names nobody."""
    now = [1000.0]
    tickets = Tickets(60, clock=lambda: now[0])
    ticket, expires_at = tickets.issue("/a", "k1")
    assert expires_at == 1060
    assert tickets.holder(ticket, "/a") == "k1"
    assert tickets.holder(ticket, "/b") is None
    assert tickets.holder(ticket.replace("k1", "k2"), "/a") is None
    assert tickets.holder(ticket.replace("1060", "2060"), "/a") is None
    assert Tickets(60, clock=lambda: now[0]).holder(ticket, "/a") is None
    now[0] = 1060.0
    assert tickets.holder(ticket, "/a") is None
