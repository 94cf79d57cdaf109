"""Hashes of checkpoints that are begun beside other work."""

import hashlib
import os
from pathlib import Path

import pytest

from btworker.checkpoints import Hashes


def sha256(content: bytes) -> str:
    """The hash in hex."""
    return hashlib.sha256(content).hexdigest()


def test_what_was_begun_is_what_the_file_has(tmp_path: Path) -> None:
    """Also where nobody began, where it is taken twice, and where two files are begun."""
    one, other = tmp_path / "one.pt", tmp_path / "other.pt"
    one.write_bytes(b"one" * 10**6)
    other.write_bytes(b"other")
    hashes = Hashes()
    hashes.begin(one)
    hashes.begin(other)
    assert hashes.take(one) == hashes.take(one) == sha256(b"one" * 10**6)
    assert hashes.take(other) == sha256(b"other")


def test_a_file_that_was_replaced_or_written_meanwhile_is_hashed_again(tmp_path: Path) -> None:
    """A transcript names the very weights that it came from."""
    path = tmp_path / "model.pt"
    for change in ("replaced", "written"):
        path.write_bytes(b"before")
        hashes = Hashes()
        hashes.begin(path)
        if change == "replaced":
            (tmp_path / "new.pt").write_bytes(b"behind")
            (tmp_path / "new.pt").replace(path)
        else:
            path.write_bytes(b"behind")
            os.utime(path, ns=(1, 1))
        assert hashes.take(path) == sha256(b"behind")


def test_a_file_that_is_missing_at_first_is_no_error_until_it_is_wanted(tmp_path: Path) -> None:
    """It may be downloaded in between."""
    path = tmp_path / "model.pt"
    hashes = Hashes()
    hashes.begin(path)
    with pytest.raises(FileNotFoundError):
        hashes.take(path)
    path.write_bytes(b"downloaded")
    assert hashes.take(path) == sha256(b"downloaded")
