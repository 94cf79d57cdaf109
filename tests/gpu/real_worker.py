"""Settings of a worker with a GPU."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


REAL = {
    "WORKER_ENGINE": "btworker.engine.engine:load",
    "WORKER_DEVICE": "cuda",
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": f"demo={ROOT / 'btworker' / 'demo' / 'whisper-tiny-words.pt'}",
    "WORKER_OFFLINE": "true",
}
