"""Keys: what a token is, what is kept of it, what scopes include, and a table of an earlier schema."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import OPERATOR, THE_OPERATOR, TOKEN, Caller, Limits, Scope, implied, key_id_of
from btworker.service.keys import DELETED, NO_TOKEN, Keys
from btworker.service.limits import Bucket
from btworker.store import Store
from btworker.store.file import APPLICATION_ID, MIGRATIONS
from btworker.store.rows import job_to_json
from tests.a_job import a_job

BOTH = (Scope.SUBMIT, Scope.READ_OWN)


class Clock:
    """Seconds since the epoch that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open store on an empty folder."""
    opened = Store.open(tmp_path / "jobs.sqlite3")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(store: Store, clock: Clock) -> Keys:
    return Keys(store, ("operators-token", "operators-second"), clock)


async def test_only_the_whole_token_is_good(keys: Keys) -> None:
    """The operator's, every one; a key's, and nothing that differs from it by one character."""
    key, token = await keys.add("alice", BOTH)
    assert keys.identify(b"operators-token") == keys.identify(b"operators-second") == THE_OPERATOR
    assert keys.identify(token.encode()) == Caller(key.id, "alice", frozenset(BOTH))
    for place in range(len(token)):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert keys.identify(other.encode()) is None
    for wrong in (token[:-1], token + "A", token.upper(), f" {token}", "", "operators-toke", f"btwk_{key.id}_"):
        assert keys.identify(wrong.encode()) is None and keys.why_refused(wrong.encode()) == NO_TOKEN


@given(token=st.binary(max_size=80))
def test_no_bytes_are_an_error(token: bytes) -> None:
    """Whatever a header holds: an id, or none."""
    assert (key_id_of(token) is None) is (TOKEN.fullmatch(token) is None)


async def test_of_a_token_its_hash_is_kept(keys: Keys, tmp_path: Path) -> None:
    """Neither the table nor its log has the secret, and what `list` shows has not even the hash."""
    key, token = await keys.add("alice", BOTH)
    secret = token.split("_", 2)[2].encode()
    assert len(secret) == 43 and secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    shown = json.dumps(await keys.answer({"do": "list"}))
    assert key.id in shown and key.secret_sha256 not in shown and token not in shown


async def test_expiry_and_revocation_end_a_key(keys: Keys, clock: Clock) -> None:
    """From that moment on; its holder learns why, and nobody else does."""
    _, short = await keys.add("short", BOTH, expires_at=1060.0)
    _, other = await keys.add("other", BOTH)
    clock.now = 1059.9
    assert keys.identify(short.encode()) is not None
    clock.now = 1060.0
    assert keys.identify(short.encode()) is None and "'short' is expired" in keys.why_refused(short.encode())
    await keys.revoke("other")
    assert keys.identify(other.encode()) is None and "'other' is revoked" in keys.why_refused(other.encode())
    assert [key.state(clock.now) for key in keys.all()] == ["expired", "revoked"]


async def test_keys_survive_a_start(keys: Keys, store: Store, clock: Clock) -> None:
    """As they were, those that are revoked too; the name of one that is gone is free again."""
    _, token = await keys.add("alice", BOTH)
    first = await keys.revoke("alice")
    second, again = await keys.add("alice", (Scope.READ_ALL,), expires_at=2000.0)
    started = Keys(store, (), clock)
    await started.load()
    assert started.all() == [first, second]
    assert started.identify(token.encode()) is None
    assert started.identify(again.encode()) == Caller(second.id, "alice", frozenset({Scope.READ_ALL, Scope.READ_OWN}))
    assert [started.name_of(owner) for owner in (OPERATOR, second.id, "0" * 12)] == ["operator", "alice", DELETED]


@pytest.mark.parametrize("name", ["", "operator", "two words", "line\nbreak", "-x", "x" * 65, "naïve", "a/b"])
async def test_names_of_keys_are_plain(keys: Keys, name: str) -> None:
    """They stand in logs, metrics and accounts."""
    with pytest.raises(BtworkerError) as caught:
        await keys.add(name, BOTH)
    assert caught.value.code is ErrorCode.BAD_REQUEST and keys.all() == []


async def test_what_cannot_be_is_said(keys: Keys) -> None:
    """A name twice, no scope, an expiry that has been, a key that is not there, words of another release."""
    await keys.add("alice", BOTH)
    usual = {"do": "add", "name": "bob", "scopes": ["submit"], "expiresAt": None, "weight": None, "limits": {}}
    for request, words in (
        ({**usual, "name": "alice"}, "there is a key of the name 'alice'"),
        ({**usual, "scopes": []}, "at least one scope"),
        ({**usual, "expiresAt": 1.0}, "expired already"),
        ({**usual, "scopes": ["fly"]}, "does not understand"),
        ({**usual, "weight": 1000.0}, "weight"),
        ({**usual, "limits": {"waiting": -1}}, "0 or more"),
        ({**usual, "limits": {"requests": 0}}, "at least one request"),
        ({**usual, "limits": {"wishes": 3}}, "does not understand"),
        ({"do": "revoke", "name": "carol"}, "no key 'carol'"),
        ({}, "does not understand"),
    ):
        assert words in (await keys.answer(request))["error"]
    assert len(keys.all()) == 1


def test_what_scopes_include() -> None:
    """admin is all of them, read-all is read-own as well, and the others are themselves."""
    assert implied({Scope.ADMIN}) == frozenset(Scope)
    assert implied({Scope.READ_ALL}) == {Scope.READ_ALL, Scope.READ_OWN}
    for scope in (Scope.SUBMIT, Scope.READ_OWN, Scope.METRICS):
        assert implied({scope}) == {scope}


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
async def test_old_rows_are_the_operators(tmp_path: Path, schema: int) -> None:
    """Jobs of a table without keys stay with WORKER_TOKEN, under their idempotency keys."""
    path, job = tmp_path / "jobs.sqlite3", a_job(idempotency_key="k")
    body = json.loads(job_to_json(job))
    del body["owner"]
    with closing(sqlite3.connect(path)) as old:
        old.executescript("".join(MIGRATIONS[:schema]))
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {schema};")
        sql = "INSERT INTO jobs (id, status, attempt, created_at, idempotency_key, body) VALUES (?, ?, ?, ?, ?, ?)"
        old.execute(sql, (job.id, job.status.value, job.attempt, job.created_at, "k", json.dumps(body)))
        old.commit()
    store = Store.open(path)
    try:
        assert await store.by_key("k") == job and job.owner == OPERATOR
        assert await store.by_key("k", "0123456789ab") is None
        assert (await store.page(status=None, limit=9, before=None, owner=OPERATOR))[0] == [job]
        assert await store.keys() == []
    finally:
        await store.close()


async def test_each_owner_has_idempotency_keys_and_pages_of_its_own(store: Store) -> None:
    """The same word from two owners is two jobs."""
    one, _ = await store.insert(a_job(idempotency_key="k", owner="aaaaaaaaaaaa"))
    two, created = await store.insert(a_job(idempotency_key="k", owner="bbbbbbbbbbbb"))
    three, _ = await store.insert(a_job(idempotency_key="k"))
    assert created and len({one.id, two.id, three.id}) == 3
    assert await store.insert(a_job(idempotency_key="k", owner="bbbbbbbbbbbb")) == (two, False)
    assert (await store.page(status=None, limit=9, before=None, owner="bbbbbbbbbbbb"))[0] == [two]
    assert (await store.page(status=None, limit=9, before=None))[0] == [three, two, one]


async def test_shares_and_limits_are_changed_one_by_one(keys: Keys) -> None:
    """What is not named stays; None lifts a limit; a key that is gone has none."""
    key, _ = await keys.add("alice", BOTH, weight=2.0, limits=Limits(waiting=5, requests=60))
    request = {"do": "set", "name": "alice", "weight": None, "limits": {"audio_hours": 1.5, "requests": None}}
    (shown,) = (await keys.answer(request))["keys"]
    wanted = Limits(waiting=5, audio_hours=1.5)
    assert (keys.weight_of(key.id), keys.limits_of(key.id)) == (2.0, wanted) and shown["limits"] == asdict(wanted)
    (shown,) = (await keys.answer({**request, "weight": 0.5, "limits": {}}))["keys"]
    assert (shown["weight"], keys.limits_of(key.id)) == (0.5, wanted)
    assert (keys.weight_of(OPERATOR), keys.limits_of(OPERATOR)) == (1.0, Limits())


@given(
    per_minute=st.integers(1, 1000),
    pauses=st.lists(st.floats(0.0, 90.0), min_size=1, max_size=80),
)
def test_a_bucket_lets_through_what_it_says(per_minute: int, pauses: list[float]) -> None:
    """In any stretch of time at most its size and what was refilled meanwhile; and after the wait that it names, one
    more."""
    bucket, now, taken = Bucket(per_minute, 0.0), 0.0, []
    for pause in pauses:
        now += pause
        wait_s = bucket.take(now)
        if wait_s:
            now += wait_s + 1e-6
            assert not bucket.take(now)
        taken.append(now)
    for first in range(len(taken)):
        passed = taken[-1] - taken[first]
        assert len(taken) - first <= per_minute + passed * per_minute / 60 + 1
