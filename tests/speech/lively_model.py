"""A Whisper of random weights that listens: what it says depends on the sound and on its prompt, timestamps come in
pairs, and texts end at different steps. For comparing decoders, where every row of a batch should go its own way.
"""

from dataclasses import dataclass
from typing import Any

import torch
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.decoding.network import Network

DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=64, n_audio_head=2, n_audio_layer=2,
    n_vocab=51865, n_text_ctx=96, n_text_state=64, n_text_head=2, n_text_layer=2,
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One set of weights, in openai-whisper's hands and in ours."""

    whisper: Any
    network: Network
    tokenizer: Any


def lively_pair(*, seed: int, ends: float) -> Pair:
    """`ends` is how much the end of the text is liked; it grows with the text."""
    tokenizer = get_tokenizer(multilingual=True, num_languages=99)
    torch.manual_seed(seed)
    model = Whisper(DIMS)
    with torch.no_grad():
        decoder = model.decoder
        torch.nn.init.normal_(decoder.positional_embedding, std=0.3)
        torch.nn.init.normal_(decoder.token_embedding.weight, std=0.05)
        for block in decoder.blocks:
            block.cross_attn.value.weight *= 10
            block.cross_attn.out.weight *= 10
            block.cross_attn.query.weight *= 4
            block.cross_attn.key.weight *= 4
            block.attn.value.weight *= 3
        # of the last layer's features one is constant, and so a bias on tokens; one grows with the position
        decoder.ln.weight.fill_(30.0)
        decoder.ln.weight[:2] = torch.tensor([0.0, 1.0])
        decoder.ln.bias[0] = 1.0
        decoder.positional_embedding[:, 1] = torch.linspace(-4, 4, DIMS.n_text_ctx)
        liked = decoder.token_embedding.weight
        liked[:, :2] = 0.0
        liked[tokenizer.timestamp_begin :, 0] = 15.0
        liked[tokenizer.eot, :2] = torch.tensor([ends, 6.0])
        liked[tokenizer.no_speech, 0] = 6.0
    network = Network(model.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    return Pair(model.eval(), network, tokenizer)
