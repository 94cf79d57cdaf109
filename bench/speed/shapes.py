"""Models of the true shapes with random weights that talk for exactly as long as the sound asks them to.

Random weights never end a text, and peers cannot be made to say a given number of tokens in the same way. So the
weights say it: the lowest mel band of a window carries a level, which the encoder hands through, one head of the last
decoder layer adds to a ramp over the positions, and the end of the text is certain where the sum turns positive. Two
channels carry each value with opposite signs, so that no layer norm shifts it. All other weights are random: tokens
depend on the sound and on the text so far, and timestamps come as the rules have it. Nobody's code is changed.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

SEED = 20_260
LONGEST = 220
"""Tokens of a text; openai-whisper stops at 224."""
STARTS = 3
"""The signs before a text."""
STEP = 0.1
"""By how much a channel of the ramp grows from position to position."""
LARGEST_LOGIT = 55_000.0
"""fp16 ends at 65,504."""
SPREAD = 6.0
"""Standard deviation of the logits."""
STAMPS = 5.5
"""What timestamps have in advance: about as many texts in a window as a speaker would make."""
LEVEL, GROUND = 0, 1
"""Channels of the encoder: the level, and one that stays 0."""
BIAS, UP, DOWN = 0, 1, 2
"""Channels of the decoder: a constant, and the ramp with both signs."""
MOST_TRIES = 25
BEND = 3.0
"""Below, gelu changes what goes through it."""
GAIN = 4.0
"""From what the encoder hands through to the ramp."""

SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "small": ModelDimensions(80, 1500, 768, 12, 12, 51865, 448, 768, 12, 12),
    "large-v3": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
    "turbo": ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
    "toy": ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 2),
}


def tokenizer_of(dims: ModelDimensions) -> Any:
    """openai-whisper's, for English."""
    languages = dims.n_vocab - 51765 - 1
    return get_tokenizer(multilingual=True, num_languages=languages, language="en", task="transcribe")


@torch.no_grad()
def talking_model(dims: ModelDimensions, device: torch.device, *, seed: int = SEED) -> Whisper:
    """openai-whisper's model in float32, as its own load_model gives it."""
    torch.manual_seed(seed)
    with device:
        model = Whisper(dims).eval()
    _random_text(model)
    _hand_level_through(model)
    _end_on_the_ramp(model)
    return model


def _random_text(model: Whisper) -> None:
    """Weights with which what is said depends on the sound and on what was said."""
    decoder, dims = model.decoder, model.dims
    torch.nn.init.normal_(decoder.positional_embedding, std=1.0)
    torch.nn.init.normal_(decoder.token_embedding.weight, std=0.05)
    for block in decoder.blocks:
        block.cross_attn.value.weight *= 10
        block.cross_attn.out.weight *= 2 / dims.n_text_layer
        block.cross_attn.query.weight *= 4
        block.cross_attn.key.weight *= 4
        block.attn.value.weight *= 3
        for adds in (block.attn.out, block.mlp[2]):  # as much in all for many layers as for four
            adds.weight *= 2 / dims.n_text_layer**0.5
            adds.bias *= 2 / dims.n_text_layer**0.5
    decoder.ln.weight.fill_(SPREAD / (0.05 * dims.n_text_state**0.5))


def _hand_level_through(model: Whisper) -> None:
    """The lowest mel band reaches LEVEL and nothing else; nothing else reaches LEVEL or GROUND, or reads them."""
    encoder, both = model.encoder, [LEVEL, GROUND]
    for conv in (encoder.conv1, encoder.conv2):
        conv.weight[both] = 0.0
        conv.bias[both] = 0.0
        conv.weight[:, 0] = 0.0  # of the first: the lowest band; of the second: LEVEL
        conv.weight[LEVEL, 0, 1] = 1.0
    encoder.positional_embedding[:, both] = 0.0
    for block in encoder.blocks:
        _leave_alone(block, both)
    for block in model.decoder.blocks:
        for read in (block.cross_attn.key, block.cross_attn.value):
            read.weight[:, both] = 0.0


