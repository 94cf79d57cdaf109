"""Room for decoded sound, looked for before a job is accepted: channels that are decoded by themselves need more."""

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
def overrides(tmp_path: Path) -> dict[str, object]:
    """15 GiB of room, and an upload of 10 MiB that may decode to 10."""
    free = shutil.disk_usage(tmp_path).free
    reserve_mb = max(free - 15 * GIB, 0) // 2**20
    return {"disk_reserve_mb": reserve_mb, "decoded_factor": 1000.0, "max_audio_hours": 1000.0, "max_file_mb": 100}


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
