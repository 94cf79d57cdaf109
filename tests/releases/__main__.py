"""`python -m tests.releases`: makes tests/data/releases/<version>.tar.gz, a data folder as this release leaves it.

Run once for each release, from its own tree, and never again. A real worker with the embedded model works until there
is a job of every state and an upload of every kind, and is then killed, as by a power cut. The JSON file beside the
archive says what was promised to clients by then.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from btworker import __version__
from tests.demo_worker import DEMO_WORKER
from tests.process.server_of import TOKEN, Server, serving
from tests.releases.receiver import Receiver, receiving
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
RELEASES = ROOT / "tests" / "data" / "releases"
SHORT = ROOT / "tests" / "data" / "heldout" / "01.opus"
LONG = ROOT / "tests" / "data" / "dialogues" / "03.opus"
DEMO = {
    **DEMO_WORKER,
    "WORKER_CPU_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def main() -> None:
    """Make the archive of this release."""
    target = RELEASES / f"{__version__}.tar.gz"
    if target.exists():
        raise SystemExit(f"{target} is there already, and is never made anew")
    with tempfile.TemporaryDirectory() as scratch, receiving(SHORT.read_bytes(), is_open=False) as receiver:
        folder = Path(scratch)
        hosts = f"127.0.0.1:{receiver.server_port}"
        with serving(folder, **DEMO, WORKER_ALLOWED_HOSTS=hosts) as server:
            promised = {"receiver": receiver.url, "jobs": _jobs(server, receiver), "uploads": _uploads(server)}
            promised["jobs"] |= _unfinished(server, receiver)
            server.process.kill()
            server.process.wait()
        for name, job in promised["jobs"].items():
            print(f"{name:12} {job['status']:9} {len(job['outputs'])} outputs")
        target.parent.mkdir(exist_ok=True)
        with tarfile.open(target, "w:gz") as archive:
            archive.add(folder / "data", "data", filter=lambda item: None if item.name.endswith(".s16") else item)
    target.with_name(f"{__version__}.json").write_text(json.dumps(promised, indent=1, ensure_ascii=False) + "\n")
    print(f"{target}: {target.stat().st_size:,} bytes")


def _jobs(server: Server, receiver: Receiver) -> dict[str, Any]:
    """Jobs that have ended, or whose work has."""
    outputs = "json,md,srt,vtt,txt,tsv,rttm"
    sound = SHORT.read_bytes()
    complete = server.upload("Gespräch.opus", sound, outputs=outputs, diarizationEnabled="true")
    failed = server.upload("notes.wav", b"no sound at all")
    told = server.upload("told.opus", sound, callbackUrl=f"{receiver.url}/taken/hook")
    owing = server.upload("owing.opus", sound, callbackUrl=f"{receiver.url}/refused/hook")
    pushed, pushing = _dispatched(server, receiver, "taken"), _dispatched(server, receiver, "refused")
    for job_id in (complete, failed, told, owing, pushed):
        server.ended(job_id)
    until(lambda: server.job(pushing)["stage"] == "uploading")
    until(lambda: len([path for path, _ in receiver.posts if path.endswith(("hook", "complete"))]) == 2)
    named = {"complete": complete, "failed": failed, "told": told, "owing": owing, "pushed": pushed}
    return {name: _promise(server, job_id) for name, job_id in {**named, "pushing": pushing}.items()}


def _unfinished(server: Server, receiver: Receiver) -> dict[str, Any]:
    """Jobs that wait, or are at work."""
    long = LONG.read_bytes()
    running = server.upload("long.opus", long, decode="exact", beamSize="5")
    queued, canceled = server.upload("queued.opus", SHORT.read_bytes()), server.upload("no.opus", SHORT.read_bytes())
    server.request("POST", f"/v1/jobs/{canceled}/cancel")
    downloading = _dispatched(server, receiver, "slow", source="slow")
    until(lambda: server.job(downloading)["stage"] == "downloading")
    windows = Path(server.log.parent, "data", "jobs", running, "windows", "0.jsonl")
    until(lambda: windows.exists() and windows.read_bytes().count(b"\n") >= 2)
    named = {"running": running, "queued": queued, "canceled": canceled, "downloading": downloading}
    return {name: _promise(server, job_id) for name, job_id in named.items()}


def _dispatched(server: Server, receiver: Receiver, name: str, *, source: str = "sound") -> str:
    """The id of a job as a controller sends it."""
    body = {
        "controllerJobId": f"controller-{name}",
        "inputs": [{"inputId": "a", "filename": f"{name}.opus", "downloadUrl": f"{receiver.url}/{source}"}],
        "options": {"model": "demo"},
        "outputsUploadUrl": f"{receiver.url}/{name.replace('slow', 'refused')}/outputs",
        "callbackUrl": f"{receiver.url}/{name.replace('slow', 'refused')}/complete",
    }
    kind = {"Content-Type": "application/json"}
    status, job = server.request("POST", "/v1/jobs", json.dumps(body).encode(), **kind)
    assert status == 201, job
    return str(job["workerJobId"])


def _promise(server: Server, job_id: str) -> dict[str, Any]:
    """What clients were told of a job."""
    job = server.job(job_id)
    kept = ("workerJobId", "status", "createdAt", "inputs", "outputs", "error", "warnings")
    return {name: job.get(name) for name in kept}


def _uploads(server: Server) -> dict[str, Any]:
    """Resumable uploads: half, whole, become a job, deleted. A real client's metadata."""
    sound = SHORT.read_bytes()
    half, whole, became, deleted = (_upload(server, sound, share) for share in (0.5, 1, 1, 0.5))
    body = json.dumps({"uploads": [became]}).encode()
    status, job = server.request("POST", "/v1/jobs", body, **{"Content-Type": "application/json"})
    assert status == 201, job
    server.ended(job["workerJobId"])
    _tus(server, "DELETE", f"/v1/uploads/{deleted}")
    return {
        "half": {"id": half, "offset": len(sound) // 2},
        "whole": {"id": whole, "offset": len(sound)},
        "became": {"id": became, "job": job["workerJobId"]},
        "deleted": {"id": deleted},
        "sha256": hashlib.sha256(sound).hexdigest(),
    }


def _upload(server: Server, sound: bytes, share: float) -> str:
    name = base64.b64encode(b"talk.opus").decode()
    path = _tus(server, "POST", "/v1/uploads", Upload_Length=str(len(sound)), Upload_Metadata=f"filename {name}")
    part = sound[: int(len(sound) * share)]
    _tus(server, "PATCH", path, part, Upload_Offset="0", Content_Type="application/offset+octet-stream")
    return path.rsplit("/", 1)[1]


def _tus(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> str:
    """One request of the protocol; the answer's Location."""
    request = urllib.request.Request(server.url + path, data=body, method=method)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in {"Authorization": f"Bearer {TOKEN}", "Tus-Resumable": "1.0.0", **named}.items():
        request.add_header(name, value)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.headers.get("Location") or "")


if __name__ == "__main__":
    main()
