"""The keys of a worker: in the job table, and in memory, since each request asks. Parent, and the command line alone.

    btworker keys add NAME --> control.py --> Keys.answer      a worker runs: the key is good at once
                           --> Keys.answer                     none does: the same, on the table itself

A token is found by the id in it and compared by its hash, in constant time: one SHA-256 a request.
"""

import asyncio
import hmac
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import (
    LEAST_WEIGHT,
    MOST_WEIGHT,
    NAME,
    NAMES_OF_KEYS,
    OPERATOR,
    OPERATORS_NAME,
    THE_OPERATOR,
    Caller,
    Key,
    Limits,
    Scope,
    implied,
    key_id_of,
    new_key,
    token_sha256,
)
from btworker.logs import get_logger
from btworker.service.audit import AuditLog
from btworker.store import Store

log = get_logger()
NO_TOKEN = "send a valid token: Authorization: Bearer <token>"  # noqa: S105 - no token
NONE = Limits()
DELETED = "a key that is gone"
"""Name of a key that a restored table does not have."""


class Keys:
    """All keys. `tokens` are the operator's own; `clock` gives seconds since the epoch; `audit` has what is
    done to keys."""

    def __init__(
        self,
        store: Store,
        tokens: Sequence[str],
        clock: Callable[[], float] = time.time,
        audit: AuditLog | None = None,
    ) -> None:
        self._store = store
        self._operators = tuple(token.encode() for token in tokens)
        self._clock = clock
        self._audit = audit
        self._known: dict[str, Key] = {}
        self._callers: dict[str, Caller] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read them from the table."""
        for key in await self._store.keys():
            self._remember(key)

    def all(self) -> list[Key]:
        """Every key, those that are revoked as well, oldest first."""
        return sorted(self._known.values(), key=lambda key: key.created_at)

    def name_of(self, owner: str) -> str:
        """Name of an owner, for people."""
        if owner == OPERATOR:
            return OPERATORS_NAME
        return self._known[owner].name if owner in self._known else DELETED

    def label_of(self, owner: str) -> str:
        """Name of an owner that no other has, for metrics: that of a revoked key may have been given again."""
        key = self._known.get(owner)
        return self.name_of(owner) if key is None or key.revoked_at is None else f"{key.name} ({key.id})"

    def weight_of(self, owner: str) -> float:
        """How much audio an owner gets where others wait, beside their 1."""
        return self._known[owner].weight if owner in self._known else 1.0

    def identify(self, token: bytes) -> Caller | None:
        """Who sends this token; None where it is not good, or not any more.

        Every token of the operator is compared every time, so that the time that it takes reveals nothing.
        """
        matches = [hmac.compare_digest(token, one) for one in self._operators]
        if any(matches):
            return THE_OPERATOR
        key = self._find(token)
        return self._callers[key.id] if key is not None and key.state(self._clock()) == "active" else None

    @property
    def are_several(self) -> bool:
        """Whether somebody beside the operator may submit: each is to leave room for others."""
        now = self._clock()
        return any(Scope.SUBMIT in key.scopes and key.state(now) == "active" for key in self._known.values())

    def is_good(self, key_id: str) -> bool:
        """Whether the key with this id, or the operator's, opens anything now."""
        key = self._known.get(key_id)
        return key_id == OPERATOR or (key is not None and key.state(self._clock()) == "active")

    def why_refused(self, token: bytes) -> str:
        """What is wrong with a token that `identify` does not take; only its holder learns that it was good once."""
        key = self._find(token)
        if key is None:
            return NO_TOKEN
        return f"the key {key.name!r} is {key.state(self._clock())}: ask whoever runs this worker for a new one"

    def limits_of(self, owner: str) -> Limits:
        """What an owner may use at most."""
        return self._known[owner].limits if owner in self._known else NONE

    async def add(
        self,
        name: str,
        scopes: Iterable[Scope],
        *,
        expires_at: float | None = None,
        weight: float = 1.0,
        limits: Limits = NONE,
    ) -> tuple[Key, str]:
        """Make a key, durably; its token is given once. Raises BAD_REQUEST, CONFLICT."""
        chosen, now = frozenset(scopes), self._clock()
        if not NAME.fullmatch(name) or name == OPERATORS_NAME:
            raise _bad(f"a key's name must be {NAMES_OF_KEYS}, and not {OPERATORS_NAME!r}")
        if not chosen:
            raise _bad("a key needs at least one scope")
        _check(weight, limits)
        if expires_at is not None and expires_at <= now:
            raise _bad("the key would have expired already")
        async with self._lock:
            if any(key.name == name and key.revoked_at is None for key in self._known.values()):
                message = f"there is a key of the name {name!r}; revoke it first, or choose another name"
                raise BtworkerError(ErrorCode.CONFLICT, message)
            key, token = new_key(name, chosen, now=now, expires_at=expires_at)
            key = replace(key, weight=weight, limits=limits)
            await self._keep(key)
        log.info("key_added", keyId=key.id, name=name, scopes=sorted(scope.value for scope in chosen))
        return key, token

    async def change(self, name: str, *, weight: float | None, limits: dict[str, Any]) -> Key:
        """Give a key, by its name or id, another weight or other limits. Raises NOT_FOUND, BAD_REQUEST."""
        async with self._lock:
            key = self._named(name)
            key = replace(key, weight=weight or key.weight, limits=replace(key.limits, **limits))
            _check(key.weight, key.limits)
            await self._keep(key)
        log.info("key_changed", keyId=key.id, name=key.name)
        return key

    async def revoke(self, name: str) -> Key:
        """End a key, by its name or id, from the next request on; its jobs stay. Raises NOT_FOUND."""
        async with self._lock:
            key = replace(self._named(name), revoked_at=self._clock())
            await self._keep(key)
        log.info("key_revoked", keyId=key.id, name=key.name)
        return key

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a command on this machine asks for: {"do": "add" | "set" | "list" | "revoke", …} -> {"keys": …} or
        {"error": sentence}."""
        try:
            token = ""
            if request["do"] == "add":
                scopes = [Scope(scope) for scope in request["scopes"]]
                key, token = await self.add(
                    request["name"],
                    scopes,
                    expires_at=request["expiresAt"],
                    weight=request["weight"] or 1.0,
                    limits=Limits(**request["limits"]),
                )
                found = [key]
            elif request["do"] == "set":
                found = [await self.change(request["name"], weight=request["weight"], limits=request["limits"])]
            elif request["do"] == "revoke":
                found = [await self.revoke(request["name"])]
            else:
                found = self.all()
        except BtworkerError as error:
            return {"error": error.message}
        except (KeyError, ValueError, TypeError) as error:
            return {"error": f"this worker does not understand the command ({error}): is it of another release?"}
        except sqlite3.OperationalError as error:
            return {"error": f"the job table took no change ({error})"}
        if self._audit is not None and request["do"] != "list":
            about = {"about": found[0].id, "name": found[0].name}
            self._audit.note(f"{request['do']}Key", key=OPERATORS_NAME, key_id=OPERATOR, outcome="ok", about=about)
        return {"keys": [self._shown(key) for key in found], "token": token}

    def _shown(self, key: Key) -> dict[str, Any]:
        return {
            "id": key.id,
            "name": key.name,
            "scopes": sorted(scope.value for scope in key.scopes),
            "weight": key.weight,
            "limits": asdict(key.limits),
            "createdAt": key.created_at,
            "expiresAt": key.expires_at,
            "state": key.state(self._clock()),
        }

    def _named(self, name: str) -> Key:
        found = [key for key in self.all() if name in (key.name, key.id) and key.revoked_at is None]
        if not found:
            raise BtworkerError(ErrorCode.NOT_FOUND, f"there is no key {name[:64]!r} that is not revoked")
        return found[0]

    def _find(self, token: bytes) -> Key | None:
        """The key whose token this is, whatever became of it."""
        key_id = key_id_of(token)
        key = None if key_id is None else self._known.get(key_id)
        is_it = key is not None and hmac.compare_digest(token_sha256(token), key.secret_sha256)
        return key if is_it else None

    async def _keep(self, key: Key) -> None:
        await self._store.keep_key(key)
        self._remember(key)

    def _remember(self, key: Key) -> None:
        self._known[key.id] = key
        self._callers[key.id] = Caller(key.id, key.name, implied(key.scopes))


def _check(weight: float, limits: Limits) -> None:
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise _bad(f"the weight of a key must be a number from {LEAST_WEIGHT} to {MOST_WEIGHT}")
    if any(value is not None and not value >= 0 for value in asdict(limits).values()):
        raise _bad("a limit of a key must be 0 or more, or none")
    if limits.requests == 0:
        raise _bad("a key must be allowed at least one request a minute; revoke it to end it")


def _bad(message: str) -> BtworkerError:
    return BtworkerError(ErrorCode.BAD_REQUEST, message)
