"""Room for decoded sound and for what players get, looked for before a job is accepted: channels that are decoded by
themselves need more, and so do jobs whose inputs stay."""

import io
import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from tests.http.resumable import metadata
from tests.http.server import FORM, field, file, form

GIB = 2**30
SIZE = 10 * 2**20


@pytest.fixture
def keep_inputs() -> bool:
    """As the setting is unless a test says otherwise."""
    return False


@pytest.fixture
def overrides(tmp_path: Path, keep_inputs: bool) -> dict[str, object]:
    """15 GiB of room, and an upload of 10 MiB that may decode to 10."""
    free = shutil.disk_usage(tmp_path).free
    reserve_mb = max(free - 15 * GIB, 0) // 2**20
    return {
        "disk_reserve_mb": reserve_mb,
        "decoded_factor": 1000.0,
        "max_audio_hours": 1000.0,
        "max_file_mb": 100,
        "keep_inputs": keep_inputs,
    }


@pytest.mark.skipif(shutil.disk_usage(Path.cwd()).free < 16 * GIB, reason="needs 16 GiB of free disk")
async def test_two_channels_need_twice_the_room(client: aiohttp.ClientSession) -> None:
    """Wherever the options stand, and on both ways of uploading; a mix of them is accepted."""
    body, wanted = file(bytes(SIZE)), field("channels", "separate")
    for parts in (form(wanted, body), form(body, wanted)):
        async with client.post("/v1/jobs", data=io.BytesIO(parts), headers=FORM) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (507, "DISK_FULL")
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(SIZE)}
    for submit, status in (({"multichannel": True}, 507), ({"channels": "mix"}, 201)):
        headers["Upload-Metadata"] = metadata(filename="call.wav", submit=json.dumps(submit))
        async with client.post("/v1/uploads", headers=headers) as response:
            assert response.status == status
    async with client.post("/v1/jobs", data=io.BytesIO(form(body)), headers=FORM) as response:
        assert response.status == 201


@pytest.mark.skipif(shutil.disk_usage(Path.cwd()).free < 16 * GIB, reason="needs 16 GiB of free disk")
@pytest.mark.parametrize("keep_inputs", [False, True])
async def test_what_players_get_needs_room_beside_inputs_that_stay(
    client: aiohttp.ClientSession,
    keep_inputs: bool,
) -> None:
    """1.3 GiB for each of these jobs that wait, with WORKER_KEEP_INPUTS; else it is found where their inputs were."""
    found = []
    for _ in range(8):
        parts = form(field("prompt", "hold"), file(bytes(SIZE)))
        async with client.post("/v1/jobs", data=io.BytesIO(parts), headers=FORM) as response:
            found.append((response.status, (await response.json()).get("error")))
    assert found[0] == (201, None)
    assert {status for status, _ in found} == ({201, 507} if keep_inputs else {201})
