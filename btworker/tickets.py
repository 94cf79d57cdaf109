"""Tickets: one path of this worker, for a while, without a token. A player in a browser can send no header.

A ticket is in an address, and addresses end up in logs and histories: so it opens one path alone, soon expires, ends
with its key, and is good for this run of the worker only, whose secret is in no file. Parent.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256

PARAMETER = "ticket"
_TICKET = re.compile(r"(\d{1,12})\.([a-z0-9_]{0,64})\.([0-9a-f]{64})")


class Tickets:
    """Makes and checks them. `clock` gives seconds, those since the epoch where clients are told when one expires."""

    def __init__(self, lifetime_s: float, clock: Callable[[], float] = time.time) -> None:
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def issue(self, path: str, holder: str) -> tuple[str, float]:
        """Make a ticket for a path, and tell when it expires; `holder` is the id of the key that asks."""
        expires_at = int(self._clock() + self._lifetime_s)
        return f"{expires_at}.{holder}.{self._mac(path, holder, expires_at)}", float(expires_at)

    def holder(self, ticket: str, path: str) -> str | None:
        """Return the id of the key that asked for a ticket; None where it is not good for the path, or not any more."""
        found = _TICKET.fullmatch(ticket)
        if found is None:
            return None
        expires_at, holder, mac = int(found[1]), found[2], found[3]
        is_ours = hmac.compare_digest(mac, self._mac(path, holder, expires_at))
        return holder if is_ours and expires_at > self._clock() else None

    def _mac(self, path: str, holder: str, expires_at: int) -> str:
        return hmac.new(self._secret, f"{expires_at}\n{holder}\n{path}".encode(), sha256).hexdigest()
