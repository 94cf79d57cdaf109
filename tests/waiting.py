"""Tests wait for what they want to see, never for a time."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

WITHIN_S = 300.0
"""A busy machine is slow; a test that cannot succeed ends by its own limit (`timeout` in setup.cfg) before that."""
PAUSE_S = 0.01


def until(
    condition: Callable[[], Any], what: str = "the condition", *, within_s: float = WITHIN_S, pause_s: float = PAUSE_S
) -> Any:
    """Wait until a condition holds, and return its value. Raises AssertionError when it does not in time."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(pause_s)
    return value


async def eventually(condition: Callable[[], Any], what: str = "the condition", *, within_s: float = WITHIN_S) -> Any:
    """Wait as `until` does, in an event loop; the condition may be a coroutine function."""
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        await asyncio.sleep(PAUSE_S)
