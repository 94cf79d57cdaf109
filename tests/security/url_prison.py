"""The worker in a network of its own, with canaries on loopback and on private addresses, and a DNS server that lies.

    unshare --user --map-root-user --net --mount python -m tests.security.url_prison FOLDER

Dispatches a job for each hostile URL in each place of a request where a URL may stand, and prints what came of them as
JSON: the canaries that were reached, first of all.
"""

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiohttp
from aiohttp import web

from btworker.config import Settings
from tests.http.server import TOKEN, finished, serving
from tests.security.hostile_urls import PRIVATE, hostile_urls

CONTROLLER_PORT = 8000
AT_ONCE = 40
ANSWERS = {
    "inside.test": ["10.77.0.1"],
    "loop.test": ["127.0.0.1"],
    "mixed.test": ["93.184.216.34", "127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "sixtofour.test": ["2002:7f00:1::1"],
    "private-six.test": ["fd77::1"],
}
REBINDS = "rebind.test"
"""First a public address, then loopback, in turns."""


class Dns(asyncio.DatagramProtocol):
    """Answers A and AAAA."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        labels, place = [], 12
        while length := data[place]:
            labels.append(data[place + 1 : place + 1 + length].decode().lower())
            place += 1 + length
        name, question = ".".join(labels), data[12 : place + 5]
        kind = struct.unpack("!H", data[place + 1 : place + 3])[0]
        records = [packed for packed in self._addresses(name, kind) if len(packed) == (4 if kind == 1 else 16)]
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(packed)) + packed for packed in records)
        self._transport.sendto(data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0) + question + body, addr)

    def _addresses(self, name: str, kind: int) -> list[bytes]:
        if kind == 1:
            self.asked[name] += 1
        texts = ANSWERS.get(name, [])
        if name == REBINDS:
            texts = ["93.184.216.34" if self.asked[name] % 2 else "127.0.0.1"]
        return [socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in texts]


class Outside:
    """The controller that is allowed: inputs, redirects to anywhere, outputs and callbacks."""

    def __init__(self) -> None:
        self.pushed: Counter[str] = Counter()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/input", self._input)
        app.router.add_route("*", "/away", self._away)
        app.router.add_post("/outputs", self._take)
        app.router.add_post("/callback", self._take)
        return app

    async def _input(self, _request: web.Request) -> web.Response:
        return web.Response(body=b"speech")

    async def _away(self, request: web.Request) -> web.Response:
        return web.Response(status=302 if request.method == "GET" else 307, headers={"Location": request.query["to"]})

    async def _take(self, request: web.Request) -> web.Response:
        self.pushed[request.path] += 1
        return web.json_response({"status": "ok", "outputsReceived": 1})


@asynccontextmanager
async def canaries() -> AsyncIterator[Counter[str]]:
    """Count every connection to port 80, whatever address it was made to, and to another port of the controller."""
    reached: Counter[str] = Counter()

    def met(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached[str(writer.get_extra_info("sockname")[:2])] += 1
        writer.close()

    servers = [
        await asyncio.start_server(met, "0.0.0.0", 80),
        await asyncio.start_server(met, "::", 80, family=socket.AF_INET6),
        await asyncio.start_server(met, PRIVATE, CONTROLLER_PORT + 1),
    ]
    yield reached
    for server in servers:
        server.close()


def jobs() -> Iterator[dict[str, str]]:
    """Every hostile URL as input, output and callback, and as where an allowed one leads."""
    base = f"http://{PRIVATE}:{CONTROLLER_PORT}"
    good = {"downloadUrl": f"{base}/input", "outputsUploadUrl": f"{base}/outputs", "callbackUrl": f"{base}/callback"}
    for url in [*hostile_urls(), f"http://{PRIVATE}:{CONTROLLER_PORT + 1}/"]:
        yield from ({**good, place: url} for place in good)
        if url.isascii() and url.isprintable():  # what a header can say
            away = f"{base}/away?to={quote(url, safe='')}"
            yield from ({**good, place: away} for place in ("downloadUrl", "outputsUploadUrl"))


async def attack(session: aiohttp.ClientSession) -> Counter[str]:
    """Dispatch them all; how each ended."""
    places = asyncio.Semaphore(AT_ONCE)

    async def end(number: int, urls: dict[str, str]) -> str:
        async with places:
            return await end_of(session, number, urls)

    return Counter(await asyncio.gather(*(end(number, urls) for number, urls in enumerate(jobs()))))


async def control(session: aiohttp.ClientSession) -> str:
    """A controller on a private address that is allowed works."""
    base = f"http://{PRIVATE}:{CONTROLLER_PORT}"
    urls = {"downloadUrl": f"{base}/input", "outputsUploadUrl": f"{base}/outputs", "callbackUrl": f"{base}/callback"}
    return await end_of(session, -1, urls)


async def provoke() -> None:
    """Reach every canary without the guard, by name and by address: they sing, and the DNS leads to them."""
    for host in ("127.0.0.1", PRIVATE, "::1", "fd77::1", "loop.test", "inside.test", "six.test"):
        _, writer = await asyncio.open_connection(host, 80)
        writer.close()
    _, writer = await asyncio.open_connection(PRIVATE, CONTROLLER_PORT + 1)
    writer.close()


async def end_of(session: aiohttp.ClientSession, number: int, urls: dict[str, str]) -> str:
    """The refusal of a job, or its end."""
    body = {
        "controllerJobId": f"job-{number}",
        "inputs": [{"inputId": "0", "filename": "talk.wav", "downloadUrl": urls["downloadUrl"]}],
        "options": {"model": "tiny"},
        "callbackUrl": urls["callbackUrl"],
        "outputsUploadUrl": urls["outputsUploadUrl"],
    }
    async with session.post("/v1/jobs", json=body) as response:
        answer = await response.json()
    if response.status != 201:
        return f"{response.status} {answer['error']['code']}"
    job = await finished(session, answer["workerJobId"])
    return f"{job['status']} {(job['error'] or {}).get('code', '')}".strip()


async def main(folder: Path) -> None:
    """See the module's docstring."""
    outside = Outside()
    runner = web.AppRunner(outside.app())
    await runner.setup()
    await web.TCPSite(runner, PRIVATE, CONTROLLER_PORT).start()
    loop = asyncio.get_running_loop()
    transport, dns = await loop.create_datagram_endpoint(Dns, local_addr=("127.0.0.1", 53))
    settings = Settings.model_validate(
        {
            "token": TOKEN,
            "data_dir": folder / "data",
            "port": 0,
            "model": "tiny",
            "disk_reserve_mb": 0,
            "allowed_hosts": f"{PRIVATE}:{CONTROLLER_PORT}",
            "download_retry_s": 1.0,
            "delivery_hours": 1 / 3600,
            "queue_limit": 100_000,
        }
    )
    async with canaries() as reached, serving(settings) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(server.url, headers=headers) as session:
            ends = await attack(session)
            allowed = await control(session)
        result = {"reached": dict(reached), "ends": ends, "allowed": allowed, "pushed": outside.pushed}
        await provoke()
    transport.close()
    await runner.cleanup()
    print(json.dumps({**result, "rebinds": dns.asked[REBINDS], "provoked": sum(reached.values())}))


def furnish(folder: Path) -> None:
    """Addresses, and a resolver that asks our server."""
    for words in ("link set lo up", f"addr add {PRIVATE}/24 dev lo", "addr add fd77::1/64 dev lo"):
        subprocess.run(["ip", *words.split()], check=True)
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", resolver, os.path.realpath("/etc/resolv.conf")], check=True)


if __name__ == "__main__":
    furnish(Path(sys.argv[1]))
    asyncio.run(main(Path(sys.argv[1])))
