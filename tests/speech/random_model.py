"""A tiny Whisper checkpoint of random weights whose texts end at different steps, and with timestamps in them.

Plain random weights never end a window and are never sure of a token. Here one feature of the decoder's last layer is
constant, which makes it a bias on chosen tokens; and the rest is scaled so that some windows fall back and some do not.
"""

from pathlib import Path

import torch
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=64, n_audio_head=2, n_audio_layer=2,
    n_vocab=51865, n_text_ctx=96, n_text_state=64, n_text_head=2, n_text_layer=2,
)  # fmt: skip


def write_random_checkpoint(path: Path, *, seed: int = 1, sureness: float = 60.0) -> Path:
    """Write the checkpoint; `sureness` scales the logits: the higher, the fewer windows are decoded again."""
    torch.manual_seed(seed)
    model = Whisper(DIMS)
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    with torch.no_grad():
        decoder = model.decoder
        torch.nn.init.normal_(decoder.positional_embedding, std=0.3)
        torch.nn.init.normal_(decoder.token_embedding.weight, std=0.05)
        decoder.ln.weight.fill_(sureness)
        decoder.ln.weight[0] = 0.0
        decoder.ln.bias[0] = 1.0
        bias = decoder.token_embedding.weight[:, 0]
        bias.zero_()
        bias[tokenizer.timestamp_begin :] = 6.0
        bias[tokenizer.eot] = 5.0
        bias[tokenizer.no_speech] = 6.0
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path
