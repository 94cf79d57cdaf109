"""S1: the classes of HTTP advisories that servers on aiohttp had, each as raw bytes against the real server process."""

import importlib
import select
import socket
from collections.abc import Iterable
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import http_parser

from tests.process.server_of import Server
from tests.security.wire import AUTH, DEADLINE_S, LAST, exchange, head
from tests.waiting import until

PINNED = (3, 14, 4)
SMUGGLED = head("GET", "/v1/ping", "X-Request-Id: smuggled")
EMPTY_CHUNK = b"0\r\n\r\n"
LONG = "a" * 100_000
TRIES = 3


def test_aiohttp_is_new_enough_and_parses_in_c() -> None:
    """The pure-Python parser is another one, with advisories of its own."""
    assert tuple(int(number) for number in aiohttp.__version__.split(".")[:3]) >= PINNED
    compiled = importlib.import_module("aiohttp._http_parser")
    assert http_parser.HttpRequestParser is compiled.HttpRequestParser


def post(*headers: str) -> bytes:
    return head("POST", "/v1/jobs/wk_0123456789abcdef/cancel", *headers)


def in_chunks(*chunks: bytes) -> bytes:
    return post("Transfer-Encoding: chunked") + b"".join(chunks)


REFUSED: dict[str, bytes] = {
    "length and chunks": post("Content-Length: 5", "Transfer-Encoding: chunked") + EMPTY_CHUNK + SMUGGLED,
    "chunks and length": post("Transfer-Encoding: chunked", "Content-Length: 200") + EMPTY_CHUNK + SMUGGLED,
    "chunked is not last": post("Transfer-Encoding: chunked, identity") + EMPTY_CHUNK + SMUGGLED,
    "chunked under another name": post("Transfer-Encoding: xchunked") + EMPTY_CHUNK + SMUGGLED,
    "chunked after a control character": post("Transfer-Encoding: \x0bchunked") + EMPTY_CHUNK + SMUGGLED,
    "two lengths": post("Content-Length: 0", "Content-Length: 200") + SMUGGLED,
    "a list of lengths": post("Content-Length: 0, 200") + SMUGGLED,
    "a signed length": post("Content-Length: +0") + SMUGGLED,
    "a negative length": post("Content-Length: -1") + SMUGGLED,
    "a length with an underscore": post("Content-Length: 1_0") + SMUGGLED,
    "a hexadecimal length": post("Content-Length: 0x10") + SMUGGLED,
    "a length in other digits": post("Content-Length: \xd9\xa1") + SMUGGLED,
    "a length past 64 bits": post("Content-Length: " + "9" * 30) + SMUGGLED,
    "a space before the colon": post("Content-Length : 200") + SMUGGLED,
    "a line that goes on": post("X: y\r\n Content-Length: 200") + SMUGGLED,
    "a line that goes on after a tab": post("X: y\r\n\tTransfer-Encoding: chunked") + EMPTY_CHUNK + SMUGGLED,
    "a bare CR in a header": post("X: y\rContent-Length: 200") + SMUGGLED,
    "a bare LF in a header": post("X: y\nContent-Length: 200") + SMUGGLED,
    "a NUL in a header": post("X: y\0z") + SMUGGLED,
    "a header without a name": post(": x") + SMUGGLED,
    "a header without a colon": post("Content-Length 200") + SMUGGLED,
    "a header name with brackets": post("X(y): z") + SMUGGLED,
    "a header name beyond ASCII": post("Content-Length\xff: 200") + SMUGGLED,
    "a signed chunk": in_chunks(b"+5\r\nhello\r\n", EMPTY_CHUNK, SMUGGLED),
    "a negative chunk": in_chunks(b"-1\r\n", EMPTY_CHUNK, SMUGGLED),
    "a hexadecimal chunk": in_chunks(b"0x5\r\nhello\r\n", EMPTY_CHUNK, SMUGGLED),
    "a chunk past 64 bits": in_chunks(b"f" * 20 + b"\r\n", EMPTY_CHUNK, SMUGGLED),
    "a chunk extension with a bare LF": in_chunks(b"5;a\nhello\r\n", EMPTY_CHUNK, SMUGGLED),
    "a chunk extension with a bare CR": in_chunks(b"5;a\rb\r\nhello\r\n", EMPTY_CHUNK, SMUGGLED),
    "a chunk longer than it says": in_chunks(b"2\r\nhello\r\n", EMPTY_CHUNK, SMUGGLED),
    "a chunk without its end": in_chunks(b"5\r\nhello0\r\n\r\n", SMUGGLED),
    "a trailer that names the framing": in_chunks(b"0\r\nContent-Length: 500\r\nHost: x\r\n\r\n", SMUGGLED),
    "a bad trailer": in_chunks(b"0\r\nX(y): z\r\n\r\n", SMUGGLED),
    "a header of 100 KB": head("GET", "/health", f"X: {LONG}"),
    "a header name of 100 KB": head("GET", "/health", f"{LONG}: x"),
    "a target of 100 KB": head("GET", f"/health?{LONG}"),
    "ten thousand headers": head("GET", "/health", *[f"X-{number}: y" for number in range(10_000)]),
    "a trailer of 100 KB": in_chunks(b"0\r\nX: ", LONG.encode(), b"\r\n\r\n"),
    "another version": b"GET /health HTTP/3.0\r\nHost: t\r\n\r\n",
    "a version that goes on": b"GET /health HTTP/1.10\r\nHost: t\r\n\r\n",
    "a version in other digits": b"GET /health HTTP/\xd9\xa1.1\r\nHost: t\r\n\r\n",
    "a method with a control character": b"GE\x01T /health HTTP/1.1\r\nHost: t\r\n\r\n",
    "a method with brackets": b"GET(x) /health HTTP/1.1\r\nHost: t\r\n\r\n",
    "a target with a space": b"GET /he alth HTTP/1.1\r\nHost: t\r\n\r\n",
    "a target with a NUL": b"GET /health\0 HTTP/1.1\r\nHost: t\r\n\r\n",
    "a port that is none": b"GET http://t:99999999/health HTTP/1.1\r\nHost: t\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200 + b"\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_two_servers_could_read_differently_is_refused(app: Server, port: int, name: str) -> None:
    """One answer, 400; then the server closes, and nobody saw a second request in it."""
    answer = exchange(port, [REFUSED[name], LAST])
    assert answer.statuses == [400], answer.raw[:600]
    assert b"smuggled" not in answer.raw
    assert b"smuggled" not in app.log.read_bytes()


def _answer_behind_all(port: int, begin: bytes) -> bytes:
    """What the server says to a client that sends a megabyte before it reads; empty where it was cut off."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client, suppress(ConnectionError):
        client.sendall(begin + b"z" * 100_000)
        assert select.select([client], [], [], DEADLINE_S)[0]
        client.sendall(b"z" * 900_000 + b"\r\n\r\n" + SMUGGLED)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))
    return b""


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nHost: t\r\nX: "])
def test_who_goes_on_sending_sees_the_refusal(port: int, begin: bytes) -> None:
    """A line or header of a megabyte, as programs write it that put a file there: the answer comes while it is sent, no
    reset does, and what follows it is no request. A client that the machine stops for 2 s in between tries again."""
    answer = next(filter(None, (_answer_behind_all(port, begin) for _ in range(TRIES))), b"")
    assert answer.split()[1] == b"400" and b"BAD_REQUEST" in answer
    assert answer.count(b"HTTP/1.") == 1 and b"smuggled" not in answer


@pytest.mark.parametrize("goes_on", [True, False])
def test_of_what_is_no_request_little_is_taken(port: int, goes_on: bool) -> None:
    """From a client that sends without end, or neither sends nor closes: it is cut off."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as client:
        client.sendall(b"GET /" + b"z" * 100_000)
        assert select.select([client], [], [], DEADLINE_S)[0]
        if goes_on:
            with pytest.raises(ConnectionError):
                client.sendall(b"z" * 2**26)
            return
        while client.recv(65_536):
            pass  # the answer, and the half-closed end of it

        def is_cut_off() -> bool:
            try:
                return client.send(b"z") == 0
            except ConnectionError:
                return True

        until(is_cut_off)


TAKEN: dict[str, tuple[Iterable[bytes], list[int]]] = {
    "a chunk extension": ([in_chunks(b"5;a=b\r\nhello\r\n", EMPTY_CHUNK)], [404, 200]),
    "a trailer": ([in_chunks(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n")], [404, 200]),
    "a cookie header full of junk": ([head("GET", "/health", "Cookie: " + '=;"\\;,' * 1000)], [200, 200]),
    "a thousand cookies": ([head("GET", "/health", "Cookie: " + "; ".join(f"c{n}=v" for n in range(900)))], [200, 200]),
    "two thousand parameters": ([head("GET", "/v1/jobs?" + "&".join(f"p{n}" for n in range(1200)))], [400, 200]),
    "a body on a path without one": ([head("GET", "/health", "Content-Length: 3"), b"abc"], [200]),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_odd_and_sound_has_its_own_answer(port: int, name: str) -> None:
    """And the next request on the connection its own, where the body did not come too late: no bytes change owners."""
    pieces, statuses = TAKEN[name]
    answer = exchange(port, [*pieces, LAST])
    assert answer.statuses[: len(statuses)] == statuses, answer.raw[:600]
    assert len(answer.statuses) <= 2


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0"])
def test_an_upgrade_ends_in_an_ordinary_answer(app: Server, port: int, upgrade: str) -> None:
    """No other protocol begins, and what follows the request is not read as one."""
    answer = exchange(port, [post("Connection: Upgrade, close", f"Upgrade: {upgrade}", "Content-Length: 0"), SMUGGLED])
    assert answer.statuses[:1] == [404]
    assert len(answer.statuses) == 1
    assert b"smuggled" not in app.log.read_bytes()


TRAVERSAL = [
    "/../../../../etc/passwd",
    "/health/../../etc/passwd",
    "/v1/jobs/../../../etc/passwd",
    "/v1/jobs/%2e%2e/%2e%2e/etc/passwd",
    "/v1/jobs/..%2f..%2fetc%2fpasswd",
    "/v1/jobs/{job}/outputs/../../jobs.db",
    "/v1/jobs/{job}/outputs/..%2f..%2f..%2fetc%2fpasswd",
    "/v1/jobs/{job}/outputs/..%5c..%5cjobs.db",
    "/v1/jobs/{job}/outputs/%2fetc%2fpasswd",
    "/v1/jobs/{job}/outputs/%00",
    "/v1/jobs/{job}/outputs/.",
    "/v1/jobs/{job}/outputs/..",
    "/v1/jobs/{job}/outputs/0",
    "/v1/jobs/{job}/outputs/..%c0%af..%c0%afetc%c0%afpasswd",
    "//etc/passwd",
    "/static/../etc/passwd",
]


def test_no_path_leads_out_of_a_job(app: Server, port: int) -> None:
    """Neither plain nor encoded, whatever lies in the folders; one has a finished job."""
    job = app.ended(app.submit())
    for pattern in TRAVERSAL:
        target = pattern.replace("{job}", job["workerJobId"])
        answer = exchange(port, [head("GET", target, "Connection: close")])
        assert answer.statuses == [404], (target, answer.raw[:300])
        assert b"root:" not in answer.raw


def test_a_compressed_body_is_never_unpacked(port: int) -> None:
    """415 for an upload in any coding, however it is spelled; no other route reads a body at all."""
    for coding in ("gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip", "x-unknown"):
        kind = "Content-Type: multipart/form-data; boundary=x"
        for headers in ([f"Content-Encoding: {coding}"], ["Content-Encoding: identity", f"Content-Encoding: {coding}"]):
            answer = exchange(
                port, [head("POST", "/v1/jobs", kind, *headers, "Content-Length: 3", "Connection: close"), b"abc"]
            )
            assert answer.status == 415, (headers, answer.raw[:300])
    answer = exchange(port, [post("Transfer-Encoding: gzip, chunked", "Connection: close"), EMPTY_CHUNK])
    assert answer.status in (400, 404)


def test_a_token_is_needed_for_all_of_it(port: int) -> None:
    """The harness's own token is what lets these requests in."""
    assert exchange(port, [head("GET", "/v1/ping", "Connection: close", token=False)]).status == 401
    assert exchange(port, [head("GET", "/v1/ping", "Connection: close")]).status == 200
    assert AUTH.encode() in LAST
