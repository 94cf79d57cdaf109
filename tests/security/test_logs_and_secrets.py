"""S13, S14: one event is one line and one JSON object whatever comes in; secrets come out nowhere."""

import json
import uuid
from pathlib import Path

import pytest

from tests.process.server_of import TOKEN, Server
from tests.security.records import assert_no_secret, log_records
from tests.security.secrets_of_test import SECRETS
from tests.security.wire import exchange, field_part, file_part, form, head, upload
from tests.waiting import until

INJECTED = '{"event":"forged","level":"info"}'
HOSTILE = [
    f"\r\n{INJECTED}\r\n",
    f"\n{INJECTED}\n",
    f"\u2028{INJECTED}\u2029",
    f"\u0085{INJECTED}\x0b{INJECTED}\x0c",
    "\x1b[2J\x1b]0;owned\x07\x9b31m",
    "\u202e\u2066\u2069txt.exe",
    "\0\0\0",
    '"},{"event":"forged"',
    "\ud800",
    "%s %d {} {event} $(id)",
    "x" * 3000,
]


def test_a_hostile_text_makes_no_line_of_its_own(app: Server, port: int) -> None:
    """In headers, targets, names, options, and in a child's exception: JSON lines all the same, none forged."""
    for text in HOSTILE:
        raw = text.encode("utf-8", "surrogatepass")
        header = raw.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        exchange(
            port, [b"GET /v1/jobs HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-Id: " + header + b"\r\n\r\n"]
        )
        exchange(port, [head("GET", f"/{uuid.uuid4()}?x=", "Connection: close")[:-2] + b"X: " + raw + b"\r\n\r\n"])
        answer = upload(port, form(file_part(b"speech", text.replace('"', "").encode("utf-8", "replace").decode())))
        assert answer.status in (201, 400)
        app.ended(app.submit(["warn", text[:99].encode("utf-8", "replace").decode()], ["raise", text[:999]]))
    exchange(port, [form(file_part(b"x", "y" * 2**20))])
    records = log_records(app.log)
    assert not [record for record in records if record["event"] == "forged"]
    raised = [
        record for record in records if record["event"] == "job_raised" and "forged" in str(record.get("exception"))
    ]
    assert raised, "the child's exception was logged, and inside of its own line"


def test_one_request_is_one_line(app: Server, port: int) -> None:
    """Each with its own id, a hundred of them."""
    ids = [uuid.uuid4().hex for _ in range(100)]
    for one in ids:
        exchange(port, [head("GET", "/v1/jobs", f"X-Request-Id: {one}", "Connection: close")])
    until(lambda: ids[-1].encode() in app.log.read_bytes(), within_s=60)
    said = [record["requestId"] for record in log_records(app.log) if record["event"] == "request"]
    assert [one for one in said if one in set(ids)] == ids


def test_secrets_come_out_nowhere(app: Server, port: int) -> None:
    """Many routes, good and bad tokens in every wrong place: not in answers, metrics, logs, files or command lines."""
    job_id = app.ended(app.submit())["workerJobId"]
    targets = [
        "/health",
        "/health/live",
        "/health/ready",
        "/v1/ping",
        "/v1/preflight",
        "/v1/jobs",
        "/metrics",
        "/nothing",
    ]
    targets += [f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/outputs", f"/v1/jobs/{job_id}/outputs/talk_transcript.json"]
    for secret in SECRETS:
        misplaced = [
            head("GET", f"/v1/jobs?token={secret}", "Connection: close"),
            head("GET", f"/v1/jobs/{secret}", "Connection: close"),
            head("GET", f"/{secret}", f"Cookie: t={secret}", f"Referer: http://t/{secret}", "Connection: close"),
            head("GET", "/v1/ping", f"Authorization: Basic {secret}", "Connection: close", token=False),
            head("GET", "/v1/ping", f"X-Api-Key: {secret}", f"User-Agent: {secret}", "Connection: close", token=False),
            head(secret.replace("_", "-"), "/v1/ping", "Connection: close"),
            f"GET {secret} junk\r\n\r\n".encode(),
        ]
        for request in misplaced:
            assert secret.encode() not in exchange(port, [request]).raw
    for target in targets:
        for method in ("GET", "POST", "PUT"):
            answer = exchange(port, [head(method, target, "Connection: close")])
            assert answer.statuses
            assert not [secret for secret in SECRETS if secret.encode() in answer.raw], target
    assert log_records(app.log)
    assert_no_secret(app.log)
    assert_no_secret(app.log.parent / "data")
    for pid in (app.process.pid, *app.children()):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in line]


@pytest.mark.parametrize("text", [f"the token {TOKEN} at /var/lib/secret", 'File "/usr/lib/x.py", line 1'])
def test_a_jobs_error_says_nothing_of_its_exception(app: Server, text: str) -> None:
    """S15 for jobs: a class name and where to look. (The log has the text.)"""
    hidden = text.replace(TOKEN, "hidden-thing")
    job = app.ended(app.submit(["raise", hidden]))
    assert job["error"]["code"] == "PROCESSING_ERROR"
    shown = json.dumps(job)
    script = json.dumps(job["options"])
    assert "hidden-thing" not in shown.replace(script, "")
    assert "Traceback" not in shown
    assert job["error"]["message"] == "an unexpected RuntimeError ended the job; the worker's log has the details"


def test_a_fields_text_is_not_repeated_in_a_refusal(port: int) -> None:
    """A value may be a secret that was pasted into the wrong field."""
    answer = upload(port, form(field_part("temperature", "pasted-secret"), file_part()))
    assert answer.status == 400
    assert b"pasted-secret" not in answer.raw
