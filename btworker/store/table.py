"""The job table: one SQLite file, one connection, one thread. Runs in the parent; service/ is its only caller.

Every change of a job's state is durable when the call returns (synchronous=FULL; commit.py). The database
is opened with locking_mode=EXCLUSIVE before WAL, so that no second process can open it. Progress is not stored: it
lives in the service, and the finished windows lie in the job's folder.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from btworker import accounts
from btworker.accounts import Account
from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE, StartupError
from btworker.jobs import Job, JobId, JobStatus
from btworker.keys import OPERATOR, Key
from btworker.store import text
from btworker.store.commit import GroupCommit
from btworker.store.file import APPLICATION_ID, connect, copy_table
from btworker.store.rows import job_from_json, job_to_json, key_from_json, key_to_json
from btworker.store.text import Indexed

T = TypeVar("T")
DISK_TROUBLE = ("disk is full", "disk I/O error", "unable to open database file", "readonly database")
"""How SQLite names what is the disk's fault. (Error numbers come with Python 3.11.)"""
STORED_BYTES = """
SELECT coalesce(sum(output_bytes + CASE WHEN finished_at IS NULL OR ? THEN input_bytes ELSE 0 END), 0)
FROM jobs WHERE owner = ?
"""
"""Of an owner, with the inputs of all jobs or of those that have not ended; answered by an index alone."""


def is_disk_trouble(error: BaseException) -> bool:
    """The disk did not take a transaction, and may take it later."""
    return isinstance(error, sqlite3.OperationalError) and any(words in str(error) for words in DISK_TROUBLE)


