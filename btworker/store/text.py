"""Full-text search in the job table, by SQLite's FTS5: statements of the one thread of table.py.

    job_text          words of names and transcripts, under the job's seq
    correction_text   words of what people corrected in it

Triggers delete both with the job's row.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from btworker.jobs import Job, JobId
from btworker.store.rows import job_from_json

FOUND = """seq IN (SELECT rowid FROM job_text WHERE job_text MATCH :query
 UNION SELECT rowid FROM correction_text WHERE correction_text MATCH :query)"""
"""Condition on a job, with a query as `matching` makes it."""
NAMES, ALL = 1, 2
"""What of a job is indexed."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """Words of one job."""

    seq: int
    names: str
    text: str
    is_final: bool
    """Whether no more will come."""


def matching(words: Sequence[str]) -> str:
    """A query for jobs that have all of these words, or words that begin with them; nothing in it is a command."""
    return " ".join('"{}" *'.format(word.replace('"', '""')) for word in words)


def names_of(job: Job) -> str:
    """The names of a job's inputs, as they are searched."""
    return "\n".join(item.filename for item in job.inputs)


def to_index(db: sqlite3.Connection, limit: int) -> list[tuple[int, Job]]:
    """Jobs whose words are not all there, with their seq, oldest first."""
    which = "indexed = 0 OR (indexed = 1 AND finished_at IS NOT NULL)"
    sql = f"SELECT seq, body FROM jobs WHERE {which} ORDER BY seq LIMIT ?"  # noqa: S608 - a condition of ours
    return [(seq, job_from_json(body)) for seq, body in db.execute(sql, (limit,))]


def index(db: sqlite3.Connection, found: Iterable[Indexed]) -> None:
    """Store words, in place of earlier ones; nothing of a job that is gone."""
    for one in found:
        level = ALL if one.is_final else NAMES
        if db.execute("UPDATE jobs SET indexed = ? WHERE seq = ?", (level, one.seq)).rowcount:
            keep_words(db, one)


def keep_words(db: sqlite3.Connection, one: Indexed) -> None:
    """Store the words of a job whose row says how many of them there are."""
    sql = "INSERT OR REPLACE INTO job_text (rowid, names, text) VALUES (?, ?, ?)"
    db.execute(sql, (one.seq, one.names, one.text))


def correct(db: sqlite3.Connection, job_id: JobId, version: int, body: str, words: str) -> bool:
    """Store one more change, and the words of all that is corrected now; False where another one was first, or the job
    is gone."""
    sql = """INSERT INTO corrections SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM jobs WHERE id = ?1)
             AND ?2 = 1 + (SELECT coalesce(max(version), 0) FROM corrections WHERE job_id = ?1)"""
    if db.execute(sql, (job_id, version, body)).rowcount != 1:
        return False
    sql = "INSERT OR REPLACE INTO correction_text (rowid, words) SELECT seq, ?2 FROM jobs WHERE id = ?1"
    db.execute(sql, (job_id, words))
    return True
