"""Server-sent events as a client reads them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from btworker.transcript import Segment


def segments(first: int, count: int) -> list[dict[str, Any]]:
    return [Segment(n, 0, float(n), n + 1.0, f" said {n}").to_dict() for n in range(first, first + count)]


async def heard(
    client: aiohttp.ClientSession, job_id: str, **headers: str
) -> AsyncIterator[tuple[str, str | None, dict[str, Any]]]:
    """(event, id, data) until the stream ends."""
    async with client.get(f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        block: dict[str, str] = {}
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif "event" in block:
                yield block["event"], block.get("id"), json.loads(block["data"])
                block = {}
            else:
                block = {}
