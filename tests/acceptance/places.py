"""Where the embedded model and the held-out recordings are."""

from pathlib import Path

from tests.demo_worker import DEMO_WORKER

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "btworker" / "demo" / "whisper-tiny-words.pt"


HELD_OUT = ROOT / "tests" / "data" / "heldout"
SETTINGS = {
    **DEMO_WORKER,
    "WORKER_MODELS": f"demo={MODEL},other={MODEL}",
    "WORKER_CPU_THREADS": "1",
    "WORKER_MAX_CONCURRENT_JOBS": "4",
    "WORKER_BATCH_SIZE": "4",
}
