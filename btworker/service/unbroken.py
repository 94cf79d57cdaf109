"""Work that comes to its end though the request that began it is canceled, as at a stop. Parent."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_AT_WORK: set[asyncio.Task[Any]] = set()
"""The event loop keeps no task alive."""


async def unbroken(work: Coroutine[Any, Any, T], *, name: str) -> T:
    """Do what must not end halfway, such as a row that may be durable already and the files that belong to it."""
    task = asyncio.create_task(work, name=name)
    _AT_WORK.add(task)
    task.add_done_callback(_AT_WORK.discard)
    return await asyncio.shield(task)
