"""What a job found in its inputs, compared but for the rounding of probabilities."""

import json
from pathlib import Path
from typing import Any

import pytest

from btworker.job_folder import JobFolder

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")


HELD_OUT = Path("tests/data/heldout")


ROUNDED = frozenset({"avg_logprob", "no_speech_prob", "probability", "confidence"})
"""What other windows in a batch move by a rounding."""


def transcripts(folder: Path, count: int) -> list[dict[str, Any]]:
    """All that was found in each input, but for where it came from."""
    found = [json.loads(JobFolder(folder).transcript(index).read_bytes()) for index in range(count)]
    return [{name: value for name, value in one.items() if name != "provenance"} for one in found]


def assert_same(found: Any, wanted: Any, name: str = "") -> None:
    """Everything, but for the rounding of probabilities."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_same(found[key], value, key)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), name
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other, name)
    elif name in ROUNDED:
        assert found == pytest.approx(wanted, abs=1e-3), name
    else:
        assert found == wanted, name
