"""Settings of a worker that serves the embedded model, with speakers."""

from btworker.cli.embedded import CHECKPOINT, PIPELINE

DEMO_WORKER = {
    "WORKER_ENGINE": "btworker.engine.engine:load",
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": f"demo={CHECKPOINT}",
    "WORKER_DIARIZATION_PIPELINE": str(PIPELINE),
    "WORKER_OFFLINE": "true",
}
