"""The sums of the live jobs, against a look at every job."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from btworker.jobs import Input, Job, JobId, JobStatus, Stage
from btworker.service.live_jobs import LiveJobs, LivePhase
from tests.a_job import a_job

CHANGES = ("wait", "work", "deliver", "end")
EVENT = st.tuples(st.integers(0, 5), st.sampled_from(CHANGES), st.integers(0, 3), st.integers(0, 3))


def changed(job_id: str, change: str, size: int, at: int) -> Job:
    """A job in the state that the change leads to."""
    status = JobStatus.QUEUED if change == "wait" else JobStatus.RUNNING
    stage = {"wait": Stage.QUEUED, "work": Stage.TRANSCRIBING, "deliver": Stage.UPLOADING}[change]
    inputs = (Input("0", "talk.m4a", "talk", size, "0" * 64),) if size else ()
    return a_job(id=JobId(job_id), status=status, stage=stage, inputs=inputs, created_at=float(at))


@given(st.lists(EVENT, max_size=30))
def test_the_sums_are_those_of_every_job(events: Sequence[tuple[int, str, int, int]]) -> None:
    """Whatever jobs come, change and go: counts, sizes and the oldest are what a look at all of them would find."""
    live, plain = LiveJobs(rendition_bytes=(10).__rmul__), dict[JobId, Job]()
    for number, change, size, at in events:
        job_id = JobId(f"wk_{number}")
        if change == "end":
            assert live.pop(job_id, None) == plain.pop(job_id, None)
        else:
            live[job_id] = plain[job_id] = changed(job_id, change, size, at)
        waiting = [job for job in plain.values() if job.status is JobStatus.QUEUED]
        working = [job for job in plain.values() if job.status is JobStatus.RUNNING and not job.delivers]
        assert dict(live) == plain
        assert live.count(LivePhase.WAITING) == len(waiting)
        assert {job.id for job in live.working()} == {job.id for job in working}
        assert live.count(LivePhase.DELIVERING) == len(plain) - len(waiting) - len(working)
        assert live.oldest_waiting_at() == min((job.created_at for job in waiting), default=None)
        totals = sorted(sum(item.size_bytes for item in job.inputs) for job in plain.values())
        assert live.largest_jobs_bytes(2) == totals[-2:] and live.rendition_bytes == 10 * sum(totals)
        assert live.largest_bytes(2) == sorted(job.expected_sound_bytes for job in plain.values())[-2:]
