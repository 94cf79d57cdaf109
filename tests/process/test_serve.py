"""The real server process: start, signals, kill -9, and what a start does when something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import EXIT_BAD_SETTINGS, EXIT_DATA_FOLDER, EXIT_DATABASE, EXIT_PORT
from tests.process.pool_of import alive
from tests.process.server_of import TOKEN, busy_port, serving
from tests.slices import FULL, slice_of
from tests.waiting import until


def test_listens_while_the_child_loads(tmp_path: Path) -> None:
    """Ping answers long before a slow model is there; ready says why not, and a job waits."""
    with serving(tmp_path, WORKER_MODEL="slow", WORKER_MODELS="slow") as server:
        status, ping = server.request("GET", "/v1/ping")
        assert (status, ping["status"], ping["activeJobs"], ping["maxConcurrentJobs"]) == (200, "ok", 0, 1)
        assert server.request("GET", "/health/ready")[0] == 503
        assert server.request("GET", "/health/live")[0] == 200
        job_id = server.submit()
        awaited = "downloading the model slow (1.2 of 3.1 GB)"
        job = until(lambda: (now := server.job(job_id))["waitingFor"] == awaited and now)
        assert (job["status"], job["stage"], job["warnings"]) == ("queued", "loading_model", [])
        (tmp_path / "data" / "scratch" / "go").touch()
        done = server.ended(job_id)
        assert (done["status"], done["waitingFor"]) == ("complete", None)
        assert server.request("GET", "/health/ready")[0] == 200
        assert server.stop() == 0


def test_front_end_starts_quickly_and_holds_no_torch(tmp_path: Path) -> None:
    """It listens soon after its start (1.5 s by the benches; the deadline here is generous) and maps no torch."""
    start = time.monotonic()
    with serving(tmp_path) as server:
        assert time.monotonic() - start < 15
        server.ended(server.submit())
        with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as file:
            mapped = file.read()
        assert "libc" in mapped
        assert not [name for name in ("torch", "numpy", "whisper", "libcuda") if name in mapped]


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"WORKER_OFFLINE": "true"}, {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}),
        ({"OMP_WAIT_POLICY": "active"}, {"HF_HUB_OFFLINE": "", "OMP_WAIT_POLICY": "active"}),
    ],
)
def test_libraries_of_a_child_are_bound_before_they_are_imported(
    tmp_path: Path, settings: dict[str, str], seen: dict[str, str]
) -> None:
    """They ask the hub for nothing where the worker must not, and threads that wait sleep, unless the operator says
    otherwise."""
    with serving(tmp_path, **settings) as server:
        until(lambda: server.request("GET", "/health/ready")[0] == 200)
        assert server.request("GET", "/v1/preflight")[1]["versions"].items() >= seen.items()


def test_model_that_does_not_exist(tmp_path: Path) -> None:
    """Ping is 200 with a warning, ready 503 with the reason, preflight says error, and jobs are still accepted."""
    with serving(tmp_path, WORKER_MODEL="broken", WORKER_MODELS="broken") as server:
        ping = until(lambda: (now := server.request("GET", "/v1/ping")[1]) and "broken" in str(now["warnings"]) and now)
        assert ping["status"] == "ok"
        status, ready = server.request("GET", "/health/ready")
        assert status == 503 and "broken" in json.dumps(ready)
        assert server.request("GET", "/v1/preflight")[1]["status"] == "error"
        job = server.job(server.submit())
        assert (job["status"], job["waitingFor"]) == ("queued", "cannot load: the model broken is not in the cache")
        assert job["warnings"] == [job["waitingFor"]]
        assert server.stop() == 0


def test_sigterm_drains(tmp_path: Path) -> None:
    """A running job gets its time and completes; exit 0; no process is left."""
    gate = tmp_path / "gate"
    with serving(tmp_path) as server:
        job_id = server.submit(["wait_file", str(gate)])
        until(lambda: server.job(job_id)["status"] == "running")
        children = server.children()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.request("GET", "/health/ready")[0] == 503)
        assert server.request("GET", "/health/live")[0] == 200
        status, refusal = server.request(
            "POST", "/v1/jobs", b"x", **{"Content-Type": "multipart/form-data; boundary=b"}
        )
        assert (status, refusal["error"]["code"]) == (503, "DRAINING")
        gate.touch()
        assert server.process.wait(30) == 0
        until(lambda: not any(alive(pid) for pid in children))
    with serving(tmp_path) as server:
        assert server.job(job_id)["status"] == "complete"


@pytest.mark.parametrize("how", ["timeout", "second signal"])
def test_what_is_not_done_after_the_drain_runs_again(tmp_path: Path, how: str) -> None:
    """The job goes back to the queue, keeps its windows and its attempts, and completes after the next start."""
    gate = tmp_path / "gate"
    with serving(tmp_path, WORKER_DRAIN_SECONDS="0.2" if how == "timeout" else "600") as server:
        job_id = server.submit(["windows", 2], ["on_attempt", 1, ["wait_file", str(gate)]], ["windows", 3])
        until(lambda: server.job(job_id)["progress"]["chunkIndex"] == 2)
        server.process.send_signal(signal.SIGTERM)
        if how == "second signal":
            until(lambda: server.request("GET", "/health/ready")[0] == 503)
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    with serving(tmp_path) as server:
        job = server.ended(job_id)
        assert (job["status"], job["attempt"], job["progress"]["chunkIndex"]) == ("complete", 2, 3)


def test_a_stop_is_clean_however_often_it_is_asked_for(tmp_path: Path) -> None:
    """SIGTERM again and again, until the process is gone: exit code 0, not -15."""
    with serving(tmp_path) as server:
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.02)  # between two signals, not a wait for something
        assert server.process.returncode == 0
        assert '"stopped"' in server.log.read_text()


def test_kill_of_the_server_loses_nothing(tmp_path: Path) -> None:
    """kill -9: no process is left over, and after a restart the queued and the running jobs complete."""
    gate = tmp_path / "gate"
    with serving(tmp_path, WORKER_KEEP_INPUTS="true") as server:
        running = server.submit(["windows", 2], ["on_attempt", 1, ["wait_file", str(gate)]], ["windows", 3])
        queued = server.submit()
        until(lambda: server.job(running)["progress"]["chunkIndex"] == 2)
        family = server.children()
        assert family
        server.process.kill()
        server.process.wait()
        until(lambda: not any(alive(pid) for pid in family), within_s=10)
    with serving(tmp_path, WORKER_KEEP_INPUTS="true") as server:
        first, second = server.ended(running), server.ended(queued)
        assert (first["status"], first["attempt"], second["status"]) == ("complete", 2, "complete")
        lines = (tmp_path / "data" / "jobs" / running / "windows" / "0.jsonl").read_text().splitlines()
        assert [json.loads(line)["attempt"] for line in lines] == [1, 1, 2]


@pytest.mark.timeout(300)
def test_kill_of_the_server_during_its_start_leaves_no_process(tmp_path: Path) -> None:
    """Whenever in its first seconds the server is killed, its children go with it."""
    for number in slice_of(range(10), 3, "kills during the start"):
        with serving(tmp_path, wait=False) as server:
            family = until(server.children)
            time.sleep(0.05 * number)  # a moment of the start, not a wait for something
            family = server.children()
            server.process.kill()
            server.process.wait()
            until(lambda: not any(alive(pid) for pid in family), within_s=10)  # noqa: B023 - called at once


@pytest.mark.timeout(300)
def test_kill_of_the_server_at_work_leaves_no_process(tmp_path: Path) -> None:
    """Whatever its children do (stuck in C, stopped, at work, idle), they go with a server that is killed -9."""
    steps = ["spin", 60], ["signal", "SIGSTOP"], ["sleep", 60], ["windows", 1]
    for number in range(20 if FULL else 4):
        folder = tmp_path / str(number)
        folder.mkdir()
        with serving(folder, WORKER_MAX_CONCURRENT_JOBS="2", WORKER_PROCESSES_PER_GPU="2") as server:
            job_id = server.submit(["windows", 1], steps[number % 4])
            until(lambda: server.job(job_id)["progress"]["chunkIndex"] >= 1)  # noqa: B023 - called at once
            family = server.children()
            assert len(family) >= 2
            server.process.kill()
            server.process.wait()
            until(lambda: not any(alive(pid) for pid in family), within_s=10)  # noqa: B023


def refused(tmp_path: Path, **environment: str) -> Any:
    """Exit code and last words of a server that does not start."""
    with serving(tmp_path, wait=False, **environment) as server:
        code = server.process.wait(60)
        return code, server.log.read_text()


def test_wrong_settings_end_the_start(tmp_path: Path) -> None:
    """One message with all mistakes, exit code 64, no traceback."""
    code, words = refused(tmp_path, WORKER_PORT="eighty", WORKER_TOKEN="")
    assert code == EXIT_BAD_SETTINGS and "WORKER_PORT" in words and "WORKER_TOKEN" in words
    assert "Traceback" not in words


def test_busy_port_ends_the_start(tmp_path: Path) -> None:
    """The sentence names the address."""
    with busy_port() as taken:
        port = str(taken.getsockname()[1])
        code, words = refused(tmp_path, WORKER_PORT=port)
    assert code == EXIT_PORT and port in words and "Traceback" not in words


def test_folder_in_use_ends_the_start(tmp_path: Path) -> None:
    """Two servers never share a folder."""
    with serving(tmp_path):
        code, words = refused(tmp_path)
    assert code == EXIT_DATA_FOLDER and "in use" in words and "Traceback" not in words


@pytest.mark.parametrize("name", ["WORKER_DATA_DIR", "WORKER_TMP_DIR"])
def test_unusable_folder_ends_the_start(tmp_path: Path, name: str) -> None:
    """The sentence says what to do. Nobody, root included, makes a folder in /proc, or below a file."""
    (tmp_path / "file").write_text("in the way")
    for folder in ("/proc/nowhere", str(tmp_path / "file" / "below")):
        code, words = refused(tmp_path, **{name: folder})
        assert code == EXIT_DATA_FOLDER and name in words and folder in words
        assert "Traceback" not in words


def test_database_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    """Not damaged, and not said to be: here a folder stands in its place."""
    (tmp_path / "data" / "jobs.sqlite3").mkdir(parents=True)
    code, words = refused(tmp_path)
    assert code == EXIT_DATA_FOLDER and "jobs.sqlite3" in words
    assert "damaged" not in words and "Traceback" not in words


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe not a token"])
def test_token_file_that_gives_no_token_ends_the_start(tmp_path: Path, content: Any) -> None:
    """Missing, empty, or not a token: the file is named, what is in it is not."""
    tokens = tmp_path / "tokens"
    if content is not None:
        tokens.write_bytes(content)
    code, words = refused(tmp_path, WORKER_TOKEN="", WORKER_TOKEN_FILE=str(tokens))
    assert code == EXIT_BAD_SETTINGS and ("WORKER_TOKEN_FILE" if content == b"" else str(tokens)) in words
    assert "Traceback" not in words and "not a token" not in words


@pytest.mark.system("curl")
def test_ready_comes_with_a_line_to_copy(tmp_path: Path) -> None:
    """Once jobs would start, and not before; the line works in a shell that has the token."""
    with serving(tmp_path, WORKER_MODEL="slow", WORKER_MODELS="slow") as server:
        server.request("GET", "/v1/ping")
        assert '"ready"' not in server.log.read_text()
        (tmp_path / "data" / "scratch" / "go").touch()
        until(lambda: '"ready"' in server.log.read_text())
        [line] = [line for line in server.log.read_text().splitlines() if '"event": "ready"' in line]
        command = json.loads(line)["message"].partition(": ")[2]
        (tmp_path / "talk.m4a").write_bytes(b"hello")
        environment = {**os.environ, "WORKER_TOKEN": TOKEN}
        sent = subprocess.run(
            ["sh", "-c", f"{command} -sS"], cwd=tmp_path, env=environment, capture_output=True, check=True
        )
        assert server.ended(json.loads(sent.stdout)["workerJobId"])["status"] == "complete"


def test_a_short_token_is_a_warning(tmp_path: Path) -> None:
    """It can be guessed by trying: said at start, without the token."""
    with serving(tmp_path, WORKER_TOKEN="sesame") as server:
        assert server.stop() == 0
    [line] = [line for line in server.log.read_text().splitlines() if "short_token" in line]
    assert json.loads(line)["level"] == "warning" and "16 characters" in line and "sesame" not in line


def test_a_name_that_is_no_setting(tmp_path: Path) -> None:
    """A slip ends the start, with the name that was meant; any other is a warning in the log."""
    code, words = refused(tmp_path, WORKER_MODLE="tiny")
    assert code == EXIT_BAD_SETTINGS and "WORKER_MODLE is no setting; WORKER_MODEL is" in words
    with serving(tmp_path, WORKER_OF_SOMETHING_ELSE="1", WORKER_SERVICE_HOST="10.0.0.7") as server:
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if "unknown_setting" in line]
        assert [(line["level"], line["name"]) for line in lines] == [("warning", "WORKER_OF_SOMETHING_ELSE")]


def test_damaged_database_ends_the_start(tmp_path: Path) -> None:
    """It is said, and kept."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobs.sqlite3").write_text("not a database, " * 500)
    code, words = refused(tmp_path)
    assert code == EXIT_DATABASE and "jobs.sqlite3" in words and "Traceback" not in words


