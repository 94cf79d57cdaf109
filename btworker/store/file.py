"""The job table's file: opened, examined, brought to the newest schema. Runs in the one thread of table.py.

A file without a schema is a new table: one that is missing, one of 0 bytes (left by some crashes of file systems),
one whose first start was killed. SQLite deletes the log beside an empty file: it is put aside before.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from btworker.errors import EXIT_DATABASE, StartupError

LOG_ROOM_BYTES = 8 * 2**20
"""Disk space that the write-ahead log takes at the start: jobs can end, and be deleted, on a disk that is full."""
APPLICATION_ID = 0x62747731
"""PRAGMA application_id: "btw1"; a foreign SQLite file is refused."""
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        losses INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        finished_at REAL,
        idempotency_key TEXT UNIQUE,
        body TEXT NOT NULL
    );
    CREATE INDEX jobs_by_status ON jobs (status, seq);
    CREATE INDEX jobs_by_finish ON jobs (finished_at) WHERE finished_at IS NOT NULL;
    """,
    """
    ALTER TABLE jobs ADD COLUMN owes_word INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX jobs_by_owed_word ON jobs (seq) WHERE owes_word = 1;
    """,
    """
    ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    CREATE INDEX jobs_by_owner ON jobs (owner, seq);
    CREATE TABLE keys (id TEXT PRIMARY KEY, body TEXT NOT NULL);
    """,
    """
    CREATE TABLE corrections (
        job_id TEXT NOT NULL,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (job_id, version)
    ) WITHOUT ROWID;
    CREATE TRIGGER forget_corrections AFTER DELETE ON jobs
        BEGIN DELETE FROM corrections WHERE job_id = OLD.id; END;
    """,
    """
    CREATE TABLE usage (
        owner TEXT NOT NULL,
        day TEXT NOT NULL,
        jobs INTEGER NOT NULL,
        audio_ms INTEGER NOT NULL,
        work_ms INTEGER NOT NULL,
        gpu_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (owner, day)
    );
    ALTER TABLE jobs ADD COLUMN input_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE jobs ADD COLUMN output_bytes INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE jobs ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX jobs_to_index ON jobs (seq) WHERE indexed = 0 OR (indexed = 1 AND finished_at IS NOT NULL);
    CREATE VIRTUAL TABLE job_text USING fts5 (names, text, tokenize = "unicode61 remove_diacritics 2");
    CREATE VIRTUAL TABLE correction_text USING fts5 (words, tokenize = "unicode61 remove_diacritics 2");
    CREATE TRIGGER forget_text AFTER DELETE ON jobs BEGIN
        DELETE FROM job_text WHERE rowid = OLD.seq;
        DELETE FROM correction_text WHERE rowid = OLD.seq;
    END;
    """,
    "CREATE INDEX jobs_by_size ON jobs (owner, finished_at, input_bytes, output_bytes);",  # sizes stand behind the body
)
"""Scripts from user_version n to n + 1; never edit one that was released."""


def connect(path: Path) -> tuple[sqlite3.Connection, bool]:
    """The open table, and whether it is new. Raises StartupError, sqlite3.DatabaseError, OSError."""
    holds_bytes = path.exists() and path.stat().st_size > 0
    if not holds_bytes:
        _put_log_aside(path.with_name(f"{path.name}-wal"))
    db = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    with ExitStack() as on_failure:
        on_failure.callback(db.close)
        db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        is_new = not (holds_bytes and _has_schema(db))
        if not is_new:
            _verify(db, path)  # before WAL is asked for, which writes to the file
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(db, path, keep_copy=not is_new)
        _take_room(path.with_name(f"{path.name}-wal"))
        on_failure.pop_all()
    return db, is_new


def copy_table(db: sqlite3.Connection, path: Path) -> None:
    """All rows as they are at this moment, by SQLite's own backup, as one durable file without a log beside it.

    Raises sqlite3.Error; what is at `path` then is of no use.
    """
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()


@contextmanager
def looking_at(path: Path) -> Iterator[sqlite3.Connection]:
    """A sound table that no worker has open. Raises StartupError, sqlite3.DatabaseError."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        _verify(db, path)
        yield db


def _put_log_aside(wal: Path) -> None:
    """SQLite would delete it with the first look at the empty file, and it may hold rows that are nowhere else."""
    if wal.exists() and wal.stat().st_size > 0:
        os.rename(wal, wal.with_name(f"{wal.name}.without-table.{int(time.time())}"))


def _has_schema(db: sqlite3.Connection) -> bool:
    """False for a file whose first schema was not committed, or got lost; another program's mark counts as one."""
    marks = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return any(marks) or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0


def _take_room(wal: Path) -> None:
    """SQLite writes from the log's beginning, again and again, and ends reading where no valid frame follows."""
    descriptor = os.open(wal, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        os.posix_fallocate(descriptor, 0, LOG_ROOM_BYTES)
    except OSError:  # full already, or a file system that cannot: a precaution less
        pass
    finally:
        os.close(descriptor)


def _verify(db: sqlite3.Connection, path: Path) -> None:
    verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(f"integrity check: {verdict}")
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise sqlite3.DatabaseError("it belongs to another program")
    version = _version(db)
    if version > len(MIGRATIONS):
        raise StartupError(
            f"the job database {path} was written by a newer btworker (schema {version}, this one knows "
            f"{len(MIGRATIONS)}); install that version again",
            exit_code=EXIT_DATABASE,
        )


def _migrate(db: sqlite3.Connection, path: Path, *, keep_copy: bool) -> None:
    version = _version(db)
    if version == len(MIGRATIONS):
        return
    if keep_copy:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        shutil.copy2(path, path.with_name(f"{path.name}.schema{version}.{int(time.time())}"))
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        db.executescript(
            f"BEGIN; {script} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
