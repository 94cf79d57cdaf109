"""The headers of tus, and the steps of an upload by it."""

import base64
from typing import Any

import aiohttp

from tests.http.server import Running

TUS = {"Tus-Resumable": "1.0.0"}
PATCH = {**TUS, "Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> str:
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


async def created(client: aiohttp.ClientSession, length: int, **headers: str) -> str:
    """The place of a new upload of so many bytes."""
    async with client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length), **headers}) as response:
        assert response.status == 201, await response.text()
        assert response.headers["Tus-Resumable"] == "1.0.0"
        return response.headers["Location"]


async def patched(client: aiohttp.ClientSession, place: str, offset: int, data: bytes, **headers: str) -> Any:
    async with client.patch(place, data=data, headers={**PATCH, "Upload-Offset": str(offset), **headers}) as response:
        return response


async def looked(client: aiohttp.ClientSession, place: str) -> Any:
    async with client.head(place, headers=TUS) as response:
        return response


def stored(server: Running, place: str) -> bytes:
    """What is on the disk of an upload."""
    return (server.settings.data_dir / "uploads" / place.rsplit("/", 1)[1] / "data").read_bytes()
