"""Connections that have shown no valid token yet: how many there may be. Parent.

Anybody who reaches the port may open connections and never read an answer. connection.py registers each one here, and
middlewares.py takes it out with its first valid token; one too many costs the oldest its place. The kernel ends those
on which nothing moves (app.bind).
"""

import time
from typing import Protocol

from aiohttp import web

from btworker.logs import get_logger

log = get_logger()
WARNING_INTERVAL_S = 60.0


class Client(Protocol):
    """A client's connection."""

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""

    def has_unsent(self) -> bool:
        """Whether bytes wait for the client to read."""


class Strangers:
    """The connections without a token, oldest first."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._clients: dict[object, Client] = {}
        self._warned_at = float("-inf")

    def add(self, client: Client) -> None:
        """Take in a new connection; where there are too many, abort the oldest."""
        self._clients[client] = client
        if len(self._clients) > self._most:
            oldest = next(iter(self._clients.values()))
            self.remove(oldest)
            oldest.abort()
            self._warn()

    def remove(self, client: object) -> None:
        """Forget a connection: it has a token now, or has ended."""
        self._clients.pop(client, None)

    def close(self) -> None:
        """Abort those that do not read: the server stops, and waits for nobody without a token."""
        for client in [one for one in self._clients.values() if one.has_unsent()]:
            client.abort()

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARNING_INTERVAL_S:
            self._warned_at = now
            message = (
                f"more than {self._most} connections have no valid token: the oldest are closed "
                "(WORKER_STRANGER_CONNECTIONS)"
            )
            log.warning("too_many_strangers", message=message)


STRANGERS = web.AppKey("strangers", Strangers)
