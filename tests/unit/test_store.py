"""The job table: durable transitions, fencing by attempt, keys, and what a start makes of a bad file."""

import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from btworker.accounts import Account
from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE, ErrorCode, ErrorInfo, StartupError
from btworker.jobs import Job, JobStatus, LogLine, Output, OutputFormat, Stage
from btworker.locations import Delivery
from btworker.storage import DataFolder
from btworker.store import Store
from btworker.store.file import APPLICATION_ID, MIGRATIONS
from btworker.store.rows import job_from_json, job_to_json
from btworker.store.table import STORED_BYTES
from tests.a_job import a_job
from tests.damage import damage_foreign, damage_newer, damage_text, damage_truncated, damage_zeroed


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An open store on an empty folder."""
    opened = Store.open(tmp_path / "jobs.sqlite3")
    yield opened
    await opened.close()


def running(job: Job) -> Job:
    """The job in its next attempt."""
    return job.evolve(status=JobStatus.RUNNING, attempt=job.attempt + 1)


async def test_a_job_comes_back_as_it_was(store: Store) -> None:
    """Every field survives the row."""
    job = a_job(
        outputs=(Output("0", "talk_transcript.json", "json", 3, "ab"),),
        logs=(LogLine(1.5, "info", "naïve 🎉"),),
        warnings=("careful",),
        timings=(("transcribing", 1.25),),
        error=ErrorInfo(ErrorCode.NO_AUDIO, "nothing"),
        stage=Stage.TRANSCRIBING,
        idempotency_key="k",
    )
    assert await store.insert(job) == (job, True)
    assert await store.get(job.id) == job
    assert job.options.outputs == (OutputFormat.JSON, OutputFormat.MD)


async def test_transitions_are_fenced_by_attempt(store: Store) -> None:
    """A late end of an attempt that is over changes nothing; only one end wins."""
    job, _ = await store.insert(a_job())
    first = running(job)
    assert await store.start_attempt(first)
    assert not await store.start_attempt(first)
    queued = first.evolve(status=JobStatus.QUEUED)
    assert await store.requeue(queued, lost=True)
    second = running(queued)
    assert await store.start_attempt(second)
    assert not await store.finish(first.evolve(status=JobStatus.COMPLETE), was=JobStatus.RUNNING)
    assert await store.finish(second.evolve(status=JobStatus.COMPLETE), was=JobStatus.RUNNING)
    assert not await store.finish(second.evolve(status=JobStatus.FAILED), was=JobStatus.RUNNING)
    stored = await store.get(job.id)
    assert (stored.status, stored.attempt, await store.losses(job.id)) == (JobStatus.COMPLETE, 2, 1)


async def test_idempotency_key(store: Store) -> None:
    """The same key gives the same job; a failed or canceled one gives way to a new one."""
    first, created = await store.insert(a_job(idempotency_key="k"))
    assert created and await store.insert(a_job(idempotency_key="k")) == (first, False)
    assert (await store.by_key("k")).id == first.id
    assert await store.finish(first.evolve(status=JobStatus.CANCELED), was=JobStatus.QUEUED)
    assert await store.by_key("k") is None
    second, created = await store.insert(a_job(idempotency_key="k"))
    assert created and second.id != first.id


async def test_pages_go_from_new_to_old(store: Store) -> None:
    """Every job once, newest first, over several pages; a status filters."""
    jobs = [(await store.insert(a_job()))[0] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page, cursor = await store.page(status=None, limit=2, before=cursor)
        seen += page
        if cursor is None:
            break
    assert [job.id for job in seen] == [job.id for job in reversed(jobs)]
    assert (await store.page(status=JobStatus.RUNNING, limit=2, before=None)) == ([], None)


async def test_jobs_are_told_by_their_arrival(store: Store) -> None:
    """In the order in which they were stored, whatever time it was, also where the newest one is deleted; the same when
    they are read again."""
    first, _ = await store.insert(a_job(created_at=99.0))
    second, _ = await store.insert(a_job(created_at=1.0))
    await store.delete(second.id)
    third, _ = await store.insert(a_job(created_at=2.0))
    assert 0 < first.arrival < second.arrival < third.arrival
    assert await store.note(third.evolve(warnings=("careful",)))
    assert [job.arrival for job in await store.unfinished()] == [first.arrival, third.arrival]


async def test_unfinished_ids_expiry_and_delete(store: Store) -> None:
    """What a start and the retention ask."""
    old = a_job()
    await store.insert(old)
    await store.finish(old.evolve(status=JobStatus.CANCELED, finished_at=5.0), was=JobStatus.QUEUED)
    young, _ = await store.insert(a_job())
    assert [job.id for job in await store.unfinished()] == [young.id]
    assert await store.ids() == {old.id, young.id}
    assert await store.finished_before(6.0, 10) == [old.id] and await store.finished_before(5.0, 10) == []
    await store.delete(old.id)
    assert await store.get(old.id) is None
    await store.check_writable()


async def test_data_survives_a_reopen(tmp_path: Path) -> None:
    """And an empty file is a new database."""
    path = tmp_path / "jobs.sqlite3"
    path.touch()
    store = Store.open(path)
    job, _ = await store.insert(a_job())
    await store.close()
    store = Store.open(path)
    assert await store.get(job.id) == job
    await store.close()


@pytest.mark.parametrize("damage", [damage_truncated, damage_zeroed, damage_text, damage_foreign, damage_newer])
async def test_a_bad_database_is_said_and_kept(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The start ends with one sentence and its exit code, and the file is left as it was."""
    path = tmp_path / "jobs.sqlite3"
    store = Store.open(path)
    for _ in range(50):
        await store.insert(a_job())
    await store.close()
    damage(path)
    before = path.read_bytes()
    with pytest.raises(StartupError) as caught:
        Store.open(path)
    assert caught.value.exit_code == EXIT_DATABASE and str(path) in caught.value.message
    assert path.read_bytes() == before


