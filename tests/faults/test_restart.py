"""R20: a restart is quick; orphans go, interrupted jobs run again, keys and retention hold over it."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from btworker.jobs import Input, JobStatus, Options, new_job_id
from btworker.store import Store
from btworker.store.rows import job_to_json
from tests.a_job import a_job
from tests.faults.clients import SLOW, body_of, folders_of, jobs_of, let_go, post
from tests.process.server_of import serving
from tests.slices import FULL
from tests.waiting import until

STORED, LEFT = (10_000, 1000) if FULL else (2000, 200)
RUNNING = 20


def prepare(folder: Path) -> Any:
    """A data folder with many finished jobs, some that were running, and leftovers of every kind; the running ids."""
    data = folder / "data"
    (data / "jobs").mkdir(parents=True)
    (data / "scratch").mkdir()
    store = Store.open(data / "jobs.sqlite3")
    store._db.close()
    options = Options(model="slow")
    item = Input("0", "talk.wav", "talk", 5, "0" * 64)
    base = a_job(options=options, inputs=(item,))
    now = time.time()
    done = [
        base.evolve(id=new_job_id(), status=JobStatus.RUNNING, attempt=1).evolve(
            status=JobStatus.COMPLETE, finished_at=now
        )
        for _ in range(STORED)
    ]
    running = [base.evolve(id=new_job_id(), status=JobStatus.RUNNING, attempt=1) for _ in range(RUNNING)]
    rows = [
        (job.id, job.status.value, job.attempt, job.created_at, job.finished_at, job_to_json(job))
        for job in [*done, *running]
    ]
    sql = "INSERT INTO jobs (id, status, attempt, created_at, finished_at, body) VALUES (?, ?, ?, ?, ?, ?)"
    with sqlite3.connect(data / "jobs.sqlite3") as db:
        db.executemany(sql, rows)
    db.close()
    for number, job in enumerate([*done, *running]):
        place = data / "jobs" / job.id
        if number % 10 == 0 or job.status is JobStatus.RUNNING:
            (place / "in").mkdir(parents=True)
            (place / "in" / "0").write_text("hello")
        else:
            place.mkdir()
    for number in range(LEFT):
        place = data / "jobs" / (f"{new_job_id()}" + (".deleted" if number % 2 else ""))
        (place / "in").mkdir(parents=True)
        (place / "in" / "0.part").write_text("half")
    for job in running[:5]:
        (data / "scratch" / f"{job.id}.0.s16").write_text("sound")
    return {job.id for job in done}, {job.id for job in running}


@pytest.mark.timeout(600)
def test_restart_with_much_to_take_up(tmp_path: Path) -> None:
    """10,000 jobs and 1,000 leftovers: it listens soon (the figure is printed; the promise is 5 s on an idle machine),
    the leftovers and the inputs of ended jobs are gone, running jobs run again as attempt 2."""
    done, running = prepare(tmp_path)
    began = time.monotonic()
    with serving(tmp_path, **SLOW) as server:
        print(f"{STORED} jobs, {LEFT} leftovers: listens after {time.monotonic() - began:.2f} s")
        assert time.monotonic() - began < 120
        assert folders_of(tmp_path) == done | running
        assert not list((tmp_path / "data" / "scratch").glob("wk_*"))
        until(lambda: all(server.job(job_id)["status"] == "queued" for job_id in running))
        jobs = tmp_path / "data" / "jobs"
        until(lambda: not any((jobs / job_id / "in").exists() for job_id in done))
        assert all((jobs / job_id / "in" / "0").exists() for job_id in running)
        let_go(tmp_path)
        for job_id in running:
            job = server.ended(job_id)
            assert (job["status"], job["attempt"]) == ("complete", 2)
            until(lambda: not (jobs / job_id / "in").exists())  # noqa: B023 - called at once
        assert server.stop() == 0


def test_keys_inputs_and_results_over_restarts(tmp_path: Path) -> None:
    """The same key gives the same job after a kill and after a stop; inputs go with the end of a job, however it ends,
    unless they are kept; results go after the retention, and a running job's never do."""
    gate = tmp_path / "gate"
    wait = json.dumps({"steps": [["wait_file", str(gate)]]})
    jobs = tmp_path / "data" / "jobs"
    with serving(tmp_path) as server:
        _, done = post(server, body_of(b"a"), Idempotency_Key="done")
        failed = server.submit(["fail", "CORRUPT_AUDIO", "no"])
        for job_id in (done["workerJobId"], failed):
            server.ended(job_id)
            until(lambda: not (jobs / job_id / "in").exists())  # noqa: B023 - called at once
        assert (jobs / done["workerJobId"] / "out").exists()
        _, running = post(server, body_of(b"b", prompt=wait), Idempotency_Key="running")
        until(lambda: server.job(running["workerJobId"])["status"] == "running")
        server.process.kill()
        server.process.wait()
    (jobs / failed / "in").mkdir()  # as if the kill had come between the end and the deletion
    with serving(tmp_path, WORKER_KEEP_INPUTS="true") as server:
        for key, first in (("done", done), ("running", running)):
            status, job = post(server, body_of(b"again"), Idempotency_Key=key)
            assert (status, job["workerJobId"]) == (200, first["workerJobId"])
        assert len(jobs_of(server)) == 3
        until(lambda: server.job(running["workerJobId"])["status"] == "running")
        server.process.kill()
        server.process.wait()
    with serving(tmp_path, WORKER_RETENTION_HOURS="0.0000001") as server:
        until(lambda: len(jobs_of(server)) == 1 and len(folders_of(tmp_path)) == 1)
        until(lambda: server.job(running["workerJobId"])["status"] == "running")
        gate.touch()
        assert server.ended(running["workerJobId"])["status"] == "complete"
        assert folders_of(tmp_path) == {running["workerJobId"]}
        assert server.stop() == 0


def test_a_job_without_its_files_fails_and_gives_its_key_up(tmp_path: Path) -> None:
    """Such a row is one that a failed commit left behind before a power cut, or its files were deleted by hand."""
    with serving(tmp_path, **SLOW) as server:
        _, job = post(server, body_of(b"a"), Idempotency_Key="k")
        server.process.kill()
        server.process.wait()
    (tmp_path / "data" / "jobs" / job["workerJobId"] / "in" / "0").unlink()
    with serving(tmp_path, **SLOW) as server:
        assert "send them again" in server.ended(job["workerJobId"])["error"]["message"]
        status, other = post(server, body_of(b"a"), Idempotency_Key="k")
        assert status == 201 and other["workerJobId"] != job["workerJobId"]


def test_a_job_of_a_clock_that_ran_ahead_keeps_its_place(tmp_path: Path) -> None:
    """It was accepted before the clock was set right, which the younger job of the same key does not gain by."""
    broken = {"WORKER_ENGINE": "tests.fake_engine:not_there"}
    with serving(tmp_path, **broken) as server:
        early = server.submit()
        server.process.kill()
        server.process.wait()
    with closing(sqlite3.connect(tmp_path / "data" / "jobs.sqlite3")) as db, db:
        ((body,),) = db.execute("SELECT body FROM jobs").fetchall()
        body = json.dumps({**json.loads(body), "created_at": time.time() + 86_400})
        assert db.execute("UPDATE jobs SET body = ?", (body,)).rowcount == 1
    with serving(tmp_path, **broken) as server:
        late = server.submit()
        positions = [server.job(job_id)["queuePosition"] for job_id in (early, late)]
        assert positions == sorted(positions) and None not in positions
