"""What outlasts a power cut, as far as the calls say it."""

import os
from pathlib import Path

import pytest

from btworker.durable import SharedSync


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The descriptors that were given to fsync, which works; -1 in place of one makes the next fail."""
    seen: list[int] = []
    fsync = os.fsync

    def counted(descriptor: int) -> None:
        if seen[-1:] == [-1]:
            seen.pop()
            raise OSError(5, "the disk fails")
        fsync(descriptor)
        seen.append(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    return seen


def test_a_name_needs_an_fsync_that_began_behind_it(tmp_path: Path, syncs: list[int]) -> None:
    """One that another thread began after the name was made will do; one that had begun before will not."""
    folder = SharedSync(tmp_path)
    first, second = folder.next(), folder.next()
    folder.sync(first)
    folder.sync(second)
    assert len(syncs) == 1
    third = folder.next()
    folder.sync(first)
    assert len(syncs) == 1
    folder.sync(third)
    assert len(syncs) == 2


def test_an_fsync_that_failed_covers_nothing(tmp_path: Path, syncs: list[int]) -> None:
    """Whoever asked for it has the error, and the next one tries by itself."""
    folder = SharedSync(tmp_path)
    first, second = folder.next(), folder.next()
    syncs.append(-1)
    with pytest.raises(OSError, match="the disk fails"):
        folder.sync(first)
    assert syncs == []
    folder.sync(second)
    assert len(syncs) == 1
