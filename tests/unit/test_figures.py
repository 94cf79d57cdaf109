"""The figures of `btworker bench`, from a measurement that is known."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from btworker.cli.figures import Figures, percentile
from btworker.cli.load import Measured, Measurement
from btworker.client.model import read_job

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def job(*, waited_s: float, took_s: float, audio_s: float, gpu: str | None = None) -> Any:
    """One that ended well."""
    started = BEGAN + timedelta(seconds=waited_s)
    return read_job({
        "workerJobId": "wk_0", "status": "complete", "createdAt": BEGAN.isoformat(), "startedAt": started.isoformat(),
        "finishedAt": (started + timedelta(seconds=took_s)).isoformat(), "options": {"model": "small"},
        "inputs": [{"filename": "a", "durationSeconds": audio_s}], "gpu": gpu,
        "timings": {"decode": 0.1 * took_s, "transcribe": 0.8 * took_s},
    })  # fmt: skip


@pytest.fixture
def figures() -> Figures:
    """Two jobs of a minute, one after the other, and one that was refused."""
    return Figures(
        Measurement(
            url="http://box",
            concurrency=2,
            wall_s=20.0,
            jobs=[
                Measured(2**20, 0.5, 3.0, job(waited_s=0.0, took_s=4.0, audio_s=60.0)),
                Measured(2**20, 0.25, 7.0, job(waited_s=4.0, took_s=6.0, audio_s=60.0)),
                Measured(0, 0.0, None, None, "the queue is full"),
            ],
            health_ms=[float(n) for n in range(1, 101)],
            ping={"version": "1", "maxConcurrentJobs": 1, "gpuName": None},
            versions={"torch": "2.2.2", "python": "3.11"},
        )
    )


def test_speeds_are_of_what_was_done(figures: Figures) -> None:
    """Audio over the wall clock, and over the time at work; a refused job is counted and nothing else."""
    found = figures.to_dict()
    assert (found["jobs"], found["failed"]) == (3, ["the queue is full"])
    assert (found["timesRealTime"], found["timesRealTimeAtWork"]) == (6.0, 12.0)
    assert found["uploadBytesPerSecond"] == [2**21, 2**22]
    assert found["firstTextSeconds"] == [3.0, 7.0]
    assert found["queueSeconds"] == [0.0, 4.0]
    assert found["healthLiveMs"] == {"looks": 100, "unanswered": 0, "median": 50.0, "p99": 99.0, "longest": 100.0}


def test_stages_are_shares_of_the_time_at_work(figures: Figures) -> None:
    """They are 1 together: what no stage took is there under a name of its own."""
    assert figures.stages == {
        "transcribe": pytest.approx(0.8),
        "decode": pytest.approx(0.1),
        "other": pytest.approx(0.1),
    }
    assert sum(figures.stages.values()) == pytest.approx(1.0)


def test_the_table_says_where_it_was_measured(figures: Figures) -> None:
    """Model, device, versions, jobs and why some failed stand beside the speed."""
    rows = dict(figures.rows())
    assert rows["model"] == "small on the CPU"
    assert rows["versions"] == "torch 2.2.2"
    assert rows["jobs"] == "3, 2 on their way at once; 1 failed"
    assert rows["speed"] == "6.0x real time: 2:00 of audio in 20.0 s, uploads included"
    assert rows["upload"] == "3.0 MB/s (median; slowest 2.0 MB/s), 2.0 MB in all"
    assert rows["failed"] == "the queue is full"


def on_gpus(*gpus: str | None) -> Measurement:
    """A job of an hour on each, all within 36 s."""
    jobs = [Measured(2**20, 1.0, None, job(waited_s=0.0, took_s=30.0, audio_s=3600.0, gpu=gpu)) for gpu in gpus]
    return Measurement("http://box", 2, wall_s=36.0, jobs=jobs, ping={"gpuName": "a card"})


@pytest.mark.parametrize(
    ("gpus", "hours", "price", "text"),
    [
        (("GPU-a", "GPU-a"), 200.0, 0.01, "200 hours of audio for an hour of a GPU"),
        (("GPU-a", "GPU-b", "GPU-b"), 150.0, 2 / 150, "150 hours of audio for an hour of a GPU (2 had jobs)"),
        ((None,), None, 0.02, "100 hours of audio for an hour of this machine"),
    ],
)
def test_what_audio_costs(gpus: tuple[str | None, ...], hours: float | None, price: float, text: str) -> None:
    """The price of each GPU that had a job, or of the machine, over the audio of the whole time; nothing is claimed
    without a price."""
    found = Figures(on_gpus(*gpus), price_per_hour=2.0)
    assert found.to_dict()["audioHoursPerGpuHour"] == hours
    assert found.to_dict()["pricePerAudioHour"] == pytest.approx(price)
    assert dict(found.rows())["costs"] == f"{text}: {price:.3g} each, at 2 an hour"
    plain = Figures(on_gpus(*gpus))
    assert plain.to_dict()["pricePerAudioHour"] is None and dict(plain.rows())["costs"] == text


def test_no_result_is_no_speed() -> None:
    """Nothing is divided by nothing, and nothing is said of what was not measured."""
    figures = Figures(Measurement("http://box", 1, jobs=[Measured(0, 0.0, None, None, "no")], ping={}))
    assert figures.to_dict()["timesRealTime"] is None
    assert not {"speed", "costs"} & set(dict(figures.rows()))
    assert Figures(Measurement("http://box", 1), price_per_hour=2.0).to_dict()["pricePerAudioHour"] is None


@pytest.mark.parametrize(("share", "value"), [(0.5, 2.0), (0.99, 4.0), (1.0, 4.0), (0.01, 1.0)])
def test_percentiles_are_values_that_were_seen(share: float, value: float) -> None:
    """Nearest rank."""
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == value
