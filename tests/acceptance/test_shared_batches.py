"""Several jobs in one child, with the real engine: they share its batches, and none knows of the others."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.places import HELD_OUT, SETTINGS
from tests.process.server_of import Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

JOBS = (
    ("12.opus", {"decode": "fast"}),
    ("13.opus", {"decode": "exact"}),
    ("14.opus", {"decode": "fast", "diarizationEnabled": "true"}),
    ("15.opus", {"decode": "exact", "diarizationEnabled": "true"}),
    ("16.opus", {"decode": "fast", "beamSize": "2"}),
)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One child with four slots."""
    with serving(tmp_path_factory.mktemp("shared"), **SETTINGS) as server:
        yield server


def text_of(worker: Server, job: Any) -> str:
    """What was said."""
    stem = job["inputs"][0]["filename"].removesuffix(".opus")
    result = json.loads(worker.output(job["workerJobId"], f"{stem}_transcript.json"))
    return " ".join(f"{one.get('speaker', '')}:{one['text']}" for one in result["segments"])


def upload(worker: Server, name: str, options: dict[str, str]) -> str:
    """The job's id."""
    return worker.upload(name, (HELD_OUT / name).read_bytes(), **options)


@pytest.mark.sliced("whole jobs", 1)
def test_jobs_that_share_a_child_have_the_texts_of_lonely_ones(worker: Server) -> None:
    """Fast and exact, with beams and with speakers, at once and one after the other."""
    together = [worker.ended(job_id) for job_id in [upload(worker, *job) for job in JOBS]]
    assert [job["status"] for job in together] == ["complete"] * len(JOBS)
    assert len(worker.children()) == 2, "more than one child and Python's own resource tracker"
    starts = sorted((job["startedAt"], job["finishedAt"]) for job in together)
    assert starts[1][0] < starts[0][1], "they did not run at the same time"
    for job, (name, options) in zip(together, JOBS, strict=True):
        alone = worker.ended(upload(worker, name, options))
        assert text_of(worker, job) == text_of(worker, alone)


def test_a_cancel_hits_one_of_them(worker: Server) -> None:
    """Its neighbours do not notice, and the child lives."""
    before = until(lambda: family if len(family := worker.children()) == 2 else None, "ffmpeg was tried")
    long = upload(worker, "24.opus", {"decode": "exact"})
    others = [upload(worker, "15.opus", {}), upload(worker, "17.opus", {"decode": "exact"})]
    until(lambda: worker.job(long)["progress"]["chunkIndex"] >= 1)
    worker.request("POST", f"/v1/jobs/{long}/cancel")
    assert worker.ended(long)["status"] == "canceled"
    assert [worker.ended(job_id)["status"] for job_id in others] == ["complete", "complete"]
    assert worker.children() == before


def test_another_model_waits_for_its_turn(worker: Server) -> None:
    """Jobs of two models in one child: all are done, each by its own."""
    ids = [upload(worker, "12.opus", {"model": model}) for model in ("demo", "other", "demo", "other")]
    jobs = [worker.ended(job_id) for job_id in ids]
    assert [job["status"] for job in jobs] == ["complete"] * 4
    results = [json.loads(worker.output(job["workerJobId"], "12_transcript.json")) for job in jobs]
    assert [result["provenance"]["model"] for result in results] == ["demo", "other", "demo", "other"]
    assert len({result["text"] for result in results}) == 1
