"""Group commit: what waits together is durable by one fsync, and nobody pays for a neighbour's mistake."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from btworker.store import Store
from btworker.store.commit import GroupCommit
from btworker.store.file import connect
from tests.a_job import a_job


@dataclass
class Table:
    """A database of its own, its group commit, and the statements that it has seen."""

    db: sqlite3.Connection
    executor: ThreadPoolExecutor
    commits: GroupCommit
    path: Path
    statements: list[str] = field(default_factory=list)

    def insert(self, name: str) -> str:
        """A change: one row."""
        self.db.execute("INSERT INTO jobs (id, status, attempt, created_at, body) VALUES (?, '', 0, 0, '')", (name,))
        return name

    def durable(self) -> set[str]:
        """The rows that another reader of the same files would find after a crash: those in the file and its log."""
        copy = self.path.with_name("copy.sqlite3")
        for suffix in ("", "-wal"):
            copy.with_name(copy.name + suffix).write_bytes(self.path.with_name(self.path.name + suffix).read_bytes())
        with closing(sqlite3.connect(copy)) as other:
            return {row[0] for row in other.execute("SELECT id FROM jobs")}

    def busy(self) -> threading.Event:
        """Keep the table's thread until the event is set: what comes meanwhile waits together."""
        free = threading.Event()
        self.executor.submit(free.wait, 30)
        return free


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    """An empty one."""
    executor = ThreadPoolExecutor(1)
    db, _ = connect(tmp_path / "jobs.sqlite3")
    made = Table(db, executor, GroupCommit(db, executor), tmp_path / "jobs.sqlite3")
    db.set_trace_callback(made.statements.append)
    yield made
    executor.shutdown()
    db.close()


async def together(table: Table, names: list[str]) -> list[str | BaseException]:
    """Insert all of them while the table's thread is busy, and see what each call gives."""
    free = table.busy()
    calls = [asyncio.create_task(table.commits.change(table.insert, name)) for name in names]
    await asyncio.sleep(0)  # each has begun to wait
    free.set()
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_what_waits_together_is_committed_once(table: Table) -> None:
    """100 changes, one transaction; each call has its own result, and its row is durable."""
    names = [f"wk_{number}" for number in range(100)]
    assert await together(table, names) == names
    assert table.statements.count("COMMIT") == 1
    assert table.durable() == set(names)


async def test_a_change_that_fails_fails_alone(table: Table) -> None:
    """Its neighbours in the transaction are durable; it gets its own error."""
    outcomes = await together(table, ["a", "b", "a", "c"])
    assert [outcomes[0], outcomes[1], outcomes[3]] == ["a", "b", "c"]
    assert isinstance(outcomes[2], sqlite3.IntegrityError)
    assert table.durable() == {"a", "b", "c"}


@pytest.mark.parametrize("value", ["a surrogate \ud800", 2**64])
async def test_a_value_that_sqlite_does_not_take_is_nobody_elses(table: Table, value: str | int) -> None:
    """It is refused by Python, not by SQLite: with an error of another kind."""
    told: list[str] = []
    free = table.busy()
    calls = [
        asyncio.create_task(table.commits.change(table.insert, name, durable=told.append)) for name in ("a", value, "c")
    ]
    await asyncio.sleep(0)
    free.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == ("a", "c")
    assert isinstance(outcomes[1], UnicodeEncodeError | OverflowError)
    assert table.durable() == {"a", "c"} == set(told)


async def test_a_full_disk_is_everybodys(table: Table) -> None:
    """SQLite undoes the whole transaction: every call of it fails, none of its rows is there; the next one works."""
    table.db.execute("PRAGMA max_page_count = 12").fetchall()
    outcomes = await together(table, ["x" * 3000 + str(number) for number in range(30)])
    assert {type(outcome) for outcome in outcomes} == {sqlite3.OperationalError}
    assert table.durable() == set()
    table.db.execute("PRAGMA max_page_count = 10000").fetchall()
    assert await table.commits.change(table.insert, "later") == "later"
    assert table.durable() == {"later"}


async def test_who_stops_waiting_spoils_nothing(table: Table) -> None:
    """A canceled call's neighbours get their own results."""
    free = table.busy()
    calls = [asyncio.create_task(table.commits.change(table.insert, name)) for name in ("a", "b", "c")]
    await asyncio.sleep(0)
    calls[1].cancel()
    free.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert (outcomes[0], outcomes[2]) == ("a", "c")
    assert isinstance(outcomes[1], asyncio.CancelledError)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open store on an empty folder."""
    opened = Store.open(tmp_path / "jobs.sqlite3")
    yield opened
    await opened.close()


async def test_one_key_at_once_makes_one_job(store: Store) -> None:
    """Of submissions with the same idempotency key that wait together, one makes a job and all get it."""
    answers = await asyncio.gather(*(store.insert(a_job(idempotency_key="k")) for _ in range(8)))
    assert sum(created for _, created in answers) == 1
    assert len({job.id for job, _ in answers}) == 1


async def test_who_awaited_a_change_goes_on_before_who_reads_it(table: Table) -> None:
    """A reader that finds a change in the table finds it in memory as well: it is never told less than before."""
    in_memory = set[str]()

    async def insert(name: str) -> None:
        in_memory.add(await table.commits.change(table.insert, name))

    async def read() -> set[str]:
        sql = "SELECT id FROM jobs"
        rows = await asyncio.get_running_loop().run_in_executor(table.executor, lambda: list(table.db.execute(sql)))
        return {row[0] for row in rows} - in_memory

    for number in range(5):
        inserts = [asyncio.create_task(insert(f"{number} {place}")) for place in range(3)]
        await asyncio.sleep(0)
        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        table.executor.submit(int).result(30)  # the loop finds both done, as one that was busy does
        assert await reader == set()
        await asyncio.gather(*inserts)
