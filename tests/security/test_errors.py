"""S15: every error is a code, a sentence and a request id; no traceback, no path, no version."""

import itertools
import json
import re
import sys

import pytest

from btworker.web.routes import ROUTES
from tests.process.server_of import Server
from tests.security.wire import exchange, head

TELLTALE = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|aiohttp|python|sqlite|0x[0-9a-f]{8}|/(?:usr|var|tmp|home|root|proc|etc)/",
    re.IGNORECASE,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
QUERIES = ("", "?status=nope", "?limit=-1", "?limit=99999999999999999999", "?limit=%D9%A1",
           "?cursor=%00%ff", "?cursor=ag", "?status=%ff", "?" + "x" * 4000)  # fmt: skip
HEADERS: tuple[tuple[str, ...], ...] = (
    (),
    ("Range: bytes=9-1", "If-Match: \xff", "If-None-Match: \xfe", "If-Range: x"),
    ("Range: bytes=999999999999999999-", "If-Modified-Since: never"),
    ("Content-Type: multipart/form-data; boundary=\xff", "Idempotency-Key: \xff"),
    ("Content-Type: application/json", "Idempotency-Key: " + "k" * 300, "Accept: nothing/at-all"),
    ("Expect: tea", "X-Request-Id: " + "i" * 500),
)
IDS = ("wk_0123456789abcdef", "1", "%00", "..%2f", "wk_" + "0" * 500, "%ff")


def concrete_paths() -> list[str]:
    """Every pattern of the router with every kind of id."""
    found = set()
    for route, job_id in itertools.product(ROUTES, IDS):
        found.add(
            route.path.replace("{job_id}", job_id)
            .replace("{name:[^/]+}", job_id)
            .replace("{name}", job_id)
            .replace("{path:.*}", f"no/{job_id}")
        )
    return sorted(found)


@pytest.mark.timeout(600)
def test_errors_are_generic(app: Server, port: int) -> None:
    """All routes and methods with bad ids, queries and headers; none is a 500 and none tells of the inside."""
    seen: dict[int, int] = {}
    version = ".".join(map(str, sys.version_info[:3]))
    variants = [(query, ()) for query in QUERIES] + [("", headers) for headers in HEADERS]
    cases = list(itertools.product(concrete_paths(), METHODS, variants))
    for number, (path, method, (query, headers)) in enumerate(cases):
        if number % 7 not in (0, 3):  # each path and method meets each variant somewhere
            continue
        answer = exchange(port, [head(method, path + query, *headers, "Connection: close")])
        where = (method, path, query, headers, answer.raw[:500])
        seen[answer.status] = seen.get(answer.status, 0) + 1
        assert len(answer.statuses) == 1, where
        assert answer.status not in (0, 500), where
        assert "server: btworker" in answer.head.lower().split("\r\n"), where
        assert re.search(r"(?i)\r\nx-request-id: [A-Za-z0-9._-]{1,64}(\r\n|$)", answer.head), where
        if answer.status < 400 or method == "HEAD":
            continue
        body = json.loads(answer.body)
        assert set(body["error"]) == {"code", "message", "type", "param"}, where
        assert re.fullmatch(r"[A-Z_]+", body["error"]["code"]), where
        assert not TELLTALE.search(answer.body.decode()), where
        assert version not in answer.raw.decode("latin-1"), where
        assert str(app.log.parent) not in answer.raw.decode("latin-1"), where
    assert {400, 404, 405, 415} <= seen.keys(), seen


def test_what_is_no_request_is_answered_in_the_same_way(port: int) -> None:
    """The parser's own refusals: they come before any route, and from another place in the code."""
    for junk in (
        b"HELO there\r\n\r\n",
        b"\x16\x03\1\r\n\r\n",
        head("GET", "/health", "X: \0"),
        b"GET /\0 HTTP/1.1\r\n\r\n",
    ):
        answer = exchange(port, [junk])
        assert answer.status == 400, answer.raw[:300]
        assert "server: btworker" in answer.head.lower().split("\r\n")
        assert "x-request-id: " in answer.head.lower()
        assert set(json.loads(answer.body)["error"]) == {"code", "message", "type", "param"}
        assert not TELLTALE.search(answer.body.decode())
