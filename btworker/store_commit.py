"""Group commit: changes that wait for the disk together share a transaction, and so an fsync.

A change that comes while a transaction is being committed waits for the next, with all others that come meanwhile.
Each is in a savepoint of its own: one that fails undoes nothing of its neighbours. Runs in the one thread of store.py.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from btworker.store_file import APPLICATION_ID

T = TypeVar("T")
Change = Callable[[], object]


class GroupCommit:
    """Durable changes of one database. `change` is called in the event loop, all else happens in `executor`."""

    def __init__(self, db: sqlite3.Connection, executor: Executor) -> None:
        self._db = db
        self._db.isolation_level = None  # or a change that went past here would begin a transaction, and end none
        self._executor = executor
        self._lock = threading.Lock()
        self._waiting: list[Change] = []
        self._next: asyncio.Future[list[object]]
        """The outcomes of what waits, in its order, once they are durable."""

    async def change(self, function: Callable[..., T], *args: object) -> T:
        """Call `function` in a transaction; durable when this returns. Raises what it raises, and sqlite3.Error for all
        that waited together when their transaction could not be committed."""
        with self._lock:
            if not self._waiting:
                self._next = asyncio.get_running_loop().run_in_executor(self._executor, self._commit)
            place = len(self._waiting)
            self._waiting.append(partial(function, *args))
            outcomes = self._next
        outcome = (await asyncio.shield(outcomes))[place]
        if isinstance(outcome, sqlite3.Error):
            raise outcome
        return outcome  # type: ignore[return-value]

    def _commit(self) -> list[object]:
        with self._lock:
            changes, self._waiting = self._waiting, []
        with self._transaction():
            return [self._outcome(change) for change in changes]

    def _outcome(self, change: Change) -> object:
        """What a change returns, or the error that undid it alone. Raises sqlite3.Error when it undid all of them."""
        self._db.execute("SAVEPOINT change")
        try:
            outcome = change()
        except sqlite3.Error as error:
            if not self._db.in_transaction:  # SQLite undoes a whole transaction where the disk fails
                raise
            self._db.execute("ROLLBACK TO change")
            outcome = error
        self._db.execute("RELEASE change")
        return outcome

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One durable transaction, or none.

        A commit whose fsync failed lies in the log, whole, and would come true after a crash: it is written over.
        """
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._db.rollback()
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            raise
