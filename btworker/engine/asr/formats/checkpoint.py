"""What every form of a checkpoint is read as: openai-whisper's dimensions and names of weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from whisper.model import ModelDimensions

from btworker.engine.asr.formats.tokens import Tokens

WINDOW_POSITIONS = 1500
"""Of the encoder, for 30 s: all windows here have this length."""
WORDS = "decoder.token_embedding.weight"
"""openai-whisper's name of the matrix with a row for each token."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A Whisper's weights. They may be mapped from the file, and must be copied before that changes."""

    dims: ModelDimensions
    state: Mapping[str, Tensor]
    tokens: Tokens
    alignment_heads: object = None
    """What the file itself has for them, if anything; see engine/asr/alignment_heads.py."""


def suited(dims: ModelDimensions, state: dict[str, Tensor], tokens: Tokens) -> Checkpoint:
    """Make a checkpoint of which each row of the embedding is a token, in the order of `tokens`."""
    rows = tokens.rows(state[WORDS])
    dims.n_vocab = len(rows)
    return Checkpoint(dims, {**state, WORDS: rows}, tokens)
