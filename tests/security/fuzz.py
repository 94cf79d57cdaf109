"""Mutates valid uploads and sends them to the real server: `make fuzz MINUTES=10`, or a short run in the suite.

Every case is made from its number alone, so that a number is all that is needed to see a failure again.
"""

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.process.server_of import serving
from tests.security.wire import Answer, chunked, exchange, field_part, file_part, form, upload_head

PIECES = (
    b"\r\n", b"\r", b"\n", b"--", b'"', b";", b":", b"=", b"\0", b"\xff", b"%", b"*", b"\\", b" ", b"\t", b"filename*=",
    b"----security-boundary", b"--\r\n", b"Content-Length: 9", b"Content-Type: multipart/mixed", b"\xed\xa0\x80", b"''",
)  # fmt: skip
DEADLINE_S = 60.0


def valid(rng: random.Random) -> bytes:
    """An upload that would be accepted."""
    parts = [
        file_part(rng.randbytes(rng.randrange(1, 3000)), f"{rng.randrange(99)}.wav") for _ in range(rng.randrange(1, 4))
    ]
    parts += rng.sample(
        [field_part("language", "de"), field_part("beamSize", "5"), field_part("outputs", "srt,txt")], 2
    )
    rng.shuffle(parts)
    return form(*parts)


def mutate(body: bytes, rng: random.Random) -> bytes:
    """One to eight changes, most of them near the boundaries and headers, where a parser has decisions to make."""
    for _ in range(rng.randrange(1, 9)):
        marks = [at for at in range(len(body)) if body.startswith(b"Content", at) or body.startswith(b"\r\n--", at)]
        near = (
            rng.choice(marks) + rng.randrange(-4, 90) if marks and rng.random() < 0.8 else rng.randrange(len(body) + 1)
        )
        at = min(max(near, 0), len(body))
        size = rng.choice((0, 1, 1, 2, 10, 200))
        new = rng.choice((b"", rng.choice(PIECES), rng.randbytes(3), body[at : at + size] * 2))
        body = body[:at] + new + body[at + size :] or b"x"
    return body


def fuzz_one(port: int, *, seed: int) -> Answer:
    """One case: 201 or 4xx, one answer, in time. Raises AssertionError with the seed."""
    rng = random.Random(seed)
    body = mutate(valid(rng), rng)
    if rng.random() < 0.5:
        request = [upload_head(f"Content-Length: {len(body)}"), body]
    else:
        request = [upload_head("Transfer-Encoding: chunked"), chunked(body, rng.randrange(1, 2000))]
    answer = exchange(port, request, deadline_s=DEADLINE_S)
    assert answer.status == 201 or 400 <= answer.status < 500, (seed, answer.raw[:500])
    assert len(answer.statuses) == 1, (seed, answer.statuses)
    return answer


def main() -> None:
    """Fuzz for some minutes and say what came back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="the first case's number")
    arguments = parser.parse_args()
    found: dict[int, int] = {}
    number, end = arguments.seed, time.monotonic() + arguments.minutes * 60
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), WORKER_QUEUE_LIMIT="100000") as server:
        port = int(server.url.rsplit(":", 1)[1])
        while time.monotonic() < end:
            status = fuzz_one(port, seed=number).status
            found[status] = found.get(status, 0) + 1
            number += 1
        assert server.process.poll() is None, "the server died"
    print(f"{number - arguments.seed} uploads, the answers by status: {dict(sorted(found.items()))}")


if __name__ == "__main__":
    main()
