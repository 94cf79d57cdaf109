"""Which language is spoken in a window: openai-whisper's detection, for many windows at once."""

from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.network import Network


def language_probabilities(network: Network, tokenizer: Any, features: Tensor) -> list[dict[str, float]]:
    """For each window, how probable each language is; `features` has shape (n, 1500, size)."""
    if not network.is_multilingual:
        return [{} for _ in features]
    sot = torch.full((len(features), 1), tokenizer.sot, device=features.device)
    hidden, _ = network.read(sot, network.cross_keys_values(features))
    logits = network.logits(hidden[:, 0])[:, list(tokenizer.all_language_tokens)]
    codes = tokenizer.all_language_codes
    return [dict(zip(codes, row, strict=True)) for row in logits.softmax(-1).tolist()]
