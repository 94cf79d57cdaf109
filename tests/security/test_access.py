"""S2, S3, S16: any bytes as a token, default deny over the whole router, and no authority but the header's."""

import random
import socket
from pathlib import Path

import pytest

from btworker.config import Settings
from btworker.web.routes import ROUTES, open_paths
from tests.process.server_of import TOKEN, Server, serving
from tests.security.secrets_of_test import SECOND_TOKEN, THIRD_TOKEN
from tests.security.wire import exchange, form, head
from tests.slices import FULL

HEADERS = 2000 if FULL else 300
OPEN = {
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/{name}",
    "/page/{name}",
}
"""The written list. Who adds to it means it."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
LEGAL = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""What may stand in a header's value."""


def ping(authorization: bytes, last: bool) -> bytes:
    end = b"Connection: close\r\n" if last else b""
    return b"GET /v1/ping HTTP/1.1\r\nHost: t\r\n" + end + b"Authorization: " + authorization + b"\r\n\r\n"


def hostile_values(count: int) -> list[bytes]:
    """Seeded: pure noise, noise after the scheme, and a good token with one thing wrong."""
    rng = random.Random(2)
    good = TOKEN.encode()

    def noise(size: int) -> bytes:
        return bytes(rng.choices(LEGAL, k=size))

    def near(token: bytes) -> bytes:
        at = rng.randrange(len(token))
        return rng.choice(
            [
                token[:at] + noise(1).replace(token[at : at + 1], b"~") + token[at + 1 :],
                token[:at],
                token + noise(1).strip() + b"x",
                b"\xa0" + token,
                token.swapcase(),
                token + b"\t" + token,
                token.replace(b"o", "\u043e".encode()),
            ]
        )

    makers = [
        lambda: noise(rng.randrange(1, 200)),
        lambda: b"Bearer " + noise(rng.randrange(1, 1000)),
        lambda: b"Bearer " + near(good),
        lambda: rng.choice([b"Basic ", b"Token ", b"Bearer\t", b"Bearer,", b"Bearer=", b""]) + good,
        lambda: b"Bearer " + good + rng.choice([b",", b", ", b" ", b"; "]) + b"Bearer " + good,
        lambda: "Bearer \u0442\u043e\u043a\u0435\u043d \U0001f3a7".encode() + noise(5),
    ]
    return [makers[number % len(makers)]() for number in range(count)]


def test_no_bytes_as_a_token_are_anything_but_401(app: Server, port: int) -> None:
    """2,000 headers (300 reduced), of every byte that HTTP allows there; the service takes none for an error."""
    values = hostile_values(HEADERS)
    assert set(b"".join(values)) >= set(LEGAL)
    errors_before = app.log.read_bytes().count(b"request_failed")
    for value in values:
        answer = exchange(port, [ping(value, last=True)])
        assert answer.statuses == [401], (value, answer.raw[:200])
        assert "WWW-Authenticate: Bearer" in answer.head
    assert app.log.read_bytes().count(b"request_failed") == errors_before


def test_bytes_that_no_header_may_hold_are_refused_by_the_parser(port: int) -> None:
    """400, and never a look at the token."""
    for byte in (b"\0", b"\x01", b"\x0b", b"\x1b", b"\x7f"):
        assert exchange(port, [ping(b"Bearer " + TOKEN.encode() + byte, last=True)]).statuses == [400], byte


def test_a_second_authorization_header_is_no_way_in(port: int) -> None:
    """Two of them, even two good ones: which one a proxy in front has looked at, nobody knows."""
    twice = b"Bearer " + TOKEN.encode() + b"\r\nAuthorization: Bearer " + TOKEN.encode()
    assert exchange(port, [ping(twice, last=True)]).status in (400, 401)


def test_every_current_token_lets_in(port: int) -> None:
    """The variable's and all of the file's, at once."""
    for token in (TOKEN, SECOND_TOKEN, THIRD_TOKEN):
        assert exchange(port, [ping(b"Bearer " + token.encode(), last=True)]).statuses == [200]


@pytest.mark.timeout(300)
def test_a_token_is_changed_without_a_moment_in_which_no_token_is_good(tmp_path: Path) -> None:
    """Rotation by file: old and new together, then the new one alone after the next start."""
    tokens = tmp_path / "tokens"
    accepted = []
    for lines in ("old-token\nnew-token\n", "new-token\n"):
        tokens.write_text(lines)
        with serving(tmp_path, WORKER_TOKEN="", WORKER_TOKEN_FILE=str(tokens)) as server:
            port = int(server.url.rsplit(":", 1)[1])
            answers = [exchange(port, [ping(f"Bearer {one}-token".encode(), last=True)]) for one in ("old", "new")]
            accepted.append([answer.status for answer in answers])
            assert server.stop() == 0
    assert accepted == [[200, 200], [401, 200]]


def test_the_open_paths_are_the_written_ones() -> None:
    """Nothing becomes open by a default."""
    settings = Settings.model_validate({"token": "x"})
    assert open_paths(settings) == OPEN
    public = Settings.model_validate({"token": "x", "ping_public": True})
    assert open_paths(public) == OPEN | {"/v1/ping"}


