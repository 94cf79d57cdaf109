"""faster-whisper on whole recordings: a request on stdin, transcripts on stdout, as JSON.

Runs in the peers' environment (make bench-peers), which has neither btworker nor torch; engines.py is the other side.
"""

import json
import os
import sys
import time
from typing import Any

import faster_whisper
import numpy as np


def main() -> None:
    """What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    model = faster_whisper.WhisperModel(
        request["model"], device="cpu", compute_type="float32", cpu_threads=request["threads"]
    )
    transcribe: Any = model.transcribe
    more: dict[str, Any] = {}
    if request["batched"]:
        transcribe, more = faster_whisper.BatchedInferencePipeline(model).transcribe, {"batch_size": 8}
    heard = [_heard(path, transcribe, beam_size=request["beams"], **more) for path in request["samples"]]
    json.dump(heard, answers)
    answers.close()


def _heard(path: str, transcribe: Any, **options: Any) -> dict[str, Any]:
    samples = np.load(path).astype(np.float32) / 32768.0
    began = time.process_time()
    found, about = transcribe(samples, word_timestamps=True, **options)
    segments = [
        {
            "text": one.text,
            "start": one.start,
            "end": one.end,
            "words": [{"text": word.word, "start": word.start, "end": word.end} for word in one.words or ()],
            "flagged": False,
            "temperature": one.temperature or 0.0,
        }
        for one in found
    ]
    return {
        "text": "".join(segment["text"] for segment in segments),
        "language": about.language,
        "segments": segments,
        "cpu_s": time.process_time() - began,
        "missing": [],
    }


if __name__ == "__main__":
    main()
