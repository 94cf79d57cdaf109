"""Keys: who may call beside the operator, and for what. Pure records; service/keys.py keeps them. Parent, command line.

    btwk_<id>_<secret>      a token: the id finds the key's row, and the secret shows that the caller is the one

The secret is 256 random bits, of which only the SHA-256 is kept. Slow hashes (argon2, scrypt) make it dear to try the
passwords that people choose; among 2^256 nobody tries, and what such a hash takes would be taken from every request.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

OPERATOR = ""
"""Owner of what came with WORKER_TOKEN, and of everything from before there were keys."""
OPERATORS_NAME = "operator"
"""Name that stands for WORKER_TOKEN; no key has it."""
TOKEN = re.compile(rb"btwk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NAMES_OF_KEYS = "1 to 64 letters, digits and . _ @ -, the first a letter or a digit"


LEAST_WEIGHT, MOST_WEIGHT = 0.01, 100.0


class Scope(str, Enum):
    """What a key is good for."""

    SUBMIT = "submit"
    """Send files, and cancel or delete what came of them."""
    READ_OWN = "read-own"
    """See the jobs of this key, and fetch their results."""
    READ_ALL = "read-all"
    """See the jobs of every key, and fetch their results."""
    ADMIN = "admin"
    """Everything, with the jobs of every key."""
    METRICS = "metrics"
    """Read /metrics where WORKER_METRICS_PUBLIC=false."""


DEFAULT_SCOPES = frozenset({Scope.SUBMIT, Scope.READ_OWN})


def implied(scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes with those that they include."""
    found = frozenset(scopes)
    if Scope.ADMIN in found:
        return frozenset(Scope)
    return found | {Scope.READ_OWN} if Scope.READ_ALL in found else found


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use at most; None: no limit of its own."""

    waiting: int | None = None
    """Jobs that wait at once."""
    stored_mb: int | None = None
    """MB of results, and of inputs that are still here."""
    audio_hours: float | None = None
    """Hours of audio a day (UTC)."""
    requests: int | None = None
    """Requests a minute."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored. Times are seconds since the epoch."""

    id: str
    """Owner of what came with it."""
    name: str
    secret_sha256: str
    """SHA-256 of the whole token, in hex."""
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None = None
    """None: never."""
    revoked_at: float | None = None
    weight: float = 1.0
    """How much audio it gets where others wait: 2 is twice as much as 1."""
    limits: Limits = Limits()

    def state(self, now: float) -> str:
        """The key is active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from, once its token was found good."""

    owner: str
    """Id of the key, or OPERATOR."""
    name: str
    scopes: frozenset[Scope]
    """With those that they include."""

    @property
    def is_operator(self) -> bool:
        """It came with WORKER_TOKEN."""
        return self.owner == OPERATOR

    @property
    def view(self) -> str | None:
        """The owner whose things it may see; None: everybody's."""
        return None if Scope.READ_ALL in self.scopes else self.owner

    def may_see(self, owner: str) -> bool:
        """Whether things of this owner are there for it."""
        return self.view in (None, owner)

    def may_change(self, owner: str) -> bool:
        """Whether it may add to, cancel or delete things of this owner."""
        return owner == self.owner or Scope.ADMIN in self.scopes


THE_OPERATOR = Caller(OPERATOR, OPERATORS_NAME, frozenset(Scope))


def new_key(name: str, scopes: frozenset[Scope], *, now: float, expires_at: float | None = None) -> tuple[Key, str]:
    """A key, and its token, which is nowhere else from here on."""
    key_id = secrets.token_hex(6)
    token = f"btwk_{key_id}_{secrets.token_urlsafe(32)}"
    return Key(key_id, name, token_sha256(token.encode()), scopes, now, expires_at), token


def token_sha256(token: bytes) -> str:
    """What is kept of a token, in hex."""
    return hashlib.sha256(token).hexdigest()


def key_id_of(token: bytes) -> str | None:
    """The id in a token; None for what is no key's token."""
    found = TOKEN.fullmatch(token)
    return None if found is None else found[1].decode()
