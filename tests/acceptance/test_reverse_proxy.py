"""deploy/proxy/nginx.conf in the real nginx, with TLS, before a real worker with the scripted engine."""

import asyncio
import io
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import DEADLINE_S, Worker
from tests.process.server_of import ROOT, TOKEN
from tests.waiting import until

SITE = ROOT / "deploy" / "proxy" / "nginx.conf"
MIB = 2**20
pytestmark = pytest.mark.system("nginx", "openssl")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def certificate(folder: Path) -> None:
    """A self-signed certificate for localhost, named as the site wants it."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run([*command, "-days", "2", *subject, *files], check=True, capture_output=True)


def site(text: str, folder: Path, upstream: str, https: int, http: int) -> str:
    """The shipped file with this machine's addresses: exactly what its first lines tell an operator to change."""
    changes = {
        "server 127.0.0.1:8477;": f"server {upstream};",
        "listen 443 ssl;": f"listen 127.0.0.1:{https} ssl;",
        "listen [::]:443 ssl;": "",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen [::]:80;": "",
        "/etc/ssl/btworker/": f"{folder}/",
        "transcribe.example.com": "localhost",
    }
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


@pytest.fixture
def proxy(fake_worker: Worker, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """nginx before the worker; its addresses with and without TLS."""
    https, http = free_ports(2)
    certificate(tmp_path)
    upstream = fake_worker.url.removeprefix("http://")
    (tmp_path / "site.conf").write_text(site(SITE.read_text(), tmp_path, upstream, https, http))
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"user root; pid {tmp_path}/pid; error_log {tmp_path}/error.log; daemon off; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {folders} include {tmp_path}/site.conf; }}\n"
    )
    process = subprocess.Popen(["nginx", "-e", str(tmp_path / "start.log"), "-c", str(tmp_path / "nginx.conf")])

    def listening() -> bool:
        assert process.poll() is None, (tmp_path / "start.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", https)) == 0

    try:
        until(listening, "nginx listens")
        yield f"https://localhost:{https}", f"http://localhost:{http}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def trust(proxy: tuple[str, str], tmp_path: Path) -> ssl.SSLContext:
    """Trusts the test's certificate and no other."""
    return ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))


@pytest.fixture
async def session(proxy: tuple[str, str], trust: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the proxy, with the worker's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(proxy[0], connector=connector, headers=headers) as client:
        yield client


def form(size: int) -> aiohttp.FormData:
    """An upload of so many bytes; the scripted engine ends it at once."""
    fields = aiohttp.FormData()
    fields.add_field("outputs", "txt")
    fields.add_field("file", io.BytesIO(b"hello\n".ljust(size, b".")), filename="talk.wav", content_type="audio/wav")
    return fields


async def ended(session: aiohttp.ClientSession, where: str) -> Any:
    """The job at this address, once it has ended."""
    while True:
        async with session.get(where) as answer:
            assert answer.status == 200
            job = await answer.json()
        if job["status"] in ("complete", "failed", "canceled"):
            return job


@pytest.mark.parametrize("size", [6, 20 * MIB], ids=["small", "past nginx's own limit of 1 MB"])
async def test_an_upload_its_status_and_its_result_go_through(session: aiohttp.ClientSession, size: int) -> None:
    """With the shipped limits; Location, status and result are those of the worker."""
    async with session.post("/v1/jobs", data=form(size)) as answer:
        job = await answer.json()
        assert answer.status == 201, job
        where = answer.headers["Location"]
    assert job["inputs"][0]["sizeBytes"] == size
    job = await asyncio.wait_for(ended(session, where), DEADLINE_S)
    assert job["status"] == "complete", job["error"]
    async with session.get(job["outputs"][0]["url"]) as answer:
        assert answer.status == 200
        assert "hello" in await answer.text()


async def test_the_worker_sees_the_first_byte_before_the_last_is_sent(
    proxy: tuple[str, str], trust: ssl.SSLContext, fake_worker: Worker
) -> None:
    """Else gigabytes would lie on the proxy's disk first, and progress and refusals would come late."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n'
    body, tail = b"." * (4 * MIB), b"\r\n--b--\r\n"
    lines = (
        "POST /v1/jobs HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {len(head) + len(body) + len(tail)}",
    )
    before = set(jobs_of(fake_worker))
    port = int(proxy[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
    try:
        writer.write("\r\n".join((*lines, "", "")).encode() + head + body)
        await writer.drain()
        await asyncio.to_thread(until, lambda: set(jobs_of(fake_worker)) > before, "the worker stores the first half")
        writer.write(tail)
        assert (await asyncio.wait_for(reader.readline(), 30)).split()[1] == b"201"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def jobs_of(worker: Worker) -> list[Path]:
    """The folders of its jobs, those of uploads under way included."""
    return list((worker.folder / "data" / "jobs").iterdir())


async def test_a_refusal_before_the_body_was_read_reaches_the_client(session: aiohttp.ClientSession) -> None:
    """The worker answers while nginx still sends, and reads a megabyte of the rest, so that this is no 502."""
    wrong = {"Authorization": "Bearer wrong"}
    async with session.post("/v1/jobs", data=form(MIB // 2), headers=wrong) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "UNAUTHORIZED"


async def test_metrics_stay_inside_and_plain_http_is_sent_to_tls(
    session: aiohttp.ClientSession, proxy: tuple[str, str]
) -> None:
    """/metrics needs no token by default, so the proxy does not show it to the world."""
    async with session.get("/metrics") as answer:
        assert answer.status == 404
    async with session.get("/health/live") as answer:
        assert answer.status == 200
    async with session.get(f"{proxy[1]}/v1/ping", allow_redirects=False) as answer:
        assert answer.status == 301
        assert answer.headers["Location"] == "https://localhost/v1/ping"