def _end_on_the_ramp(model: Whisper) -> None:
    """One head hears the level of all positions, and adds it to the ramp; the end is sure where that is positive."""
    decoder, tokenizer, ramp = model.decoder, tokenizer_of(model.dims), [UP, DOWN]
    for block in decoder.blocks:
        _leave_alone(block, ramp)
    hears = decoder.blocks[-1].cross_attn
    head = slice(0, model.dims.n_text_state // model.dims.n_text_head)
    for part in (hears.query, hears.value):
        part.weight[head] = 0.0
        part.bias[head] = 0.0
    hears.value.weight[0, LEVEL], hears.value.weight[0, GROUND] = GAIN, -GAIN
    hears.out.weight[UP, 0], hears.out.weight[DOWN, 0] = 1.0, -1.0
    grows = STEP * (
        torch.arange(model.dims.n_text_ctx, device=decoder.positional_embedding.device) - (LONGEST + STARTS)
    )
    decoder.positional_embedding[:, UP], decoder.positional_embedding[:, DOWN] = grows, -grows
    decoder.ln.weight[BIAS], decoder.ln.bias[BIAS] = 0.0, 1.0
    decoder.ln.weight[ramp] = 1.0
    liked = decoder.token_embedding.weight
    liked[:, [BIAS, *ramp]] = 0.0
    liked[tokenizer.timestamp_begin :, BIAS] = STAMPS
    liked[tokenizer.eot] = 0.0
    sure = LARGEST_LOGIT / (2 * model.dims.n_text_state) ** 0.5  # two channels that outweigh all others
    liked[tokenizer.eot, UP], liked[tokenizer.eot, DOWN] = sure, -sure


def _leave_alone(block: Any, channels: list[int]) -> None:
    """Neither read nor write them."""
    attentions = [block.attn] + ([block.cross_attn] if block.cross_attn else [])
    for write in (*(attention.out for attention in attentions), block.mlp[2]):
        write.weight[channels] = 0.0
        write.bias[channels] = 0.0
    own = (block.attn.query, block.attn.key, block.attn.value, block.mlp[0])
    for read in (*own, *([block.cross_attn.query] if block.cross_attn else [])):
        read.weight[:, channels] = 0.0


@torch.no_grad()
def windows_for(model: Whisper, lengths: Sequence[int], *, seed: int = SEED) -> list[Tensor]:
    """Mels of noise, (n_mels, 3000) float32 on the CPU, of each of which the model says so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    levels: dict[int, float] = {}
    mels = []
    for length in lengths:
        mel = torch.randn(model.dims.n_mels, 3000, generator=generator)
        levels[length] = _set_level(model, mel, length, first_try=levels.get(length, 3.5))
        mels.append(mel)
    return mels


def _set_level(model: Whisper, mel: Tensor, length: int, *, first_try: float) -> float:
    """Give the noise the level for this length. It acts through a layer norm, x / sqrt(others + x^2), and for small
    ones through the bend of gelu as well, where halving what is left is surer than the formula.
    """
    size, level = model.dims.n_audio_state, first_try
    low, high = 0.0, 50.0
    wanted = STEP * (LONGEST + 1.5 - length)
    target = wanted / GAIN
    for _ in range(MOST_TRIES):
        mel[0] = level
        heard = _shift(model, mel)
        if abs(heard - wanted) < STEP / 8:
            return level
        low, high = (level, high) if heard < wanted else (low, level)
        others = level**2 * max(size / (heard / GAIN) ** 2 - 1, 1e-6)
        level = target * (others / (size - target**2)) ** 0.5
        if not low + (high - low) / 20 < level < high - (high - low) / 20 and level < BEND:
            level = (low + high) / 2
    raise SystemExit(f"no level of the sound makes the model say {length} tokens")


def _shift(model: Whisper, mel: Tensor) -> float:
    """What the window's level adds to the ramp."""
    at = next(model.parameters())
    heard = model.encoder(mel[None].to(at.device, at.dtype)).float()
    return float(((heard[..., LEVEL] - heard[..., GROUND]) * GAIN).mean())


def lengths_of_case(case: str, count: int, *, fixed: int) -> list[int]:
    """Tokens of each window: F forces `fixed` for all; V is the published list below, over and over."""
    if case == "F":
        return [fixed] * count
    return [VARIED[index % len(VARIED)] for index in range(count)]


VARIED = (76, 12, 103, 88, 61, 140, 45, 83, 97, 24, 118, 70, 79, 52, 131, 37)
"""Case V: the lengths of windows as speech fills them; their mean is 76."""
