"""Folders without a row: what may be somebody's is put aside whole, the rest goes, and nothing else is touched."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from btworker.job_folder import JobFolder
from btworker.jobs import JobId, new_job_id
from btworker.leftovers import clear_up
from btworker.storage import DataFolder


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataFolder]:
    """An open data folder."""
    opened = DataFolder.open(tmp_path / "data")
    yield opened
    opened.close()


def uploading(data: DataFolder, *, whole: int = 1, part: bool = False) -> JobFolder:
    """The folder of an upload that nobody was answered yet."""
    folder = data.create(new_job_id())
    for number in range(whole):
        folder.input(number).write_text("sound")
    if part:
        folder.inputs.joinpath(f"{whole}.part").write_text("so")
    return folder


def accepted(data: DataFolder, **what: Any) -> JobFolder:
    """The folder of a job that waits."""
    folder = uploading(data, **what)
    data.accept(JobId(folder.path.name))
    return folder


def ended(data: DataFolder, *, inputs: bool = False) -> JobFolder:
    """The folder of a job with results."""
    folder = accepted(data)
    folder.outputs.mkdir()
    (folder.outputs / "talk.json").write_text("words")
    if not inputs:
        data.remove_inputs(JobId(folder.path.name))
    return folder


def files(path: Path) -> dict[Path, bytes]:
    """What is in a folder: names and contents."""
    return {file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_what_may_be_wanted_is_put_aside_whole(data: DataFolder) -> None:
    """Results, and inputs that were accepted, wherever the row went; beside jobs/, under its own name."""
    folders = [accepted(data), accepted(data, whole=3), ended(data), ended(data, inputs=True)]
    folders.append(accepted(data, whole=1, part=True))  # fetched by URL: one is here, the other on its way
    before = {folder.path.name: files(folder.path) for folder in folders}
    found = clear_up(data, frozenset(), table_is_new=False)
    assert (found.removed, found.put_aside, found.stuck) == (0, len(folders), 0)
    assert re.fullmatch(r"jobs\.without-row\.\d+", found.aside.name) and found.aside.parent == data.root
    assert {path.name: files(path) for path in found.aside.iterdir()} == before
    assert list(data.names()) == []


def test_what_nobody_was_promised_goes(data: DataFolder) -> None:
    """Uploads that no client was answered, whole or not; the halves of fetched inputs; what was to be deleted."""
    uploading(data, whole=0)
    uploading(data, whole=2)
    uploading(data, whole=1, part=True)
    accepted(data, whole=0, part=True)
    accepted(data, whole=0)
    doomed = ended(data)
    data.doom(JobId(doomed.path.name))
    found = clear_up(data, frozenset(), table_is_new=False)
    assert (found.removed, found.put_aside, found.aside) == (6, 0, None)
    assert list(data.names()) == [] and not list(data.root.glob("jobs.without*"))


def test_jobs_and_strange_things_stay(data: DataFolder) -> None:
    """A folder with a row, also one whose deletion is not at its end; whatever is not btworker's. With a row, no folder
    is one of an upload: its mark goes."""
    known = [uploading(data), accepted(data), ended(data)]
    data.doom(JobId(known[-1].path.name))
    (data.jobs / "lost+found").mkdir()
    (data.jobs / "notes.txt").write_text("mine")
    before = files(data.root)
    del before[known[0].receiving.relative_to(data.root)]
    found = clear_up(data, frozenset(JobId(folder.path.name) for folder in known), table_is_new=False)
    assert (found.removed, found.put_aside, found.stuck) == (0, 0, 0)
    assert files(data.root) == before


def test_a_new_table_knows_nothing(data: DataFolder) -> None:
    """The whole folder is put aside; twice in a second as well."""
    kept = set()
    for _ in range(2):
        folder = accepted(data)
        uploading(data, part=True)
        found = clear_up(data, frozenset(), table_is_new=True)
        assert found.put_aside == 2 and re.fullmatch(r"jobs\.without-table\.\d+", found.aside.name)
        assert (found.aside / folder.path.name / "in" / "0").exists()
        assert list(data.names()) == []
        kept.add(found.aside)
    assert len(kept) == 2
    assert clear_up(data, frozenset(), table_is_new=True).aside is None


def test_what_cannot_be_moved_is_left(data: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or jobs/ on a disk of its own: nothing is deleted, and it is counted."""
    folder = accepted(data)

    def refused(*_: object) -> NoReturn:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refused)
    for is_new in (True, False):
        found = clear_up(data, frozenset(), table_is_new=is_new)
        assert (found.removed, found.put_aside, found.stuck) == (0, 0, 1)
        assert folder.input(0).exists()
