"""R2: what survives a power cut, proven by the order of system calls: nothing is said before it is durable.

An accept: the file's fsync, its rename, the fsyncs of the folders, the row's commit, and only then the 201. An end: the
results' fsync, their folder's rename and fsync, the row's commit, and only then is the job complete.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import body_of, post
from tests.faults.strace import recorded
from tests.process.server_of import serving
from tests.waiting import until

CALLS = ("write", "sendto", "writev", "sendmsg", "fsync", "fdatasync", "rename")


def in_order(*steps: list[Any]) -> None:
    """Each step (all calls of it) had returned before any call of the next began."""
    for earlier, later in pairwise(steps):
        assert earlier and later, (earlier, later)
        assert max(call.ended for call in earlier) < min(call.began for call in later), (earlier, later)


@pytest.mark.system("strace", "root")
def test_durable_before_it_is_said(tmp_path: Path) -> None:
    """From the first byte to the 201, and from the result to `complete`, in one recording of parent and child."""
    with serving(tmp_path) as server:
        server.ended(server.submit())
        [child] = until(lambda: [pid for pid in server.children() if is_worker(pid)])
        with recorded(server.process.pid, CALLS) as parent, recorded(child, CALLS) as worker:
            status, job = post(server, body_of(b"the sound"))
            assert status == 201
            assert server.ended(job["workerJobId"])["status"] == "complete"
    job_id = job["workerJobId"]
    commits = [call for call in parent.calls if call.name == "fdatasync"]
    answer = [call for call in parent.calls if "HTTP/1.1 201" in call.text]
    first_commit = [max((one for one in commits if one.ended < answer[0].began), key=lambda one: one.ended)]
    in_order(
        parent.of("fsync", f"{job_id}/in/0.part"),
        parent.of("rename", f"{job_id}/in/0.part"),
        parent.of("fsync", f"{job_id}/in"),
        [*parent.of("fsync", job_id), *parent.of("fsync", "/data/jobs")],
        first_commit,
        answer,
    )
    in_order(
        worker.of("fsync", "_transcript.json"),
        worker.of("fsync", "/out.part"),
        worker.of("rename", "/out.part"),
        worker.of("fsync", job_id),
    )
    complete = next(call for call in parent.calls if re.search(r'status\\": ?\\"complete', call.text))
    last_commit = max((one for one in commits if one.ended < complete.began), key=lambda one: one.ended)
    assert last_commit.ended > first_commit[0].ended + 1, "the end has a commit of its own"
    assert len(commits) >= 3, "accepted, attempt counted, complete"


def is_worker(pid: int) -> bool:
    """A spawned child, not multiprocessing's resource tracker."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return b"spawn_main" in file.read()
