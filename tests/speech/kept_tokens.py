"""What transformers makes of the checkpoints in checkpoint_forms.py, kept in tests/data/transformers.json.

python -m tests.speech.kept_tokens    makes the file anew (needs make bench-peers)
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from whisper.model import ModelDimensions

from bench.speed.peers import default_python
from tests.speech.checkpoint_forms import SHAPES, hugging_face, weights, windows

KEPT = Path(__file__).resolve().parents[1] / "data" / "transformers.json"
PEER = Path(__file__).with_name("transformers_peer.py")
MOST_TOKENS = 48
"""As many as are decoded here: half of what the decoder has positions for."""


def asked(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let transformers answer."""
    lines = "".join(f"{json.dumps(request)}\n" for request in requests)
    command = [str(default_python()), "-W", "ignore", str(PEER)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_transformers(scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokens and texts of each shape."""
    requests = []
    for name, shape in SHAPES.items():
        folder = hugging_face(scratch / name, shape, weights(shape))
        np.save(mels := scratch / f"{name}.npy", windows(shape).numpy())
        language = "en" if shape.languages else None
        signs = list(range(shape.tokenizer.eot + 1, shape.plain_size))
        requests.append(
            {"folder": str(folder), "mels": str(mels), "language": language, "signs": signs, "most": MOST_TOKENS}
        )
    yield from zip(SHAPES, asked(requests), strict=True)


def of_base(scratch: Path, state: Mapping[str, Tensor], dims: ModelDimensions, mels: Tensor) -> dict[str, Any]:
    """Tokens and texts of OpenAI's base, written in Hugging Face's form."""
    shape = SHAPES["base"]
    folder = hugging_face(scratch / "base", shape, state, dtype=torch.float16, dims=dims)
    np.save(path := scratch / "base.npy", mels.numpy())
    signs = list(range(shape.tokenizer.eot + 1, shape.plain_size))
    (found,) = asked([{"folder": str(folder), "mels": str(path), "language": "en", "signs": signs, "most": 224}])
    return found


def main() -> int:
    """Write the file."""
    with tempfile.TemporaryDirectory() as scratch:
        found = dict(of_transformers(Path(scratch)))
    KEPT.write_text(json.dumps(found, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
