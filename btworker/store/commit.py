"""Group commit: changes that wait for the disk together share a transaction, and so an fsync.

A change that comes while a transaction is being committed waits for the next, with all others that come meanwhile.
Each is in a savepoint of its own: one that fails undoes nothing of its neighbours. Runs in the one thread of table.py.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from btworker.store.file import APPLICATION_ID

T = TypeVar("T")
Change = tuple[Callable[[], T], "asyncio.Future[T]", Callable[[T], None]]
"""A change, who awaits it, and what is done with its outcome as soon as it is durable."""
Waiting = list[Change[Any]]

OF_ITS_VALUES = (ValueError, TypeError, OverflowError)
"""What a change raises one of whose values SQLite does not take: a text that is no UTF-8, a number above 64 bits."""


class GroupCommit:
    """Durable changes of one database. `change` is called in the event loop, all else happens in `executor`."""

    def __init__(self, db: sqlite3.Connection, executor: Executor) -> None:
        self._db = db
        self._db.isolation_level = None  # or a change that went past here would begin a transaction, and end none
        self._executor = executor
        self._lock = threading.Lock()
        self._waiting: Waiting = []

    async def change(
        self, function: Callable[..., T], *args: object, durable: Callable[[T], None] = lambda _: None
    ) -> T:
        """Call `function` in a transaction; durable when this returns. Raises what it raises, and sqlite3.Error for all
        that waited together when their transaction could not be committed. `durable`, which must not fail, is called
        with what it returned, in `executor`, before this returns.

        Who reads the table after the commit goes on after those who awaited it: what they keep in memory is never
        behind what others read.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append((partial(function, *args), outcome, durable))
            if len(self._waiting) == 1:
                together = self._waiting
                committed = self._executor.submit(self._commit)
                committed.add_done_callback(lambda done: loop.call_soon_threadsafe(_settle, together, done))
        return await outcome

    def _commit(self) -> list[object]:
        with self._lock:
            changes, self._waiting = self._waiting, []
        with self._transaction():
            outcomes = [self._outcome(change) for change, _, _ in changes]
        for (_, _, durable), outcome in zip(changes, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                durable(outcome)
        return outcomes

    def _outcome(self, change: Callable[[], object]) -> object:
        """What a change returns, or the error that undid it alone. Raises sqlite3.Error when it undid all of them."""
        self._db.execute("SAVEPOINT change")
        try:
            outcome = change()
        except (sqlite3.Error, *OF_ITS_VALUES) as error:
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


def _settle(waiting: Waiting, committed: "Future[list[object]]") -> None:
    """Give everybody who waited their outcome; whoever gave up gets none."""
    error = committed.exception()
    outcomes = committed.result() if error is None else [error] * len(waiting)
    for (_, future, _), outcome in zip(waiting, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
