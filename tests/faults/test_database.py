"""R19: structural damage to the job database, a second server, and a file system that is not local are said at start.

The file is kept as it was. A single flipped bit inside a page's text is beyond what SQLite detects: not promised.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE
from tests.damage import damage_foreign, damage_newer, damage_text, damage_truncated, damage_zeroed
from tests.faults.clients import SLOW, body_of, jobs_of, post
from tests.light_stack import light_stack
from tests.process.server_of import serving
from tests.slices import slice_of
from tests.waiting import until

KINDS = (damage_truncated, damage_zeroed, damage_text, damage_foreign, damage_newer)
DAMAGES = slice_of(KINDS, 2, "damages")
MOUNT_AS = """
sed "s#^[^ ]* / [^ ]*#server:/export / nfs4#" /proc/mounts > "$0/mounts"
mount --bind "$0/mounts" /proc/$$/mounts
exec "$@"
"""
"""sh: this process, and what it becomes, sees a table of mounts in which the root is on NFS."""


@pytest.mark.timeout(600)
def test_damage_ends_the_start_and_the_file_is_kept(tmp_path: Path) -> None:
    """Truncated, a page of zeros, no database, another program's, a newer version's: exit code, one sentence, file
    kept; with the good file back, every job is there. And while it runs, a second server is turned away."""
    path = tmp_path / "data" / "jobs.sqlite3"
    with serving(tmp_path, **SLOW) as server:
        for number in range(30):
            assert post(server, body_of(b"x", filename=f"{number}.wav"))[0] == 201
        with serving(tmp_path, wait=False, **SLOW) as second:
            assert second.process.wait(120) == EXIT_DATA_FOLDER
        assert len(jobs_of(server)) == 30
        assert server.stop() == 0
    good = path.read_bytes()
    for damage in DAMAGES:
        path.write_bytes(good)
        damage(path)
        bad = path.read_bytes()
        with serving(tmp_path, wait=False, **SLOW) as server:
            assert server.process.wait(120) == EXIT_DATABASE, damage
        assert path.read_bytes() == bad, damage
    path.write_bytes(good)
    with serving(tmp_path, **SLOW) as server:
        assert len(jobs_of(server)) == 30
        words = server.log.read_text()
    assert words.count("it was left as it is") >= len(DAMAGES) - 1 and "Traceback" not in words


@pytest.mark.system("root", "unshare", "mount")
def test_a_network_file_system_is_named(tmp_path: Path) -> None:
    """By the start as a warning in the log, by doctor as a failed check; both name it."""
    ready = tmp_path / "ready.json"
    environment = {
        **os.environ,
        "WORKER_TOKEN": "t",
        "WORKER_PORT": "0",
        "WORKER_DATA_DIR": str(tmp_path / "data"),
        "WORKER_ENGINE": "tests.fake_engine:load",
        "WORKER_DEVICE": "cpu",
        "WORKER_LOG_FORMAT": "json",
        "PYTHONPATH": light_stack(tmp_path),
        **SLOW,
    }
    command = ["unshare", "-m", "sh", "-e", "-c", MOUNT_AS, str(tmp_path), sys.executable, "-m", "btworker"]
    doctor = subprocess.run(
        [*command, "doctor", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    [check] = [check for check in json.loads(doctor.stdout) if check["check"] == "file system"]
    assert check["verdict"] == "fail" and "nfs4" in check["found"]
    log = tmp_path / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen([*command, "serve", "--ready-file", str(ready)], env=environment, stdout=output)
    try:
        until(ready.exists)
        [line] = [json.loads(line) for line in log.read_text().splitlines() if "data_folder_not_local" in line]
        assert "nfs4" in line["message"] and "local disk" in line["message"]
    finally:
        process.kill()
        process.wait()
