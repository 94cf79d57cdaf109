"""S10: multipart bodies that mean harm end in 4xx, soon, in little memory, and leave nothing on the disk."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.server_of import Server
from tests.security.wire import BOUNDARY, Memory, chunked, exchange, field_part, file_part, form, part, upload_head
from tests.slices import FULL
from tests.waiting import until

COUNT = 200 if FULL else 42
GENEROUS_S = 60.0
"""For each; 5 s is the promise on a machine with nothing else to do."""
GROWTH_BYTES = 16 * 2**20
MARK = f"--{BOUNDARY}".encode()
Body = Callable[[random.Random], bytes]
FILE = 'Content-Disposition: form-data; name="file"; filename="a.wav"'


def _noise(rng: random.Random, count: int) -> bytes:
    return rng.randbytes(count).replace(b"\r", b"x")


BOMBS: dict[str, Body] = {
    "no boundary ever": lambda rng: _noise(rng, rng.randrange(10**5, 4 * 10**6)),
    "nearly a boundary, for ever": lambda rng: (b"\r\n" + MARK[:-1] + b"x") * rng.randrange(5_000, 100_000),
    "100,000 parts": lambda rng: form(field_part("language", "")) * 0 + field_part(rng.choice("ab"), "") * 100_000,
    "100,000 empty boundaries": lambda rng: (MARK + b"\r\n") * 100_000,
    "10,000 headers in a part": lambda rng: form(part(b"x", FILE, *[f"X-{n}: {rng.random()}" for n in range(10_000)])),
    "a header line of MBs": lambda rng: form(part(b"x", FILE, "X: " + "y" * rng.randrange(10_000, 3 * 10**6))),
    "a header that goes on and on": lambda rng: form(part(b"x", "X: y" + "\r\n z" * rng.randrange(3_000, 50_000))),
    "a header without end": lambda rng: MARK + b"\r\nX: " + b"y" * rng.randrange(10_000, 3 * 10**6),
    "nesting": lambda rng: form(
        part(form() * rng.randrange(1, 1000), FILE, "Content-Type: multipart/mixed; boundary=b")
    ),
    "base64": lambda rng: form(part(b"QUFB" * rng.randrange(1, 10**5), FILE, "Content-Transfer-Encoding: base64")),
    "quoted-printable": lambda rng: form(part(b"=41" * 1000, FILE, "Content-Transfer-Encoding: quoted-printable")),
    "gzip in a part": lambda rng: form(part(b"\x1f\x8b" + rng.randbytes(99), FILE, "Content-Encoding: gzip")),
    "missing names": lambda rng: form(part(b"x", "Content-Disposition: form-data")) * rng.randrange(1, 9),
    "no disposition": lambda rng: form(part(rng.randbytes(99), "Content-Type: audio/wav")),
    "endless epilogue": lambda rng: form(file_part()) + b"y" * rng.randrange(10**5, 4 * 10**6),
    "a file too large": lambda rng: form(file_part(bytes(4 * 2**20 + rng.randrange(1, 10**6)))),
    "a thousand files": lambda rng: form(*[file_part(b"x")] * 1000),
    "a field of MBs": lambda rng: form(field_part("prompt", "x" * rng.randrange(70_000, 3 * 10**6)), file_part()),
    "a length that is none": lambda rng: form(
        part(b"x", FILE, f"Content-Length: {rng.choice(['-1', '1e9', 'x', '1_0'])}")
    ),
    "a length that lies": lambda rng: form(part(b"x" * 99, FILE, f"Content-Length: {rng.randrange(100, 10**6)}")),
    "cut off": lambda rng: form(file_part(rng.randbytes(10**5)))[: rng.randrange(1, 10**5)],
}


def pieces(name: str, rng: random.Random, *, way: int) -> Iterator[bytes]:
    """The request, with its length, in chunks, or in chunks of one byte."""
    body = BOMBS[name](rng)
    if way == 0:
        yield upload_head(f"Content-Length: {len(body)}")
        yield body
    else:
        yield upload_head("Transfer-Encoding: chunked")
        small = way == 2
        yield chunked(body[:300_000] if small else body, 1 if small else rng.randrange(1000, 70_000))


@pytest.mark.timeout(600)
def test_bombs_end_in_a_refusal(app: Server, port: int, jobs_folder: Path) -> None:
    """200 seeded ones (42 reduced): 4xx, in time, with 16 MB at most, and the folder of jobs as it was."""
    names = list(BOMBS)
    before = {path.name for path in jobs_folder.iterdir()}
    for way in range(3):  # what is loaded late, and the buffers of threads, are there before the count
        assert exchange(port, pieces("a file too large", random.Random(way), way=way)).status in (400, 413)
    memory = Memory(app.process.pid)
    for number in range(COUNT):
        name, way = names[number % len(names)], number // len(names) % 3
        answer = exchange(port, pieces(name, random.Random(number), way=way), deadline_s=GENEROUS_S)
        assert 400 <= answer.status < 500, (number, name, way, answer.raw[:300])
        assert len(answer.statuses) == 1, (number, name)
        assert memory.grown_bytes < GROWTH_BYTES, (number, name, memory.grown_bytes)
    until(lambda: {path.name for path in jobs_folder.iterdir()} == before, within_s=60)


@pytest.mark.timeout(300)
def test_a_mutated_upload_is_accepted_or_refused_and_never_an_error(app: Server, port: int) -> None:
    """A short run of the fuzzer behind `make fuzz`."""
    from tests.security.fuzz import fuzz_one

    for number in range(300 if FULL else 60):
        fuzz_one(port, seed=number)
    assert app.process.poll() is None
