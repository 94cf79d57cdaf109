"""The layer of corrections: edits and undos against the plainest model, and the rows that keep them."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from btworker.corrections.edits import CHANGE, Change, Edit
from btworker.corrections.layer import Layer, layers_of
from btworker.jobs import JobStatus
from btworker.store import Store
from btworker.store.file import APPLICATION_ID, MIGRATIONS
from btworker.store.rows import job_to_json
from tests.a_job import a_job
from tests.slices import FULL

SPEAKERS = [f"SPEAKER_{number:02d}" for number in range(5)]
RUNS = 50 if FULL else 5
EDITS = 1000


def some_edit(chance: random.Random) -> dict[str, Any]:
    """Any edit, as it is sent."""
    where = {"input": chance.randrange(2)}
    segment = {**where, "segment": chance.randrange(20)}
    return chance.choice(
        [
            {"op": "name", **where, "speaker": chance.choice(SPEAKERS), "name": chance.choice(["Anna", "Ben", None])},
            {"op": "merge", **where, "speaker": SPEAKERS[chance.randrange(1, 5)], "into": chance.choice(SPEAKERS[:1])},
            {"op": "merge", **where, "speaker": SPEAKERS[chance.randrange(1, 5)], "into": None},
            {"op": "assign", **segment, "speaker": chance.choice([*SPEAKERS, None])},
            {"op": "text", **segment, "text": chance.choice(["x", "y z", "", None])},
            {"op": "check", **segment, "checked": chance.choice([True, False])},
        ]
    )


def plain(raw: dict[str, Any], state: dict[Any, Any]) -> dict[Any, Any]:
    """The state after an edit: a table of what is not as the engine has it."""
    key = (raw["op"], raw["input"], raw.get("segment", raw.get("speaker")))
    field = {"name": "name", "merge": "into", "text": "text", "check": "checked", "assign": "speaker"}[raw["op"]]
    value = raw[field]
    rest = {name: one for name, one in state.items() if name != key}
    return rest if value in (None, False) and value != "" else {**rest, key: value}


def seen(layers: dict[int, Layer]) -> dict[Any, Any]:
    """Layers in the same form."""
    found: dict[Any, Any] = {}
    for number, layer in layers.items():
        found |= {("name", number, speaker): name for speaker, name in layer.names.items()}
        found |= {("merge", number, speaker): into for speaker, into in layer.merges.items()}
        for at, one in layer.segments.items():
            values = {"assign": one.speaker, "text": one.text, "check": one.checked or None}
            found |= {(op, number, at): value for op, value in values.items() if value is not None}
    return found


def histories() -> Iterator[tuple[list[Change], list[dict[Any, Any]]]]:
    """A thousand changes, some of which bring an earlier version back, and the state at each version."""
    for seed in range(RUNS):
        chance = random.Random(seed)
        changes: list[Change] = []
        states: list[dict[Any, Any]] = [{}]
        while len(changes) < EDITS:
            version = len(changes) + 1
            if chance.random() < 0.2:
                restored = chance.randrange(version)
                changes.append(Change(version=version, at=0.0, by="operator", restored=restored))
                states.append(states[restored])
                continue
            raw = [some_edit(chance) for _ in range(chance.choice([1, 1, 1, 3]))]
            body = {"version": version, "at": 0.0, "by": "operator", "edits": raw}
            changes.append(CHANGE.validate_python(body))
            state = states[-1]
            for one in raw:
                state = plain(one, state)
            states.append(state)
        yield changes, states


def test_every_version_is_what_its_edits_made_of_it() -> None:
    """Random edits with undo: the newest, and any earlier version, read back from what is stored."""
    for changes, states in histories():
        stored = [CHANGE.validate_json(CHANGE.dump_json(one)) for one in changes]
        assert stored == changes
        for version in (0, 1, EDITS // 2, EDITS - 1, EDITS):
            assert seen(layers_of(stored, version)) == states[version]
        assert seen(layers_of(stored)) == states[-1]


def test_merges_lead_to_the_last_of_a_chain() -> None:
    """A name is that of whom somebody was merged into."""
    layer = Layer(names={"C": "Carla"}, merges={"A": "B", "B": "C"})
    assert (layer.merged("A"), layer.shown("A"), layer.shown("X")) == ("C", "Carla", "X")


async def test_changes_are_stored_in_order_and_go_with_their_job(tmp_path: Path) -> None:
    """No version twice and none left out; of a job that is gone nothing is taken, and nothing stays."""
    store = Store.open(tmp_path / "jobs.sqlite3")
    job, other = a_job(), a_job()
    for one in (job, other):
        await store.insert(one)
    assert [await store.correct(job.id, version, f"{version}") for version in (1, 1, 3, 2)] == [
        True,
        False,
        False,
        True,
    ]
    assert await store.correct(other.id, 1, "other")
    assert await store.corrections(job.id) == ["1", "2"]
    await store.delete(job.id)
    assert await store.corrections(job.id) == []
    assert not await store.correct(job.id, 1, "late")
    assert await store.corrections(other.id) == ["other"]
    await store.close()


async def test_a_backup_has_them(tmp_path: Path) -> None:
    """They are rows of the table that is copied."""
    store = Store.open(tmp_path / "jobs.sqlite3")
    job, _ = await store.insert(a_job())
    await store.correct(job.id, 1, "kept")
    await store.back_up(tmp_path / "copy.sqlite3")
    await store.close()
    copy = Store.open(tmp_path / "copy.sqlite3")
    assert await copy.corrections(job.id) == ["kept"]
    await copy.close()


@pytest.mark.parametrize("schema", range(1, len(MIGRATIONS)))
async def test_jobs_of_an_earlier_schema_can_be_corrected(tmp_path: Path, schema: int) -> None:
    """A table of each earlier schema is taken over: its jobs have no corrections, and get some."""
    job = replace(a_job(), status=JobStatus.COMPLETE)
    path = tmp_path / "jobs.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript("".join(MIGRATIONS[:schema]))
        old.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {schema};")
        values = (job.id, "complete", 1, 0.0, job_to_json(job))
        old.execute("INSERT INTO jobs (id, status, attempt, created_at, body) VALUES (?, ?, ?, ?, ?)", values)
        old.commit()
    store = Store.open(path)
    assert await store.corrections(job.id) == []
    assert await store.correct(job.id, 1, "first")
    assert await store.corrections(job.id) == ["first"]
    await store.close()


def test_an_edit_is_read_as_what_it_is() -> None:
    """Text stays as somebody wrote it, but for controls; an unknown word is refused."""
    raw = {
        "version": 1,
        "at": 0,
        "by": "x",
        "edits": [{"op": "text", "segment": 0, "text": " <b>\u202e{\\an8}\x00--> "}],
    }
    (found,) = CHANGE.validate_python(raw).edits
    assert found.model_dump()["text"] == "<b>\u202e{\\an8} -->"
    wrong: list[Edit | dict[str, object]] = [{"op": "name", "speaker": "A", "name": "B", "input": -1}]
    with pytest.raises(ValueError):
        CHANGE.validate_python({**raw, "edits": wrong})
