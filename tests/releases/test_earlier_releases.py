"""R27: a worker of this release starts on a data folder of every earlier one, and keeps what that one had promised."""

import hashlib
import json
import sqlite3
import tarfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.process.server_of import TOKEN, Server, serving
from tests.releases.__main__ import DEMO, RELEASES, SHORT
from tests.releases.receiver import Receiver, receiving
from tests.waiting import until

PATIENT = {"WORKER_RETENTION_HOURS": "1000000", "WORKER_RESUMABLE_HOURS": "8760"}
"""Settings: the folder is older with each day that this test is run on."""


def unpack(name: str, folder: Path, receiver: Receiver) -> dict[str, Any]:
    """The data folder, told where its receiver is by now; what was promised."""
    with tarfile.open(RELEASES / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    promised = json.loads((RELEASES / f"{name}.json").read_text())
    with sqlite3.connect(folder / "data" / "jobs.sqlite3") as db:
        db.execute("UPDATE jobs SET body = replace(body, ?, ?)", (promised["receiver"], receiver.url))
    db.close()
    for info in (folder / "data" / "uploads").glob("*/info.json"):
        info.write_text(json.dumps({**json.loads(info.read_text()), "touched_at": time.time()}))
    return promised


def get(server: Server, path: Path, method: str = "GET", **headers: object) -> tuple[int, Any, bytes]:
    """Status, headers and bytes."""
    request = urllib.request.Request(server.url + urllib.parse.quote(path, safe="/%?=&"), method=method)
    for name, value in {"Authorization": f"Bearer {TOKEN}", **headers}.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def check_results(server: Server, jobs: dict[str, Any]) -> None:
    """Every output that was promised is there, byte for byte, and other formats are still made of it."""
    for job in jobs.values():
        for output in job["outputs"]:
            status, _, data = get(server, output["url"])
            assert status == 200 and hashlib.sha256(data).hexdigest() == output["sha256"], output
    status, _, text = get(server, f"/v1/jobs/{jobs['complete']['workerJobId']}/transcript?format=srt")
    assert status == 200 and b"-->" in text


def check_corrections(server: Server, jobs: dict[str, Any]) -> None:
    """What was transcribed by an earlier release is corrected like a new job's transcript, start after start."""
    url = f"/v1/jobs/{jobs['complete']['workerJobId']}/corrections"
    version = server.request("GET", url)[1]["version"]
    body = json.dumps({"edits": [{"op": "text", "segment": 0, "text": f"after {version}"}]}).encode()
    headers = {"Content-Type": "application/json", "If-Match": f'"{version}"'}
    assert server.request("PATCH", url, body, **headers)[0] == 200
    assert server.request("GET", url)[1]["inputs"][0]["segments"][0]["text"] == f"after {version}"


def check_uploads(server: Server, uploads: dict[str, Any]) -> None:
    """Unfinished ones are where they were, a finished one becomes a job, the others are known."""
    for name in ("half", "whole"):
        headers = get(server, f"/v1/uploads/{uploads[name]['id']}", "HEAD", **{"Tus-Resumable": "1.0.0"})[1]
        assert int(headers["Upload-Offset"]) == uploads[name]["offset"]
    assert get(server, f"/v1/uploads/{uploads['deleted']['id']}", "HEAD", **{"Tus-Resumable": "1.0.0"})[0] == 410
    assert server.job(uploads["became"]["job"])["status"] == "complete"
    body = json.dumps({"uploads": [uploads["whole"]["id"]]}).encode()
    status, job = server.request("POST", "/v1/jobs", body, **{"Content-Type": "application/json"})
    assert status == 201 and server.ended(job["workerJobId"])["inputs"][0]["sha256"] == uploads["sha256"]


@pytest.mark.speech
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(path.name.removesuffix(".tar.gz") for path in RELEASES.glob("*.tar.gz")))
def test_a_data_folder_of_an_earlier_release_is_taken_over(tmp_path: Path, name: str) -> None:
    """Jobs keep their state and their results, waiting ones run, words that were owed are told, uploads go on; nothing
    is put aside. And once more on what this release has made of it."""
    with receiving(SHORT.read_bytes(), is_open=True) as receiver:
        promised = unpack(name, tmp_path, receiver)
        jobs, ids = promised["jobs"], {name: job["workerJobId"] for name, job in promised["jobs"].items()}
        settings = {**DEMO, **PATIENT, "WORKER_ALLOWED_HOSTS": f"127.0.0.1:{receiver.server_port}"}
        with serving(tmp_path, **settings) as server:
            for job in jobs.values():
                now = server.job(job["workerJobId"])
                kept = ("createdAt", "error") if job["status"] in ("complete", "failed", "canceled") else ("createdAt",)
                assert all(now[key] == job[key] for key in kept), (now, job)
                assert [item["filename"] for item in now["inputs"]] == [item["filename"] for item in job["inputs"]]
            check_results(server, jobs)
            check_corrections(server, jobs)
            for unfinished in ("pushing", "running", "queued", "downloading"):
                assert server.ended(ids[unfinished])["status"] == "complete", unfinished
            assert server.job(ids["running"])["attempt"] == 2
            until(lambda: {"/refused/hook", "/refused/complete"} <= {path for path, _ in receiver.posts})
            told = b"".join(body for _, body in receiver.posts)
            assert all(ids[name].encode() in told for name in ("owing", "pushing", "downloading"))
            assert not any(ids[name].encode() in told for name in ("told", "pushed")), "these had been told"
            check_results(server, {name: job for name, job in jobs.items() if job["status"] == "complete"})
            check_uploads(server, promised["uploads"])
            assert server.stop() == 0
        assert not list((tmp_path / "data").glob("jobs.without*"))
        with serving(tmp_path, **settings) as server:
            check_results(server, jobs)
            check_corrections(server, jobs)
            assert all(server.job(job_id)["status"] in ("complete", "failed", "canceled") for job_id in ids.values())
