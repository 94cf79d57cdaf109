"""Hugging Face's Whisper: its config.json as dimensions, and its names of weights as openai-whisper's."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from whisper.model import ModelDimensions

from btworker.checkpoints.folder import read_json
from btworker.engine.asr.checkpoint_file import CheckpointError

LAYER = re.compile(r"(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")
PARTS = {
    "self_attn.q_proj": "attn.query",
    "self_attn.k_proj": "attn.key",
    "self_attn.v_proj": "attn.value",
    "self_attn.out_proj": "attn.out",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn.q_proj": "cross_attn.query",
    "encoder_attn.k_proj": "cross_attn.key",
    "encoder_attn.v_proj": "cross_attn.value",
    "encoder_attn.out_proj": "cross_attn.out",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}
"""Of a layer: theirs -> ours."""
OTHERS = {
    "encoder.embed_positions.weight": "encoder.positional_embedding",
    "decoder.embed_positions.weight": "decoder.positional_embedding",
    "decoder.embed_tokens.weight": "decoder.token_embedding.weight",
    "encoder.layer_norm.weight": "encoder.ln_post.weight",
    "encoder.layer_norm.bias": "encoder.ln_post.bias",
    "decoder.layer_norm.weight": "decoder.ln.weight",
    "decoder.layer_norm.bias": "decoder.ln.bias",
}
OUTPUT = "proj_out.weight"
"""The matrix that scores tokens: the embedding's, which has the same numbers."""
DIMENSIONS = {
    "n_mels": "num_mel_bins",
    "n_audio_ctx": "max_source_positions",
    "n_audio_state": "d_model",
    "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers",
    "n_vocab": "vocab_size",
    "n_text_ctx": "max_target_positions",
    "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads",
    "n_text_layer": "decoder_layers",
}
SPECTROGRAM = {"sampling_rate": 16_000, "hop_length": 160, "n_fft": 400, "chunk_length": 30, "do_normalize": False}
"""Of preprocessor_config.json: what the spectrogram here is made by. What is missing there is this."""


def dimensions(config: Mapping[str, Any]) -> ModelDimensions:
    """Read config.json. Raises CheckpointError where it is no Whisper's as OpenAI built them."""
    sizes = {ours: config.get(theirs) for ours, theirs in DIMENSIONS.items()}
    missing = [theirs for ours, theirs in DIMENSIONS.items() if type(sizes[ours]) is not int]
    if missing:
        raise CheckpointError(f"has a config.json without {missing[0]}")
    wanted = {"activation_function": "gelu", "scale_embedding": False, "tie_word_embeddings": True}
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise CheckpointError(f"is built in another way than Whisper: its {name} is {str(config[name])[:40]!r}")
    return ModelDimensions(**sizes)


def check_spectrogram(folder: Path, n_mels: int) -> None:
    """Raises CheckpointError where the model wants sound in another form than it would be given."""
    about = read_json(folder / "preprocessor_config.json")
    about = about or read_json(folder / "processor_config.json").get("feature_extractor") or {}
    for name, value in {**SPECTROGRAM, "feature_size": n_mels}.items():
        if about.get(name, value) != value:
            found = f"{name}={str(about[name])[:40]}"
            raise CheckpointError(f"wants sound as it is not made here: {found} in its preprocessor_config.json")


def openai_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights openai-whisper's names. One that has none keeps its own, and fits no model then."""
    named = {_openai_name(name.removeprefix("model.")): value for name, value in state.items() if name != OUTPUT}
    # a bias of keys adds the same to all scores of a query, and the softmax takes it away again
    return {name: value for name, value in named.items() if not name.endswith("attn.key.bias")}


def _openai_name(name: str) -> str:
    found = LAYER.fullmatch(name)
    if found is None:
        return OTHERS.get(name, name)
    side, index, part, kind = found.groups()
    return f"{side}.blocks.{index}.{PARTS.get(part, part)}.{kind}"