def test_every_other_route_and_method_wants_a_token(port: int) -> None:
    """Found by walking the table of routes; through all of them at the socket, without a token and with a bad one."""
    paths = {route.path for route in ROUTES} - OPEN
    assert len(paths) >= 8
    concrete = [
        path.replace("{job_id}", "wk_0123456789abcdef")
        .replace("{name:[^/]+}", "a.json")
        .replace("{path:.*}", "nothing")
        for path in sorted(paths)
    ]
    for path in concrete:
        for method in METHODS:
            for headers in ((), ("Authorization: Bearer x",)):
                answer = exchange(port, [head(method, path, *headers, "Connection: close", token=False)])
                assert answer.statuses == [401], (method, path, answer.raw[:200])


SPELLINGS = [
    "//v1/jobs", "/v1//jobs", "/v1/./jobs", "/./v1/jobs", "/V1/JOBS", "/v1/jobs/", "/v1/jobs;x", "/v1/jobs%00",
    "/health/../v1/jobs", "/health/..%2fv1/jobs", "/health%2f..%2fv1%2fjobs", "/health/v1/jobs", "/health%00",
    "/health;/v1/jobs", "/metrics/", "/metrics/../v1/ping", "/%76%31/jobs", "/v1%2fjobs", "/v1/ping?/health",
    "http://t/v1/jobs", "http://other.example/v1/jobs", "http://t/health/../v1/jobs", "/v1/ping#/health",
]  # fmt: skip


def test_no_spelling_of_a_path_is_a_way_around(port: int) -> None:
    """401, or 400 where it is no request at all: never an answer from behind the door."""
    for target in SPELLINGS:
        answer = exchange(port, [head("GET", target, "Connection: close", token=False)])
        assert answer.status in (400, 401), (target, answer.raw[:200])
    for raw in (b"OPTIONS * HTTP/1.1\r\nHost: t\r\n", b"CONNECT t:80 HTTP/1.1\r\nHost: t\r\n"):
        answer = exchange(port, [raw + b"Connection: close\r\n\r\n"])
        assert answer.status in (400, 401), answer.raw[:200]


AMBIENT = {
    "a cookie": [f"Cookie: token={TOKEN}; Authorization=Bearer {TOKEN}; session={TOKEN}"],
    "basic authentication": ["Authorization: Basic " + "dG9rZW46YS10b2tlbi1mb3ItdGVzdHM="],
    "a proxy's header": [
        f"Proxy-Authorization: Bearer {TOKEN}",
        f"X-Api-Key: {TOKEN}",
        f"X-Forwarded-Authorization: {TOKEN}",
    ],
    "loopback's word": [
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "X-Original-URL: /health",
    ],
    "another method's name": ["X-HTTP-Method-Override: GET", "X-Rewrite-Url: /health"],
}


@pytest.mark.parametrize("name", AMBIENT)
def test_only_the_header_counts(port: int, name: str) -> None:
    """Nothing that a browser sends by itself, or a client can add, stands in for the token."""
    for target in ("/v1/jobs", f"/v1/jobs?token={TOKEN}&access_token={TOKEN}&Authorization=Bearer%20{TOKEN}"):
        answer = exchange(port, [head("GET", target, *AMBIENT[name], "Connection: close", token=False)])
        assert answer.statuses == [401]


def test_another_site_can_do_nothing_with_a_visitors_browser(port: int) -> None:
    """Forms and fetches from elsewhere: 401, no CORS header allows to read it, no cookie is ever set."""
    site = (
        "Origin: https://elsewhere.example",
        "Referer: https://elsewhere.example/page",
        "Sec-Fetch-Site: cross-site",
    )
    asking = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
    body = form()
    kind = "Content-Type: multipart/form-data; boundary=----security-boundary"
    requests = [
        (head("OPTIONS", "/v1/jobs", *site, *asking, "Connection: close", token=False), 401),
        (head("OPTIONS", "/health", *site, *asking, "Connection: close", token=False), 401),
        (
            head("POST", "/v1/jobs", *site, kind, f"Content-Length: {len(body)}", "Connection: close", token=False)
            + body,
            401,
        ),
        (
            head(
                "POST",
                "/v1/jobs",
                *site,
                "Content-Type: text/plain",
                "Content-Length: 2",
                "Connection: close",
                token=False,
            )
            + b"{}",
            401,
        ),
        (head("GET", "/v1/jobs", *site, "Connection: close", token=False), 401),
        (head("GET", "/health", *site, "Connection: close", token=False), 200),
        (head("GET", "/v1/jobs", *site, "Connection: close"), 200),
    ]
    for request, status in requests:
        answer = exchange(port, [request])
        assert answer.statuses == [status], (request, answer.raw[:200])
        lower = answer.head.lower()
        assert "access-control-" not in lower
        assert "set-cookie" not in lower
        assert "x-content-type-options: nosniff" in lower


def test_the_worker_listens_on_loopback_unless_told(port: int) -> None:
    """The shared server was given no WORKER_HOST."""
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass
