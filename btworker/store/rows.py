"""A job or a key as the JSON text of its row, and back. Used by table.py and backup.py.

pydantic reads and writes the frozen dataclasses by their annotations, so that a new field with a default needs no code.
"""

from dataclasses import replace

from pydantic import TypeAdapter

from btworker.jobs import Job
from btworker.keys import Key

_ADAPTER = TypeAdapter(Job)
_KEYS = TypeAdapter(Key)


def job_to_json(job: Job) -> str:
    """The row's body; `arrival` is the row's number."""
    return _ADAPTER.dump_json(job, exclude={"arrival"}).decode()


def job_from_json(body: str | bytes, arrival: int = 0) -> Job:
    """The job of a row's body, and of the row's number where that is of interest."""
    job = _ADAPTER.validate_json(body)
    return replace(job, arrival=arrival) if arrival else job


def key_to_json(key: Key) -> str:
    """The row's body."""
    return _KEYS.dump_json(key).decode()


def key_from_json(body: str | bytes) -> Key:
    """The key of a row's body."""
    return _KEYS.validate_json(body)
