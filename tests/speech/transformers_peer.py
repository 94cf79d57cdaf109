"""transformers' tokens for windows, in the peers' environment (make bench-peers), which has no btworker.

    python tests/speech/transformers_peer.py < requests    a JSON object a line, and an answer a line

A request names a folder with a checkpoint, a .npy with mels, a language or null, the signs that may stand before
a text, and how many tokens at most.
"""

import json
import sys
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, WhisperForConditionalGeneration


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Tokens without the signs around them, and their texts."""
    model = WhisperForConditionalGeneration.from_pretrained(
        request["folder"], attn_implementation="eager", torch_dtype=torch.float32
    ).eval()
    words = PreTrainedTokenizerFast(
        tokenizer_file=f"{request['folder']}/tokenizer.json", clean_up_tokenization_spaces=False
    )
    mels = torch.from_numpy(np.load(request["mels"]))
    told = {"language": request["language"], "task": "transcribe"} if request["language"] else {}
    end = model.generation_config.eos_token_id
    tokens = []
    for mel in mels:  # one at a time: a batch is padded
        with torch.inference_mode():
            found = model.generate(mel[None], num_beams=1, do_sample=False, max_new_tokens=request["most"], **told)
        row = found[0].tolist()
        while row and row[0] in request["signs"]:  # those before the text
            row.pop(0)
        tokens.append(row[: row.index(end)] if end in row else row)
    return {"tokens": tokens, "texts": [words.decode(row, skip_special_tokens=True) for row in tokens]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
