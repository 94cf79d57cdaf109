"""A job as the store has it."""

from typing import Any

from btworker.jobs import Input, Job, Options, new_job_id


def a_job(**changes: Any) -> Job:
    """A queued job with one input."""
    item = Input("0", "talk.m4a", "talk", 5, "0" * 64)
    return Job(**{"id": new_job_id(), "options": Options("tiny"), "inputs": (item,), "created_at": 1.0, **changes})
