"""What ships with the project, so that something can be shown without a download. Paths only; cards lie beside them."""

from pathlib import Path

import btworker

EMBEDDED = Path(btworker.__file__).with_name("demo")
CHECKPOINT = EMBEDDED / "whisper-tiny-words.pt"
SAMPLE = EMBEDDED / "sample.flac"
SPOKEN = EMBEDDED / "sample.txt"
"""What is said in the sample."""
PIPELINE = EMBEDDED / "diarization"
DEMO_MODEL = "demo"
"""The name under which the checkpoint is served."""
