"""The log of a whole run of server and child: every line an event, every event traceable, no secret anywhere."""

import json
from pathlib import Path
from typing import Any

from tests.process.server_of import TOKEN, Server, serving
from tests.security.wire import exchange, head

CANARIES = {
    name: f"canary-{name.lower().replace('_', '-')}-5c1f" for name in ("FILE", "HF_TOKEN", "WRONG", "QUERY", "BASIC")
}
MEAN_NAME = 'talk\x1b[2J\u202e\x00\x7f\u2028{"event": "forged"}.wav'


def events_of(server: Server) -> list[dict[str, Any]]:
    """The log so far, strictly: each line is one JSON object with what every event has."""
    events = [json.loads(line) for line in server.log.read_text(encoding="ascii").split("\n")[:-1]]
    assert all({"ts", "level", "event", "message"} <= event.keys() for event in events)
    return events


def test_every_event_can_be_traced(tmp_path: Path) -> None:
    """From the request to the job, its attempt and the child that did it; the child's own lines say so, too."""
    steps = [["warn", "careful"], ["python_warning", "old\nthing"], ["thread_raises", "beside"], ["raise", "boom\r\nx"]]
    with serving(tmp_path, WORKER_LOG_PROGRESS="true") as server:
        job_id = server.submit(["windows", 2], *steps)
        assert server.ended(job_id)["status"] == "failed"
        child = next(event["childPid"] for event in events_of(server) if event["event"] == "child_started")
        assert server.stop() == 0
        events = events_of(server)
    found = {event["event"]: event for event in events}
    accepted, started = found["job_accepted"], found["job_started"]
    assert accepted["workerJobId"] == started["workerJobId"] == job_id
    upload = next(event for event in events if event["event"] == "request" and event["method"] == "POST")
    assert accepted["requestId"] == started["requestId"] == upload["requestId"]
    assert (started["attempt"], started["childPid"], started["worker"]) == (1, child, 0)
    assert (found["job_failed"]["workerJobId"], found["job_failed"]["attempt"]) == (job_id, 1)
    assert found["window_done"]["index"] == 1
    for name in ("warning", "job_raised"):
        event = found[name]
        assert (event["workerJobId"], event["attempt"], event["childPid"]) == (job_id, 1, child)
    assert found["uncaught_exception"]["thread"] == "fails" and "beside" in found["uncaught_exception"]["exception"]


def test_names_of_strangers_make_no_lines(tmp_path: Path) -> None:
    """Names, ids, paths and methods that a client chooses; one of them is a megabyte."""
    with serving(tmp_path) as server:
        server.upload(MEAN_NAME.replace('"', "%22"), b"hello")
        server.request("GET", "/" + "x" * 4000, **{"X-Request-Id": "forged \t id"})
        server.request("GET", "/v1/jobs/%0d%0a%1b[2J%00")
        status, _ = server.request("GET", "/v1/jobs?status=%0aforged&limit=%00")
        assert status == 400
        server.ended(server.submit(["raise", "x" * 3500]))
        server.ended(server.submit(["warn", "y" * 3500]))
        long = exchange(int(server.url.rpartition(":")[2]), [head("GET", "/" + "z" * 2**20)])
        assert long.status in (400, 414, 0)  # 0: the close overtook the answer, as the client was still sending
        assert server.stop() == 0
        events = events_of(server)
        assert "forged" not in {event["event"] for event in events}
        assert max(map(len, server.log.read_text().splitlines())) < 2**17


def test_no_secret_is_written_anywhere(tmp_path: Path) -> None:
    """Tokens of every kind, right and wrong: not in the log, the database, the metrics, an answer, a command line."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{CANARIES['FILE']}\n")
    environment = {"WORKER_TOKEN_FILE": str(tokens), "HF_TOKEN": CANARIES["HF_TOKEN"], "WORKER_LOG_LEVEL": "debug"}
    said: list[str] = []
    with serving(tmp_path, **environment) as server:
        ended = server.ended(server.submit(["raise", "boom"], ["windows", 1]))
        assert server.request("GET", "/v1/ping", Authorization=f"Bearer {CANARIES['FILE']}")[0] == 200
        for header in (f"Bearer {CANARIES['WRONG']}", f"Basic {CANARIES['BASIC']}", f"{CANARIES['WRONG']}\xff"):
            status, answer = server.request("GET", f"/v1/jobs?token={CANARIES['QUERY']}", Authorization=header)
            assert status == 401
            said.append(str(answer))
        said += [str(server.request("GET", path)[1]) for path in ("/v1/ping", "/v1/preflight", "/v1/jobs")]
        family = [server.process.pid, *server.children()]
        said += [Path(f"/proc/{pid}/cmdline").read_text() for pid in family]
        assert server.stop() == 0
        said += [str(ended), server.log.read_text()]
    files = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert len(said) > 8 and files
    for secret in (*CANARIES.values(), TOKEN):
        assert not [text for text in said if secret in text]
        assert not [data for data in files if secret.encode() in data]
