"""The job table, one SQLite file: Store (table.py), the file, its migrations, rows, commits and index of words."""

from btworker.store.table import Store, is_disk_trouble

__all__ = ["Store", "is_disk_trouble"]
