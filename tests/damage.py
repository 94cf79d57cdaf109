"""Ways in which a job table is damaged."""

import os
import sqlite3
from pathlib import Path


def damage_truncated(path: Path) -> None:
    """Half the file is missing."""
    os.truncate(path, path.stat().st_size // 2)


def damage_zeroed(path: Path) -> None:
    """A page of zeros where the table was."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\0" * 4096)


def damage_text(path: Path) -> None:
    """Not a database at all."""
    path.write_text("hello, world. " * 1000)


def damage_foreign(path: Path) -> None:
    """Somebody else's database."""
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE notes (t TEXT)")
    db.close()


def damage_newer(path: Path) -> None:
    """Written by a later version."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
