"""A job's live events, over broken lines and restarts of the server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp

from btworker.client.errors import ClientError, explained, refused

QUIET_S = 60.0
"""Seconds without a byte after which a stream counts as broken; the server says something every 15 s."""
PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """`name` is status, progress, segment or done (docs/api.md)."""

    name: str
    data: dict[str, Any]


async def events(
    session: aiohttp.ClientSession, base_url: str, path: str, *, patience_s: float
) -> AsyncIterator[Event]:
    """Every event up to `done`, each segment once. Raises ClientError."""
    last_id, last_event_at = "", time.monotonic()
    while True:
        try:
            async for event_id, event in _stream(session, base_url, path, last_id):
                last_id, last_event_at = event_id or last_id, time.monotonic()
                yield event
                if event.name == "done":
                    return
        except ClientError as error:
            if not error.away or time.monotonic() - last_event_at > patience_s:
                raise
        await asyncio.sleep(PAUSE_S)


async def _stream(
    session: aiohttp.ClientSession, base_url: str, path: str, last_id: str
) -> AsyncIterator[tuple[str, Event]]:
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=QUIET_S)
    async with AsyncExitStack() as stack:
        stack.enter_context(explained(base_url))
        request = session.get(base_url + path, headers=headers, timeout=timeout, allow_redirects=False)
        response = await stack.enter_async_context(request)
        if response.status != 200:
            raise await refused(response)
        block: dict[str, str] = {}
        async for raw in response.content:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            name, _, value = line.partition(": ")
            if line:
                block[name] = value
            elif {"event", "data"} <= block.keys():
                yield block.get("id", ""), Event(block["event"], json.loads(block["data"]))
                block = {}
            else:
                block = {}
