"""ClientError: everything that can go wrong between a program and the worker, as a code and one sentence."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import ClientResponse

UNREACHABLE = "UNREACHABLE"
"""Nothing answers at the address; nothing was sent."""
CONNECTION_LOST = "CONNECTION_LOST"
"""The connection broke, or stood still, after it had been made."""
BAD_ANSWER = "BAD_ANSWER"
"""Something answered, but not as a btworker does."""
BAD_FILE = "BAD_FILE"
"""A local file cannot be read, or changed while it was being sent."""
NOT_SAVED = "NOT_SAVED"
"""What the worker has cannot be written here."""


RATE_LIMITED = "RATE_LIMITED"
"""The server's: it is there, and the key has made as many requests a minute as it may."""
LEAST_PAUSE_S = 0.5
AWAY_CODES = frozenset({UNREACHABLE, CONNECTION_LOST})
AWAY_STATUSES = frozenset({429, 502, 503, 504})
"""What a server, or the proxy before it, answers while the server restarts."""


class ClientError(Exception):
    """A request failed: `code` is the server's (docs/api.md) or one of this module's, `status` is HTTP's, if any, and
    `retry_after_s` the seconds after which the server wants to be asked again, if any."""

    def __init__(self, code: str, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def pause_s(self) -> float:
        """How long to wait where it is RATE_LIMITED."""
        return max(self.retry_after_s or 0.0, LEAST_PAUSE_S)

    @property
    def away(self) -> bool:
        """The server may be back in a moment."""
        return self.code in AWAY_CODES or self.status in AWAY_STATUSES


def refusal(status: int, body: bytes) -> ClientError:
    """The error that an answer with this status speaks of."""
    try:
        error = json.loads(body)["error"]
        return ClientError(str(error["code"]), str(error["message"]), status)
    except (ValueError, KeyError, TypeError):
        text = " ".join(body[:200].decode("utf-8", "replace").split())
        quoted = f": {text}" if text and not text.startswith("<") else ""
        return ClientError(BAD_ANSWER, f"the server answered {status}{quoted}; is this a btworker?", status)


async def refused(response: ClientResponse) -> ClientError:
    """The error in an answer."""
    try:
        error = refusal(response.status, await response.content.read(65_536))
    except (aiohttp.ClientError, OSError):
        # aiohttp gives nothing of a body once the connection broke, not even what has arrived.
        message = f"the server refused with status {response.status}, but the connection broke before it said why"
        return ClientError(CONNECTION_LOST, message, response.status)
    seconds = response.headers.get("Retry-After", "")
    error.retry_after_s = float(seconds) if seconds.isdecimal() else None
    return error


@contextmanager
def explained(base_url: str) -> Iterator[None]:
    """Turn aiohttp's errors into ClientErrors with a sentence that says what to look at."""
    try:
        yield
    except aiohttp.InvalidURL:
        raise ClientError(UNREACHABLE, f"{base_url!r} is no address; it looks like http://host:8477") from None
    except aiohttp.ClientConnectorCertificateError as error:
        why = error.certificate_error
        raise ClientError(UNREACHABLE, f"the certificate of {base_url} is not trusted: {why}") from None
    except aiohttp.ClientConnectorSSLError as error:
        plain = base_url.replace("https://", "http://", 1)
        message = f"{base_url} does not speak https ({_reason(error)}); without a TLS proxy, a worker is {plain}"
        raise ClientError(UNREACHABLE, message) from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ClientError(UNREACHABLE, f"no worker answers at {base_url} ({_reason(error)}); is it running?") from None
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, asyncio.TimeoutError, OSError) as error:
        raise ClientError(CONNECTION_LOST, f"the connection to {base_url} broke ({_reason(error)})") from None
    except aiohttp.ClientError as error:
        raise ClientError(BAD_ANSWER, f"{base_url} does not answer like a btworker ({_reason(error)})") from None


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "time-out"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).strip() or type(error).__name__
