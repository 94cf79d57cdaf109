"""The one HTTP client for URLs that others name, and what went wrong with a request, as a sentence and a verdict."""

import asyncio
import random

import aiohttp
import yarl
from aiohttp import http_exceptions

from btworker.delivery.guard import Guard, GuardedResolver

ANSWER_BYTES = 65_536
"""Of an answer are read at most; the rest is nobody's business."""
CONNECT_S = 30.0
PASSING = frozenset({408, 425, 429})
"""Statuses below 500 after which the same request may succeed later."""
TRANSPORT_ERRORS = (aiohttp.ClientError, asyncio.TimeoutError, ConnectionError)


def open_session(guard: Guard, *, user_agent: str) -> aiohttp.ClientSession:
    """A session that connects to nothing inside, keeps no cookies, and knows no proxies."""
    connector = aiohttp.TCPConnector(resolver=GuardedResolver(guard), use_dns_cache=False, limit=0)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
    )


def timeout(idle_s: float) -> aiohttp.ClientTimeout:
    """No limit on the whole: a large file over a slow line is fine as long as it moves."""
    return aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=idle_s)


def why(url: yarl.URL, error: BaseException) -> str:
    """A sentence about a request that got no answer. Names the host alone: paths and queries may be secrets."""
    if isinstance(error, asyncio.TimeoutError):
        return f"{url.host} did not answer in time"
    if isinstance(error, http_exceptions.HttpProcessingError | aiohttp.ClientResponseError):
        return f"{url.host} sent something that is no HTTP answer"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return f"{url.host} could not be reached ({reason})"


def backoff_s(failures: int, *, first_s: float, longest_s: float) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, with jitter, so that a controller that comes
    back is not met by everybody at once."""
    return float(min(longest_s, first_s * 2.0 ** min(failures - 1, 20)) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
