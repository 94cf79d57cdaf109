"""The whole way: from the upload to speaker-labelled files on the client's disk, through the real server.

Jobs lie in the queue of one child, as they do for a user with many files; loading the models is not counted.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.speed.recordings import Recording
from btworker.client import Client

ROOT = Path(__file__).resolve().parents[2]
READY_S = 300.0
OPTIONS = {"decode": "fast", "diarizationEnabled": True, "outputs": ["json", "srt", "rttm"]}
"""Word times and language detection are on by default."""


@dataclass
class Way:
    """Seconds of the whole way, and of each stage of all jobs."""

    audio_s: float
    seconds: float
    upload_s: float
    download_s: float
    stages_s: dict[str, float]

    @property
    def times_real_time(self) -> float:
        """Audio seconds per second."""
        return self.audio_s / self.seconds


def environment(*, device: str, threads: int) -> dict[str, str]:
    """The server's settings: the embedded models, and nothing downloaded."""
    return {
        "WORKER_ENGINE": "btworker.engine.engine:load",
        "WORKER_DEVICE": device,
        "WORKER_MODEL": "demo",
        "WORKER_MODELS": f"demo={ROOT / 'btworker' / 'demo' / 'whisper-tiny-words.pt'}",
        "WORKER_DIARIZATION_PIPELINE": str(ROOT / "btworker" / "demo" / "diarization"),
        "WORKER_OFFLINE": "true",
        "WORKER_CPU_THREADS": str(threads),
    }


async def measure(url: str, token: str, recordings: Sequence[Recording], folder: Path) -> Way:
    """Upload all, wait for all, fetch all into the folder. Ends the bench where a job fails."""
    async with Client(url, token) as client:
        await _until_ready(client)
        start = time.perf_counter()
        jobs = [await client.send(recording.path, OPTIONS) for recording in recordings]
        uploaded = time.perf_counter()
        ended = [await client.wait(job.id) for job in jobs]
        complete = time.perf_counter()
        for job in ended:
            if job.error_code:
                raise SystemExit(f"a job ended as {job.status.value}: {job.error_message}")
            for output in job.outputs:
                await client.download(job.id, output.filename, folder)
        end = time.perf_counter()
    stages: dict[str, float] = {}
    for job in ended:
        for name, seconds in job.timings_s.items():
            stages[name] = stages.get(name, 0.0) + seconds
    audio_s = sum(recording.seconds for recording in recordings)
    return Way(audio_s, end - start, uploaded - start, end - complete, stages)


async def _until_ready(client: Client) -> None:
    deadline = time.monotonic() + READY_S
    while (await client.readiness())["status"] != "ready" or not (await client.ping())["diarization"]:
        if time.monotonic() > deadline:
            raise SystemExit(f"the server is not ready: {await client.readiness()}")
        await asyncio.sleep(0.2)
