"""R28: a backup, made while the worker works or not, gives every job back with its files; a restore deletes nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE
from tests.faults.clients import SLOW, jobs_of, let_go
from tests.faults.leftovers import files_of, warnings_of
from tests.process.server_of import Server, serving
from tests.waiting import until


def command(folder: Path, *words: object, code: int = 0) -> str:
    """Run btworker for the data folder in `folder`; what it printed."""
    environment = {**os.environ, "WORKER_DATA_DIR": str(folder / "data"), "WORKER_MAX_FILE_MB": "wrong, but no matter"}
    run = [sys.executable, "-m", "btworker", *map(str, words)]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def check_results(server: Server, jobs: list[dict[str, Any]]) -> None:
    """Every complete job's results can be had, as they were."""
    for job in jobs:
        now = server.job(job["workerJobId"])
        assert now["status"] == job["status"] == "complete" and now["outputs"] == job["outputs"]
        for output in job["outputs"]:
            data = server.output(job["workerJobId"], output["filename"]).encode()
            assert hashlib.sha256(data).hexdigest() == output["sha256"]


def stored_voice(server: Server, name: str) -> Any:
    """A voice that the scripted engine has made."""
    parts = (f'name="name"\r\n\r\n{name}', 'name="file"; filename="a.wav"\r\n\r\nspeech')
    body = "".join(f"--b\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    status, voice = server.request("POST", "/v1/voices", body.encode(), **kind)
    assert status == 201, voice
    return voice


@pytest.mark.parametrize("while_running", [True, False])
def test_a_lost_disk_is_restored(tmp_path: Path, while_running: bool) -> None:
    """Complete jobs have their results, waiting ones run from their inputs; keys, failures and voices are known.

    The backup was made beside a worker at work, or without one."""
    with serving(tmp_path) as server:
        complete = [server.ended(server.submit()) for _ in range(3)]
        failed = server.ended(server.submit(["fail", "CORRUPT_AUDIO", "no"]))
        gate = tmp_path / "gate"
        voice = stored_voice(server, "Ben")
        waiting = [server.submit(["wait_file", str(gate)]) for _ in range(2)]
        waiting.append(server.upload("talk.wav", b"speech", prompt="", knownSpeakerNames="Ben"))
        until(lambda: server.job(waiting[0])["status"] == "running")
        if not while_running:
            assert server.stop() == 0
        assert "7 jobs" in command(tmp_path, "backup", tmp_path / "backup")
        server.process.kill()
        server.process.wait()
    shutil.rmtree(tmp_path / "data")
    assert "7 jobs" in command(tmp_path, "restore", tmp_path / "backup")
    copy = tmp_path / "data" / "jobs" / waiting[-1] / "in" / "voice.0.json"
    assert json.loads(copy.read_text())["model"] == "scripted"
    gate.touch()
    with serving(tmp_path) as server:
        assert server.request("GET", "/v1/voices")[1]["voices"] == [voice]
        check_results(server, complete)
        assert server.job(failed["workerJobId"])["error"] == failed["error"]
        assert all(server.ended(job_id)["status"] == "complete" for job_id in waiting)
        assert len(jobs_of(server)) == 7 and not list((tmp_path / "data").glob("jobs.without*"))


def test_a_restore_deletes_nothing(tmp_path: Path) -> None:
    """Results that are younger than the backup are kept, also those of a job that still waited in it, which runs again
    from the backup's inputs; the table that was there is kept under another name."""
    with serving(tmp_path, **SLOW) as server:
        old = server.submit()
        command(tmp_path, "backup", tmp_path / "backup")
        let_go(tmp_path)
        younger = server.submit()
        for job_id in (old, younger):
            assert server.ended(job_id)["status"] == "complete"
        assert server.stop() == 0
    before = files_of(tmp_path, "out")
    assert {job_id for job_id, _ in before} == {old, younger}
    words = command(tmp_path, "restore", tmp_path / "backup")
    assert "jobs.sqlite3.before-restore." in words and "jobs.without-row." in words
    assert files_of(tmp_path, "out").items() >= before.items()
    with serving(tmp_path, **SLOW) as server:
        assert server.ended(old)["status"] == "complete" and server.request("GET", f"/v1/jobs/{younger}")[0] == 404
        assert files_of(tmp_path, "out").keys() >= before.keys()
        assert warnings_of(server, "jobs_without_row")[0]["jobs"] == 1
        assert server.stop() == 0
    [earlier] = (tmp_path / "data").glob("jobs.sqlite3.before-restore.*")
    for path in (tmp_path / "data").glob("jobs.sqlite3*"):
        if path != earlier:
            path.unlink()
    earlier.rename(tmp_path / "data" / "jobs.sqlite3")
    with serving(tmp_path, **SLOW) as server:
        assert {job["workerJobId"] for job in jobs_of(server)} == {old, younger}, "and back again"


def test_jobs_that_end_meanwhile_are_whole_in_the_backup(tmp_path: Path) -> None:
    """Backup after backup beside a busy worker: each job of each backup has the files that its row speaks of."""
    with serving(tmp_path, WORKER_MAX_CONCURRENT_JOBS="2") as server:
        for _ in range(4):
            for _ in range(5):
                server.submit(["windows", 2], ["sleep", 0.05])
            command(tmp_path, "backup", tmp_path / "backup")
        until(lambda: all(job["status"] == "complete" for job in jobs_of(server)))
        ids = [job["workerJobId"] for job in jobs_of(server)]
        assert server.stop() == 0
    made = sorted((tmp_path / "backup").iterdir())
    assert len(made) == 4
    shutil.rmtree(tmp_path / "data")
    command(tmp_path, "restore", made[2])
    with serving(tmp_path) as server:
        assert len(jobs_of(server)) == 15
        for job in jobs_of(server):
            assert server.ended(job["workerJobId"])["status"] == "complete" and job["workerJobId"] in ids


def test_a_second_backup_takes_no_room_for_what_the_first_has(tmp_path: Path) -> None:
    """Files have a second name there; --keep leaves the newest, which stays whole."""
    with serving(tmp_path) as server:
        complete = [server.ended(server.submit()) for _ in range(2)]
        for _ in range(2):
            command(tmp_path, "backup", tmp_path / "backup")
        one, other = sorted((tmp_path / "backup").iterdir())
        results = [path.relative_to(one) for path in one.glob("jobs/*/out/*")]
        assert len(results) >= 2
        assert all((one / path).samefile(other / path) for path in results)
        command(tmp_path, "backup", tmp_path / "backup", "--keep", "1")
        assert server.stop() == 0
    [kept] = (tmp_path / "backup").iterdir()
    assert kept not in (one, other)
    shutil.rmtree(tmp_path / "data")
    command(tmp_path, "restore", tmp_path / "backup")
    with serving(tmp_path) as server:
        check_results(server, complete)


def test_what_cannot_be_backed_up_or_restored_is_said(tmp_path: Path) -> None:
    """One sentence, an exit code, and everything as it was: no table, a backup within the data folder, a worker at
    work, no backup, a damaged one."""
    assert "no job table" in command(tmp_path, "backup", tmp_path / "backup", code=EXIT_DATA_FOLDER)
    with serving(tmp_path) as server:
        server.ended(server.submit())
        assert "another disk" in command(tmp_path, "backup", tmp_path / "data" / "backup", code=2)
        command(tmp_path, "backup", tmp_path / "backup")
        assert "in use" in command(tmp_path, "restore", tmp_path / "backup", code=EXIT_DATA_FOLDER)
        assert len(jobs_of(server)) == 1
        assert server.stop() == 0
    before = files_of(tmp_path, "out")
    table = (tmp_path / "data" / "jobs.sqlite3").read_bytes()
    assert "no backup" in command(tmp_path, "restore", tmp_path / "elsewhere", code=EXIT_DATA_FOLDER)
    [backup] = (tmp_path / "backup").iterdir()
    with open(backup / "jobs.sqlite3", "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert "damaged" in command(tmp_path, "restore", backup, code=EXIT_DATABASE)
    assert files_of(tmp_path, "out") == before and (tmp_path / "data" / "jobs.sqlite3").read_bytes() == table


@pytest.mark.system("root", "mount", "umount")
def test_a_full_disk_ends_a_backup_without_a_trace(tmp_path: Path) -> None:
    """What was copied so far goes, and earlier backups stay."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    try:
        with serving(tmp_path) as server:
            server.ended(server.submit())
            command(tmp_path, "backup", disk / "backup")
            before = sorted(disk.rglob("*"))
            server.ended(server.submit(["spill", 4]))
            words = command(tmp_path, "backup", disk / "backup", code=EXIT_DATA_FOLDER)
            assert "no space left" in words and "no backup was made" in words
            assert sorted(disk.rglob("*")) == before
            assert server.stop() == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_copy_that_nobody_fetched_goes_with_the_next_start(tmp_path: Path) -> None:
    """A backup that was killed between the worker's copy and its own leaves nothing for long."""
    with serving(tmp_path) as server:
        (tmp_path / "data" / "backup.0123456789abcdef.sqlite3").write_text("x")
        assert server.stop() == 0
    with serving(tmp_path) as server:
        assert not list((tmp_path / "data").glob("backup.*"))
        assert server.stop() == 0
    assert not (tmp_path / "data" / "control").exists()
