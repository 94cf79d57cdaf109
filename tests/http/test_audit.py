"""The audit log: who did what to which job, and nothing that anybody said or sent."""

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from btworker.keys import Limits
from btworker.service.audit import AuditLog
from tests.http.keyring import key
from tests.http.resumable import PATCH, TUS, metadata
from tests.http.server import FORM, Running, field, file, finished, form, upload
from tests.waiting import eventually

FIELDS = {"at", "key", "keyId", "do", "outcome", "job", "upload", "voice", "requestId", "about", "name"}
PLAIN = re.compile(r"[A-Za-z0-9:._@-]*")


def lines(folder: Path) -> list[dict[str, Any]]:
    """All of them, the oldest first."""
    files = [*sorted(folder.glob("audit.*.jsonl")), folder / "audit.jsonl"]
    return [json.loads(line) for path in files if path.exists() for line in path.read_text().splitlines()]


async def noted(server: Running, count: int) -> list[tuple[Any, ...]]:
    """Key, deed, outcome and job of each line, once there are so many."""
    folder = server.settings.data_dir / "audit"
    found = await eventually(lambda: len(now := lines(folder)) >= count and now, f"{count} lines")
    assert len(found) == count, found
    return [(one["key"], one["do"], one["outcome"], one.get("job")) for one in found]


async def test_who_did_what_to_which_job(server: Running, client: aiohttp.ClientSession) -> None:
    """Submissions on every way, results that were fetched, cancels and deletions, also those that were refused; looks
    and lists are no deeds. The lines hold names of keys, ids and codes alone."""
    alice = await key(server, "alice")
    secret = "a-secret-text"
    async with aiohttp.ClientSession(server.url, headers=alice) as session:
        _, job = await upload(session, field("prompt", secret), file(b"speech", filename=f"{secret}.wav"))
        job_id = job["workerJobId"]
        await finished(session, job_id)
        for path in (f"/v1/jobs/{job_id}", "/v1/jobs", f"/v1/jobs/{job_id}/outputs"):
            async with session.get(path) as response:
                assert response.status == 200
        async with session.get(f"/v1/jobs/{job_id}/outputs/{job_id}?{secret}") as response:
            assert response.status == 404
        body = form(field("model", "whisper-1"), field("prompt", secret), file(b"speech"))
        async with session.post("/v1/audio/transcriptions", data=body, headers=FORM) as response:
            assert response.status == 404, "this pool's jobs have no transcript"
        async with session.post("/v1/jobs", data=b"no form") as response:
            assert response.status == 415
        async with session.delete(f"/v1/jobs/wk_{'0' * 16}?{secret}") as response:
            assert response.status == 404
        async with session.delete(f"/v1/jobs/{secret}") as response:
            assert response.status == 404
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    async with client.get("/v1/jobs") as response:
        (second,) = (await response.json())["jobs"]
    wanted = [
        ("alice", "createJob", 201, job_id),
        ("alice", "getOutput", "NOT_FOUND", job_id),
        ("alice", "transcribe", "NOT_FOUND", second["workerJobId"]),
        ("alice", "createJob", "UNSUPPORTED_MEDIA", None),
        ("alice", "deleteJob", "NOT_FOUND", "wk_" + "0" * 16),
        ("alice", "deleteJob", "NOT_FOUND", None),
        ("operator", "deleteJob", 204, job_id),
    ]
    found = await noted(server, len(wanted))
    assert found == wanted
    raw = (server.settings.data_dir / "audit" / "audit.jsonl").read_text()
    assert secret not in raw and alice["Authorization"].split()[1] not in raw
    for line in lines(server.settings.data_dir / "audit"):
        assert line.keys() <= FIELDS and all(PLAIN.fullmatch(str(value)) for value in line.values())


async def test_pieces_are_no_deeds(server: Running, client: aiohttp.ClientSession) -> None:
    """Of a resumable upload its beginning, and the piece that made a job of it."""
    headers = {**TUS, "Upload-Length": "6", "Upload-Metadata": metadata(filename="a.wav", submit="{}")}
    async with client.post("/v1/uploads", headers=headers) as response:
        place = response.headers["Location"]
    for offset, piece in ((0, b"spe"), (3, b"ech")):
        async with client.patch(place, data=piece, headers={**PATCH, "Upload-Offset": str(offset)}) as response:
            assert response.status == 204
    job_id = response.headers["Btworker-Job"]
    async with client.head(place, headers=TUS) as response:
        assert response.status == 200
    assert await noted(server, 2) == [
        ("operator", "createUpload", 201, None),
        ("operator", "appendToUpload", 204, job_id),
    ]


async def test_keys_are_looked_after_in_sight(server: Running) -> None:
    """What the command line does to them; neither token nor hash is in it."""
    keys = server.service.keys
    usual = {"scopes": ["submit"], "expiresAt": None, "weight": None, "limits": {}}
    added = await keys.answer({"do": "add", "name": "alice", **usual})
    await keys.answer({"do": "set", "name": "alice", "weight": 2.0, "limits": {}})
    await keys.answer({"do": "list"})
    await keys.answer({"do": "revoke", "name": "alice"})
    assert [one[1] for one in await noted(server, 3)] == ["addKey", "setKey", "revokeKey"]
    raw = (server.settings.data_dir / "audit" / "audit.jsonl").read_text()
    assert added["token"] not in raw and keys.all()[0].secret_sha256 not in raw
    assert keys.all()[0].limits == Limits()


@pytest.mark.parametrize("overrides", [{"audit_mb": 0}])
async def test_none_is_kept_where_none_is_wanted(server: Running, client: aiohttp.ClientSession) -> None:
    assert (await upload(client, file(b"speech")))[0] == 201
    assert not (server.settings.data_dir / "audit").exists()


def test_full_files_go_by_age(tmp_path: Path) -> None:
    """Each line once, in order, over files of a bounded size; the oldest files go."""
    moments = iter(range(1_000_000))
    log = AuditLog(tmp_path, most_mb=0.001, files=3, clock=lambda: float(next(moments)))
    for number in range(100):
        log.note("deleteJob", key="alice", key_id="0" * 12, outcome=204, about={"job": f"wk_{number:016x}"})
    log.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3 and all(path.stat().st_size < 1400 for path in files)
    found = [int(line["job"][3:], 16) for line in lines(tmp_path)]
    assert found == list(range(100 - len(found), 100))


def test_a_disk_that_takes_nothing_costs_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And no request, and no half of a line."""
    (tmp_path / "audit").touch()
    log = AuditLog(tmp_path / "audit", most_mb=1, files=3)
    log.note("deleteJob", key="alice", key_id="0" * 12, outcome=204, about={})
    log.close()
    assert "audit_lost" in capsys.readouterr().out