def test_children_are_spawned_before_the_server_is_imported() -> None:
    """They load the model meanwhile: until then, nothing of the web, the service or the metrics is there."""
    code = (
        "import sys, btworker.cli.serve; print({'aiohttp', 'prometheus_client', 'btworker.service'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_start_that_fails_leaves_no_child(tmp_path: Path) -> None:
    """The table is damaged, which is found once the first child is spawned."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobs.sqlite3").write_bytes(b"not a database" * 1000)
    assert refused(tmp_path)[0] == EXIT_DATABASE
    ours = f"WORKER_DATA_DIR={tmp_path / 'data'}".encode()

    def left() -> list[Path]:
        return [path for path in Path("/proc").glob("[0-9]*/environ") if ours in read_if_there(path)]

    until(lambda: not left(), "no process is left", within_s=30)


def read_if_there(path: Path) -> bytes:
    """A file of a process; empty once it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_new_job_table_costs_no_results(tmp_path: Path) -> None:
    """Where a damaged table was moved away, as its error says, the files of its jobs are kept beside the new ones."""
    with serving(tmp_path) as server:
        job_id = server.submit()
        server.ended(job_id)
        assert server.stop() == 0
    (tmp_path / "data" / "jobs.sqlite3").unlink()
    with serving(tmp_path) as server:
        assert server.request("GET", f"/v1/jobs/{job_id}")[0] == 404
        kept = [path for path in (tmp_path / "data").iterdir() if path.name.startswith("jobs.without-table.")]
        assert len(kept) == 1
        assert (kept[0] / job_id / "out" / "talk_transcript.json").is_file()
        assert str(kept[0]) in server.log.read_text()
        assert server.ended(server.submit())["status"] == "complete"


def test_log_lines_are_json_and_hold_no_secret(tmp_path: Path) -> None:
    """One event is one line with ts, level, event and message, from parent and child; the token is in none."""
    with serving(tmp_path, WORKER_LOG_LEVEL="debug") as server:
        server.ended(server.submit(["raise", "boom"]))
        server.request("GET", "/nothing")
        server.stop()
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        events = {line["event"] for line in lines}
        assert {
            "listening",
            "child_started",
            "child_ready",
            "job_accepted",
            "job_started",
            "job_failed",
            "stopped",
        } <= events
        assert all({"ts", "level", "event", "message"} <= set(line) for line in lines)
        raised = next(line for line in lines if line["event"] == "job_raised")
        assert "boom" in raised["exception"] and raised["workerJobId"].startswith("wk_")
        assert "a-token-for-tests" not in server.log.read_text()