async def test_second_server_on_one_folder(tmp_path: Path) -> None:
    """The lock on the data folder keeps a second server out, and the database is exclusive as well."""
    data = DataFolder.open(tmp_path)
    with pytest.raises(StartupError, match="in use by another btworker") as caught:
        DataFolder.open(tmp_path)
    assert caught.value.exit_code == EXIT_DATA_FOLDER
    store = Store.open(data.database)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(data.database, timeout=0).execute("SELECT * FROM jobs")
    await store.close()
    data.close()
    DataFolder.open(tmp_path).close()


async def test_unusable_folder(tmp_path: Path) -> None:
    """A file in the way of the data folder is said."""
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="cannot be used"):
        DataFolder.open(tmp_path / "file" / "data")


def left_nothing(path: Path) -> None:
    """There is no file."""


def left_empty(path: Path) -> None:
    """A file system forgot what was in it."""
    path.touch()


def left_half_made(path: Path) -> None:
    """The first start was killed before it had made the table."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.close()
    assert path.stat().st_size > 0


@pytest.mark.parametrize("left", [left_nothing, left_empty, left_half_made])
async def test_a_file_without_a_schema_is_a_new_table(tmp_path: Path, left: Callable[[Path], None]) -> None:
    """And says so, once: the folders of earlier jobs are then forgotten ones."""
    path = tmp_path / "jobs.sqlite3"
    left(path)
    for is_new in (True, False):
        store = Store.open(path)
        assert store.is_new == is_new and await store.ids() == frozenset()
        await store.close()


async def test_the_log_of_a_lost_table_is_kept(tmp_path: Path) -> None:
    """It may hold rows that are nowhere else, and SQLite deletes it together with the first look at an empty file."""
    path, wal = tmp_path / "jobs.sqlite3", tmp_path / "jobs.sqlite3-wal"
    store = Store.open(path)
    await store.insert(a_job())
    rows = wal.read_bytes()
    await store.close()
    os.truncate(path, 0)
    wal.write_bytes(rows)
    store = Store.open(path)
    [kept] = tmp_path.glob("jobs.sqlite3-wal.without-table.*")
    assert kept.read_bytes() == rows and store.is_new
    await store.close()


async def test_a_table_of_the_first_schema_is_taken_over(tmp_path: Path) -> None:
    """With its jobs, whose rows know nothing of deliveries; a copy of the old file is kept."""
    path = tmp_path / "jobs.sqlite3"
    job = a_job()
    body = json.loads(job_to_json(job))
    for newer in ("sources", "delivery"):
        del body[newer]
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
        values = (job.id, job.status.value, job.attempt, job.created_at, json.dumps(body))
        old.execute("INSERT INTO jobs (id, status, attempt, created_at, body) VALUES (?, ?, ?, ?, ?)", values)
        old.commit()
    store = Store.open(path)
    try:
        assert await store.unfinished() == [job]
        assert await store.owing() == []
    finally:
        await store.close()
    assert len(list(tmp_path.glob("jobs.sqlite3.schema1.*"))) == 1


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    """A downgrade within a schema reads what the newer one wrote."""
    job = a_job()
    newer = {**json.loads(job_to_json(job)), "invented_later": {"x": 1}}
    assert job_from_json(json.dumps(newer)) == job


async def test_who_is_owed_a_word_is_found_and_kept(store: Store) -> None:
    """An ended job of which somebody is still to be told does not expire; once told, it does."""
    job = a_job(delivery=Delivery("https://example.org/hook"))
    await store.insert(job)
    ended = job.evolve(status=JobStatus.FAILED, finished_at=5.0)
    assert await store.finish(ended, was=JobStatus.QUEUED)
    assert await store.owing() == [ended]
    assert await store.finished_before(10.0, 10) == []
    told = replace(ended, delivery=replace(ended.delivery, callback_at=6.0))
    assert await store.note(told)
    assert await store.owing() == []
    assert await store.finished_before(10.0, 10) == [job.id]


async def test_a_job_is_accounted_for_once(store: Store) -> None:
    """At its end, in the same transaction: a late word, a second end, what is told afterwards and the deletion of its
    row change nothing."""
    for number, day in enumerate((86_400.0, 86_401.0, 2 * 86_400.0)):
        job, _ = await store.insert(a_job(owner="aaaaaaaaaaaa", delivery=Delivery("https://example.org/hook")))
        at_work = running(job)
        assert await store.start_attempt(at_work)
        inputs = tuple(replace(item, duration_s=1.2344 + number) for item in job.inputs)
        ended = replace(at_work, inputs=inputs, held_s=(0.5, 0.25)).evolve(status=JobStatus.COMPLETE, finished_at=day)
        assert await store.finish(ended, was=JobStatus.RUNNING)
        assert not await store.finish(ended, was=JobStatus.RUNNING)
        assert not await store.finish(at_work.evolve(status=JobStatus.FAILED, finished_at=day), was=JobStatus.RUNNING)
        assert await store.note(replace(ended, delivery=replace(ended.delivery, callback_at=day)))
        await store.delete(job.id)
    await store.insert(a_job(owner="aaaaaaaaaaaa"))
    first = Account("aaaaaaaaaaaa", "1970-01-02", 2, 1234 + 2234, 1000, 500, 10)
    second = Account("aaaaaaaaaaaa", "1970-01-03", 1, 3234, 500, 250, 5)
    assert await store.usage("1970-01-01", "2026-01-01") == [first, second]
    assert await store.usage("1970-01-03", "1970-01-03", "aaaaaaaaaaaa") == [second]
    assert await store.usage("1970-01-01", "2026-01-01", "bbbbbbbbbbbb") == []


async def test_stored_bytes_are_those_of_an_owner(store: Store) -> None:
    """Inputs until the job's end, unless they are kept; results from then on."""
    job, _ = await store.insert(a_job(owner="aaaaaaaaaaaa"))
    await store.insert(a_job())
    assert await store.stored_bytes("aaaaaaaaaaaa", with_inputs=False) == 5
    ended = replace(job, outputs=(Output("0", "t.json", "json", 7, "ab"),))
    assert await store.finish(ended.evolve(status=JobStatus.CANCELED, finished_at=1.0), was=JobStatus.QUEUED)
    assert await store.stored_bytes("aaaaaaaaaaaa", with_inputs=False) == 7
    assert await store.stored_bytes("aaaaaaaaaaaa", with_inputs=True) == 12
    assert await store.stored_bytes("bbbbbbbbbbbb", with_inputs=True) == 0


async def test_bytes_are_summed_without_reading_the_jobs(store: Store, tmp_path: Path) -> None:
    """At each submission of a key with a limit: of 20,000 jobs, 2 ms in place of 35."""
    await store.back_up(tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy")) as db:
        (row,) = db.execute(f"EXPLAIN QUERY PLAN {STORED_BYTES}", (False, "aaaaaaaaaaaa")).fetchall()
    assert "USING COVERING INDEX" in row[3]