class Store:
    """The job table. Methods may be called from any task; they run one after the other."""

    def __init__(self, connection: sqlite3.Connection, executor: ThreadPoolExecutor, *, is_new: bool) -> None:
        self.is_new = is_new
        """The table was made by this start: jobs of which there are folders are not unknown, but forgotten."""
        self._db = connection
        self._executor = executor
        self._commits = GroupCommit(connection, executor)

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open or create the database. Raises StartupError when it is damaged, foreign or newer; the file is kept."""
        executor = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            connection, is_new = executor.submit(connect, path).result()
            return cls(connection, executor, is_new=is_new)
        except (sqlite3.DatabaseError, OSError) as error:
            executor.shutdown(wait=False)
            if isinstance(error, OSError | sqlite3.OperationalError) and not _is_damage(error):
                raise StartupError(
                    f"the job database {path} cannot be used ({error}): look at the rights of the folder, the room on "
                    "its disk, and whether another program has the file open",
                    exit_code=EXIT_DATA_FOLDER,
                ) from None
            raise StartupError(
                f"the job database {path} is damaged or not a database of btworker ({error}); it was left as it is: "
                "`btworker restore` takes a backup back; moved away, the worker starts with an empty one",
                exit_code=EXIT_DATABASE,
            ) from None
        except StartupError:
            executor.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Close the database after the calls under way."""
        await self._run(self._db.close)
        self._executor.shutdown(wait=False)

    async def insert(self, job: Job, *, accepted: Callable[[JobId], None] = lambda _: None) -> tuple[Job, bool]:
        """Store a new job, and the names that it is found by; returns it with its `arrival`.

        With an idempotency key that a live or complete job of its owner has: that job and False. A failed or canceled
        job gives its key up to the new one. `accepted`, which must not fail, is called, blocking, once the row of a
        new job is durable.
        """

        def durable(outcome: tuple[Job, bool]) -> None:
            stored, created = outcome
            if created:
                accepted(stored.id)

        return await self._commits.change(self._insert, job, durable=durable)

    async def by_key(self, key: str, owner: str = OPERATOR) -> Job | None:
        """The live or complete job of this owner with this idempotency key."""
        return await self._run(self._by_key, _owned(key, owner))

    async def get(self, job_id: JobId) -> Job | None:
        """One job."""
        return await self._run(self._one, "SELECT body FROM jobs WHERE id = ?", (job_id,))

    async def page(
        self,
        *,
        status: JobStatus | None,
        limit: int,
        before: int | None,
        owner: str | None = None,
        words: Sequence[str] = (),
    ) -> tuple[list[Job], int | None]:
        """Jobs (of one owner, or of all; with all of these words), newest first, and the cursor of the next page (None:
        no more)."""
        return await self._run(self._page, status, limit, before, owner, words)

    async def start_attempt(self, job: Job) -> bool:
        """queued -> running with the attempt already counted in `job`; False when it was not queued any more."""
        return await self._commits.change(self._transition, job, JobStatus.QUEUED, job.attempt - 1)

    async def requeue(self, job: Job, *, lost: bool) -> bool:
        """running -> queued, fenced by attempt; `lost` spends one of the job's attempts."""
        return await self._commits.change(self._transition, job, JobStatus.RUNNING, job.attempt, int(lost))

    async def finish(self, job: Job, *, was: JobStatus) -> bool:
        """Publish a job's end in one transaction; False when a newer attempt or another end was first."""
        return await self._commits.change(self._transition, job, was, job.attempt)

    async def note(self, job: Job) -> bool:
        """Keep what changed in a job beside its state; False when that is another one by now."""
        return await self._commits.change(self._transition, job, job.status, job.attempt)

    async def losses(self, job_id: JobId) -> int:
        """How many children died with this job alone in them."""
        return await self._run(self._losses, job_id)

    async def delete(self, job_id: JobId) -> None:
        """Forget a job."""
        await self._commits.change(self._execute, "DELETE FROM jobs WHERE id = ?", (job_id,))

    async def unfinished(self) -> list[Job]:
        """Queued and running jobs, oldest first."""
        sql = "SELECT body, seq FROM jobs WHERE status IN ('queued', 'running') ORDER BY seq"
        return await self._run(self._many, sql, ())

    async def owing(self) -> list[Job]:
        """Jobs that have ended, and whose callback is still to be sent, oldest first."""
        return await self._run(self._many, "SELECT body, seq FROM jobs WHERE owes_word = 1 ORDER BY seq", ())

    async def ids(self) -> frozenset[JobId]:
        """Every id that the table knows."""
        return await self._run(self._ids, "SELECT id FROM jobs")

    async def finished_ids(self) -> frozenset[JobId]:
        """The ids of all jobs that have ended."""
        return await self._run(self._ids, "SELECT id FROM jobs WHERE finished_at IS NOT NULL")

    async def finished_before(self, moment: float, limit: int) -> list[JobId]:
        """Ids of jobs that ended before `moment` (seconds since the epoch) and owe nobody a word, oldest first."""
        return await self._run(self._finished_before, moment, limit)

    async def keys(self) -> list[Key]:
        """Every key, those that are revoked as well."""
        return await self._run(self._keys)

    async def keep_key(self, key: Key) -> None:
        """Store a new key, or what became of one."""
        sql = "INSERT INTO keys VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
        await self._commits.change(self._execute, sql, (key.id, key_to_json(key)))

    async def corrections(self, job_id: JobId) -> list[str]:
        """Bodies of all changes that people made in a job's transcripts, oldest first."""
        return await self._run(self._corrections, job_id)

    async def correct(self, job_id: JobId, version: int, body: str, words: str = "") -> bool:
        """Store one more change, with the words of all that is corrected then; False where there is one of this version
        already, or the job is gone. They go with the job's row."""
        return await self._commits.change(text.correct, self._db, job_id, version, body, words)

    async def to_index(self, limit: int) -> list[tuple[int, Job]]:
        """Jobs whose words cannot all be searched yet, with their place in the table, oldest first."""
        return await self._run(text.to_index, self._db, limit)

    async def index(self, found: Sequence[Indexed]) -> None:
        """Store words of jobs, by which `page` finds them."""
        await self._commits.change(text.index, self._db, found)

    async def usage(self, first: str, last: str, owner: str | None = None) -> list[Account]:
        """What was used on these days (as 2026-11-29, both included), by one owner or by all."""
        return await self._run(self._usage, first, last, owner)

    async def stored_bytes(self, owner: str, *, with_inputs: bool) -> int:
        """Bytes of an owner's results and of the inputs of jobs that have not ended; `with_inputs`: of all jobs."""
        return await self._run(self._stored_bytes, owner, with_inputs)

    async def back_up(self, path: Path) -> None:
        """Copy the table as it is at this moment. Raises sqlite3.Error."""
        await self._run(copy_table, self._db, path)

    async def check_writable(self) -> None:
        """Raises sqlite3.Error when a transaction cannot be committed."""
        await self._commits.change(self._execute, f"PRAGMA application_id = {APPLICATION_ID}", ())

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)

    def _execute(self, sql: str, values: Iterable[object]) -> int:
        return self._db.execute(sql, tuple(values)).rowcount

    def _one(self, sql: str, values: tuple[object, ...]) -> Job | None:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else job_from_json(row[0])

    def _many(self, sql: str, values: tuple[object, ...]) -> list[Job]:
        return [job_from_json(body, seq) for body, seq in self._db.execute(sql, values)]

    def _by_key(self, key: str) -> Job | None:
        sql = "SELECT body FROM jobs WHERE idempotency_key = ? AND status NOT IN ('failed', 'canceled')"
        return self._one(sql, (key,))

    def _insert(self, job: Job) -> tuple[Job, bool]:
        key = None
        if job.idempotency_key is not None:
            key = _owned(job.idempotency_key, job.owner)
            known = self._by_key(key)
            if known is not None:
                return known, False
            self._db.execute("UPDATE jobs SET idempotency_key = NULL WHERE idempotency_key = ?", (key,))
        values = (job.id, job.status.value, job.attempt, job.created_at, key, job.owner, job_to_json(job))
        sql = """INSERT INTO jobs (id, status, attempt, created_at, idempotency_key, owner, body, input_bytes, indexed)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
        input_bytes = sum(item.size_bytes for item in job.inputs)
        seq = self._db.execute(sql, (*values, input_bytes, text.NAMES)).lastrowid or 0
        text.keep_words(self._db, Indexed(seq, text.names_of(job), "", is_final=False))
        return replace(job, arrival=seq), True

    def _transition(self, job: Job, was: JobStatus, attempt: int, losses: int = 0) -> bool:
        sql = """UPDATE jobs SET status = ?, attempt = ?, losses = losses + ?, finished_at = ?, owes_word = ?,
                 input_bytes = ?, output_bytes = ?, body = ? WHERE id = ? AND status = ? AND attempt = ?"""
        state = (job.status.value, job.attempt, losses, job.finished_at, job.owes_callback)
        played = sum(one.audio.size_bytes + one.peaks.size_bytes for one in job.renditions)
        input_bytes, output_bytes = (sum(file.size_bytes for file in files) for files in (job.inputs, job.outputs))
        values = (*state, input_bytes, output_bytes + played, job_to_json(job), job.id, was.value, attempt)
        changed = self._execute(sql, values) == 1
        if changed and job.status.finished and not was.finished:
            self._execute(accounts.ADD, accounts.account_of(job).row)
        return changed

    def _page(
        self, status: JobStatus | None, limit: int, before: int | None, owner: str | None, words: Sequence[str]
    ) -> tuple[list[Job], int | None]:
        wanted = {"status": None if status is None else status.value, "owner": owner}
        given: dict[str, object] = {name: value for name, value in wanted.items() if value is not None}
        where = "".join(f" AND {name} = :{name}" for name in given) + (f" AND {text.FOUND}" if words else "")
        sql = f"SELECT seq, body FROM jobs WHERE seq < :before{where} ORDER BY seq DESC LIMIT :limit"  # noqa: S608 - ours
        given |= {"before": 2**62 if before is None else before, "limit": limit + 1}
        rows = self._db.execute(sql, {**given, "query": text.matching(words)}).fetchall()
        jobs = [job_from_json(body) for _, body in rows[:limit]]
        return jobs, rows[limit - 1][0] if len(rows) > limit else None

    def _losses(self, job_id: JobId) -> int:
        row = self._db.execute("SELECT losses FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return 0 if row is None else int(row[0])

    def _ids(self, sql: str) -> frozenset[JobId]:
        return frozenset(JobId(row[0]) for row in self._db.execute(sql))

    def _usage(self, first: str, last: str, owner: str | None) -> list[Account]:
        return [Account(*row) for row in self._db.execute(accounts.SELECT, (first, last, owner))]

    def _stored_bytes(self, owner: str, with_inputs: bool) -> int:  # noqa: FBT001 - an executor passes no names
        return int(self._db.execute(STORED_BYTES, (with_inputs, owner)).fetchone()[0])

    def _keys(self) -> list[Key]:
        return [key_from_json(row[0]) for row in self._db.execute("SELECT body FROM keys ORDER BY rowid")]

    def _corrections(self, job_id: JobId) -> list[str]:
        sql = "SELECT body FROM corrections WHERE job_id = ? ORDER BY version"
        return [row[0] for row in self._db.execute(sql, (job_id,))]

    def _finished_before(self, moment: float, limit: int) -> list[JobId]:
        sql = "SELECT id FROM jobs WHERE finished_at < ? AND owes_word = 0 ORDER BY finished_at LIMIT ?"
        return [JobId(row[0]) for row in self._db.execute(sql, (moment, limit))]


def _owned(idempotency_key: str, owner: str) -> str:
    """An idempotency key among those of all owners: no client's own has a line break."""
    return idempotency_key if owner == OPERATOR else f"{owner}\n{idempotency_key}"


def _is_damage(error: Exception) -> bool:
    """SQLite reports some damage (a table that is missing, a schema that makes no sense) as an operational error."""
    environment = ("unable to open", "locked", "readonly", "disk", "permission")
    return isinstance(error, sqlite3.OperationalError) and not any(word in str(error).lower() for word in environment)
