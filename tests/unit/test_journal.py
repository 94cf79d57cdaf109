"""The journal of finished windows over deaths of its process and power cuts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from btworker.engine.asr.journal import SYNC_S, SYNC_WINDOWS, Entry, Journal, LoopState

WRITES_AND_DIES = """
import os, signal, sys
from pathlib import Path
from btworker.engine.asr.journal import Entry, Journal, LoopState
journal = Journal(Path(sys.argv[1]), run="one")
journal.resume()
for index in range(int(sys.argv[2])):
    journal.append(Entry(index, "en", None, index * 30.0, (index + 1) * 30.0, (), LoopState(seek=index)))
os.kill(os.getpid(), signal.SIGKILL)
"""


class Disk:
    """How much of the file a power cut would leave, at least."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced_bytes = 0
        fsync = os.fsync

        def noted(descriptor: int) -> None:
            fsync(descriptor)
            self.synced_bytes = os.fstat(descriptor).st_size

        monkeypatch.setattr(os, "fsync", noted)


def window(index: int) -> Entry:
    """One without text."""
    return Entry(index, "en", None, index * 30.0, (index + 1) * 30.0, (), LoopState(seek=index * 3000))


def test_a_killed_process_loses_no_window(tmp_path: Path) -> None:
    """Not even those that were not synced."""
    path, count = tmp_path / "windows" / "0.jsonl", SYNC_WINDOWS + 5
    done = subprocess.run([sys.executable, "-c", WRITES_AND_DIES, str(path), str(count)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [entry.index for entry in Journal(path, run="one").resume()] == list(range(count))


@pytest.mark.parametrize("left", [b"", b"\0" * 60, b'{"index": 3, "run', b"\0" * 60 + b"\n%s"])
def test_a_power_cut_costs_a_batch_of_windows_at_most(
    left: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of many windows in a moment: what was synced is there, whatever became of the rest of the file, and
    the next attempt goes on from there."""
    disk, path = Disk(monkeypatch), tmp_path / "0.jsonl"
    journal = Journal(path, run="one", clock=lambda: 7.0)
    journal.resume()
    for index in range(3 * SYNC_WINDOWS):
        journal.append(window(index))
        whole = path.read_bytes()
        last = whole.splitlines(keepends=True)[-1]
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(whole[: disk.synced_bytes] + left.replace(b"%s", last))
        again = Journal(cut, run="one")
        entries = again.resume()
        assert entries == [window(number) for number in range(len(entries))]
        assert index + 1 - SYNC_WINDOWS < len(entries) <= index + 1
        again.append(window(len(entries)))
        assert Journal(cut, run="one").resume() == [*entries, window(len(entries))]


def test_windows_that_take_their_time_are_synced_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut then costs the window that is being decoded, and none that is done."""
    disk, path, now_s = Disk(monkeypatch), tmp_path / "0.jsonl", 0.0
    journal = Journal(path, run="one", clock=lambda: now_s)
    journal.resume()
    for index in range(5):
        journal.append(window(index))
        assert disk.synced_bytes == path.stat().st_size
        now_s += SYNC_S
