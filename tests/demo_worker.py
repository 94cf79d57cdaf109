"""What the embedded model comes with, and settings of a worker that serves it, with speakers."""

from btworker.cli.embedded import CHECKPOINT, PIPELINE

DEMO = CHECKPOINT.parent
"""The folder of the sample recording."""
DEMO_WORKER = {
    "WORKER_ENGINE": "btworker.engine.engine:load",
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": f"demo={CHECKPOINT}",
    "WORKER_DIARIZATION_PIPELINE": str(PIPELINE),
    "WORKER_OFFLINE": "true",
}
