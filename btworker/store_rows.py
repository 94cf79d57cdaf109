"""A job as the JSON text of its row, and back. Used by store.py only.

pydantic reads and writes the frozen dataclasses by their annotations, so that a new field with a default needs no code.
"""

from pydantic import TypeAdapter

from btworker.jobs import Job

_ADAPTER = TypeAdapter(Job)


def job_to_json(job: Job) -> str:
    """The row's body."""
    return _ADAPTER.dump_json(job).decode()


def job_from_json(body: str | bytes) -> Job:
    """The job of a row's body."""
    return _ADAPTER.validate_json(body)
