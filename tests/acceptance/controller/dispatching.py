"""A worker that may reach the controller, and jobs for it."""

import asyncio
import json
from typing import Any

import aiohttp

from tests.acceptance.controller.controller import Controller, Record
from tests.process.server_of import TOKEN

AUTH = {"Authorization": f"Bearer {TOKEN}"}


async def dispatched(controller: Controller, session: aiohttp.ClientSession, record: Record) -> None:
    """Dispatch until the worker has taken it, as the controller does while it gets no answer at all."""
    while not record.worker_job_id:
        try:
            status, answer = await controller.dispatch(session, record)
        except (aiohttp.ClientError, ConnectionError, json.JSONDecodeError):
            await asyncio.sleep(0.1)
            continue
        assert status in (200, 201), answer


def settings(controller: Controller) -> dict[str, str]:
    return {
        "WORKER_ALLOWED_HOSTS": f"127.0.0.1:{controller.port}",
        "WORKER_MODEL": "fake",
        "WORKER_MODELS": "fake",
        "WORKER_LOG_FORMAT": "json",
    }


PROGRESS = {"currentFileIndex", "totalFiles", "percent", "currentFile", "chunkIndex", "totalChunks"}
ALL_OPTIONS: dict[str, Any] = {
    "model": "fake",
    "language": "",
    "includeSegments": True,
    "includeFull": True,
    "includeTimestamps": True,
    "wordTimestamps": True,
    "qualityPreset": "maximum",
    "diarizationEnabled": True,
    "minSpeakers": 2,
    "maxSpeakers": 4,
    "numSpeakers": None,
    "diarizationMaxDurationSeconds": 3600,
    "diarizationAutoSplit": True,
    "diarizationFastSwitching": False,
    "diarizationChunkSeconds": 600,
    "diarizationOverlapSeconds": 30,
    "diarizationEffective": {"maxDurationSeconds": 3600, "numSpeakers": 3, "clamped": {}},
    "diarizationWarnings": [],
    "vadEnabled": False,
    "hallucinationDetection": True,
    "hallucinationSensitivity": 70,
    "noSpeechThreshold": 0.5,
    "backend": "remote",
}
