"""R26: a job table that is lost, emptied or older than the files costs no result and no accepted input."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.clients import SLOW, body_of, folders_of, let_go, post
from tests.faults.leftovers import files_of, warnings_of
from tests.process.server_of import serving
from tests.waiting import until

JOBS = 4


def filled(folder: Path) -> tuple[dict[tuple[str, str], bytes], dict[tuple[str, str], bytes]]:
    """A server that was killed with JOBS complete jobs and one that runs; its files before."""
    with serving(folder) as server:
        for number in range(JOBS):
            server.ended(server.upload(f"{number}.wav", b"hello"))
        running = server.submit(["sleep", 600])
        until(lambda: server.job(running)["status"] == "running")
        server.process.kill()
        server.process.wait()
    results, inputs = files_of(folder, "out"), files_of(folder, "in")
    assert len(results) >= JOBS and len(inputs) == 1
    return results, inputs


def emptied(path: Path) -> None:
    """A file of 0 bytes: what some file systems leave after a crash."""
    os.truncate(path, 0)


def without_rows(path: Path) -> None:
    """A sound table, but not that of these files."""
    path.with_name("jobs.sqlite3-wal").unlink()
    path.unlink()
    other = path.parent.parent / "other"
    other.mkdir()
    with serving(other) as server:
        server.ended(server.submit())
        assert server.stop() == 0
    shutil.copy(other / "data" / "jobs.sqlite3", path)


@pytest.mark.parametrize(
    ("lose", "event"), [(emptied, "jobs_without_table"), (without_rows, "jobs_without_row")], ids=["emptied", "another"]
)
def test_a_table_without_the_rows_costs_no_file(tmp_path: Path, lose: Callable[[Path], None], event: str) -> None:
    """Every result and every accepted input is put aside, with one warning that says where; the worker works on."""
    results, inputs = filled(tmp_path)
    lose(tmp_path / "data" / "jobs.sqlite3")
    with serving(tmp_path) as server:
        assert server.ended(server.submit())["status"] == "complete"
        assert results.items() <= files_of(tmp_path, "out").items()
        assert inputs.items() <= files_of(tmp_path, "in").items()
        [warning] = warnings_of(server, event)
        assert warning["level"] == "warning" and warning["jobs"] == JOBS + 1
        [aside] = (tmp_path / "data").glob("jobs.without-*")
        assert str(aside) in warning["message"] and len(list(aside.iterdir())) == JOBS + 1
        assert server.stop() == 0
    with serving(tmp_path) as server:
        assert len(warnings_of(server, event)) == 1, "said once"
        assert results.items() <= files_of(tmp_path, "out").items()


def test_an_older_table_costs_no_file(tmp_path: Path) -> None:
    """A backup of the table is put back: results of jobs that are younger than it, inputs that were accepted after it,
    and results of jobs that still waited in it, are all kept; the half of an upload goes."""
    database = tmp_path / "data" / "jobs.sqlite3"
    with serving(tmp_path, **SLOW) as server:
        old = server.submit()
        assert server.stop() == 0
    shutil.copy(database, tmp_path / "backup")
    with serving(tmp_path, **SLOW) as server:
        let_go(tmp_path)
        younger = [server.submit() for _ in range(JOBS)]
        for job_id in (old, *younger):
            assert server.ended(job_id)["status"] == "complete"
        waiting = server.submit(["sleep", 600])
        server.process.kill()
        server.process.wait()
    half = tmp_path / "data" / "jobs" / "wk_0123456789abcdef"
    (half / "in").mkdir(parents=True)
    (half / "in" / "0.part").write_text("half")
    results, inputs = files_of(tmp_path, "out"), files_of(tmp_path, "in")
    assert {job_id for job_id, _ in results} == {old, *younger} and {waiting} <= {job_id for job_id, _ in inputs}
    (tmp_path / "data" / "jobs.sqlite3-wal").unlink()
    shutil.copy(tmp_path / "backup", database)
    (tmp_path / "data" / "scratch" / "go").unlink()
    with serving(tmp_path, **SLOW) as server:
        assert server.ended(old)["error"]["message"].endswith("send them again")
        assert files_of(tmp_path, "out") == results
        assert inputs.items() - files_of(tmp_path, "in").items() == {((half.name, "0.part"), b"half")}
        assert warnings_of(server, "jobs_without_row")[0]["jobs"] == JOBS + 1
        assert warnings_of(server, "results_without_row")[0]["jobs"] == 1
        assert server.stop() == 0


def test_a_deletion_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    """Killed after the folder's name said so: neither the row nor a file comes back, and nothing is put aside."""
    with serving(tmp_path) as server:
        deleted, kept = server.submit(), server.submit()
        for job_id in (deleted, kept):
            server.ended(job_id)
        server.process.kill()
        server.process.wait()
    jobs = tmp_path / "data" / "jobs"
    os.rename(jobs / deleted, jobs / f"{deleted}.deleted")
    with serving(tmp_path) as server:
        until(lambda: server.request("GET", f"/v1/jobs/{deleted}")[0] == 404)
        until(lambda: folders_of(tmp_path) == {kept})
        assert server.request("GET", f"/v1/jobs/{kept}")[0] == 200
        assert not list((tmp_path / "data").glob("jobs.without*"))


def test_an_upload_that_was_not_answered_is_not_put_aside(tmp_path: Path) -> None:
    """Its bytes are whole, and its row was never committed: its client sends it again."""
    with serving(tmp_path, **SLOW) as server:
        _, job = post(server, body_of(b"a"))
        server.process.kill()
        server.process.wait()
    left = tmp_path / "data" / "jobs" / "wk_0123456789abcdef"
    shutil.copytree(left.with_name(job["workerJobId"]), left)
    (left / "receiving").touch()
    with serving(tmp_path, **SLOW) as server:
        assert folders_of(tmp_path) == {job["workerJobId"]}
        assert not list((tmp_path / "data").glob("jobs.without*"))
        assert server.stop() == 0


def test_a_kill_between_the_row_and_the_end_of_the_mark_leaves_a_job(tmp_path: Path) -> None:
    """Its row was durable, and its client may have been answered since: were the row lost, its bytes would stay."""
    with serving(tmp_path, **SLOW) as server:
        _, job = post(server, body_of(b"a"))
        server.process.kill()
        server.process.wait()
    mark = tmp_path / "data" / "jobs" / job["workerJobId"] / "receiving"
    mark.touch()
    with serving(tmp_path, **SLOW) as server:
        assert not mark.exists()
        assert server.request("GET", f"/v1/jobs/{job['workerJobId']}")[0] == 200
        assert server.stop() == 0
