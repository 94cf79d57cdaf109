"""The network while it trains: whisper's own modules, a small table of the tokens in use, and auxiliary heads.

Training sees about 1,900 token rows instead of 51,865: words, their capitalised twins (a shared offset apart), the
specials, the 1,501 timestamps (a projection of sinusoids, so that neighbours are alike) and one row that stands for
everything else. `export` writes them out as an ordinary whisper checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from whisper.model import ModelDimensions, ResidualAttentionBlock, Whisper, sinusoids

from .corpus import WORDS
from .vocabulary import TIMESTAMP_COUNT, VOCABULARY_SIZE, TokenTable

WIDTH = 128
LONGEST_SENTENCE = 8
DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=WIDTH, n_audio_head=4, n_audio_layer=4,
    n_vocab=VOCABULARY_SIZE, n_text_ctx=448, n_text_state=WIDTH, n_text_head=4, n_text_layer=4,
)  # fmt: skip
ALIGNED_LAYERS = range(DIMS.n_text_layer // 2, DIMS.n_text_layer)  # whisper's default alignment heads
LOCATING_LAYER, LOCATING_HEADS = DIMS.n_text_layer // 2 - 1, 2  # these look at the word that was just written
_HEAD_SHIFTS = ((-4, -1, 1, 4), (-10, -3, 3, 10), (-20, -6, 6, 20), (-36, -12, 12, 0))  # in frames


@dataclass(frozen=True)
class Output:
    """What the losses need; rows are those from <|startoftranscript|> on."""

    logits: Tensor  # (batch, rows, table)
    frame_words: Tensor  # (batch, frames, words + 1)
    frame_previous: Tensor
    frame_numbers: Tensor  # (batch, frames, LONGEST_SENTENCE + 1)
    frame_origins: Tensor  # (batch, frames, width): the positional embedding of the sentence's first frame
    attention: list[Tensor]  # of each aligned layer: log-softmax (batch, heads, rows, frames)
    locating: Tensor  # the same for the heads that look back


class TokenRows(nn.Module):
    """The embedding table of the tokens in use, built from few parameters."""

    twin: Tensor  # row of the plain word of each capitalised one
    waves: Tensor  # sinusoids of the timestamps
    compact: Tensor  # row of each of whisper's ids

    def __init__(self, table: TokenTable) -> None:
        super().__init__()
        self.plain_ids = [*table.plain.values(), *table.specials]
        self.capital_ids = list(table.capital.values())
        self.timestamp_begin = table.tokenizer.timestamp_begin
        self.plain = nn.Parameter(torch.randn(len(self.plain_ids), WIDTH) * 0.1)
        self.capital_offset = nn.Parameter(torch.randn(WIDTH) * 0.05)
        self.capital_own = nn.Parameter(torch.zeros(len(self.capital_ids), WIDTH))
        self.timestamp = nn.Linear(WIDTH, WIDTH)
        self.other = nn.Parameter(torch.zeros(WIDTH))
        with torch.no_grad():
            self.timestamp.weight.copy_(torch.eye(WIDTH) * 0.1)
            self.timestamp.bias.copy_(torch.randn(WIDTH) * 0.1)
        plain_of = {word: row for row, word in enumerate(table.plain)}
        self.register_buffer("twin", torch.tensor([plain_of[word] for word in table.capital]), persistent=False)
        self.register_buffer("waves", sinusoids(TIMESTAMP_COUNT, WIDTH), persistent=False)
        ids = self.plain_ids + self.capital_ids + list(range(self.timestamp_begin, VOCABULARY_SIZE))
        self.ids = torch.tensor(ids)
        compact = torch.full((VOCABULARY_SIZE,), len(ids))
        compact[self.ids] = torch.arange(len(ids))
        self.register_buffer("compact", compact, persistent=False)
        self.first_timestamp = len(self.plain_ids) + len(self.capital_ids)
        self.other_bias = math.log(VOCABULARY_SIZE - len(ids))

    def forward(self) -> Tensor:
        """(used + 1, width); the last row is that of every unused token."""
        capital = self.plain[self.twin] + self.capital_offset + self.capital_own
        return torch.cat([self.plain, capital, self.timestamp(self.waves), self.other[None]])

    def recover(self, embedding: Tensor) -> None:
        """Take the parameters that `forward` makes an exported embedding from; the timestamps' by least squares."""
        timed = embedding[self.timestamp_begin :].double()
        waves = torch.cat([self.waves, torch.ones(TIMESTAMP_COUNT, 1)], 1).double()
        # The slowest waves are nearly straight lines: without the limit they would get huge weights that cancel out.
        solved = torch.linalg.lstsq(waves, timed, rcond=1e-6, driver="gelsd").solution
        unused = int((self.compact == len(self.ids)).nonzero()[0])
        with torch.no_grad():
            self.plain.copy_(embedding[self.plain_ids])
            self.capital_offset.zero_()
            self.capital_own.copy_(embedding[self.capital_ids] - self.plain[self.twin])
            self.timestamp.weight.copy_(solved[:-1].T)
            self.timestamp.bias.copy_(solved[-1])
            self.other.copy_(embedding[unused])


class Student(nn.Module):
    """A Whisper with the compact token table and heads that name the word under each audio frame."""

    def __init__(self, table: TokenTable) -> None:
        super().__init__()
        self.whisper = Whisper(DIMS)
        self.rows = TokenRows(table)
        self.frame_words = nn.Linear(WIDTH, len(WORDS) + 1)
        self.frame_previous = nn.Linear(WIDTH, len(WORDS) + 1)
        self.frame_numbers = nn.Linear(WIDTH, LONGEST_SENTENCE + 1)
        self.frame_origins = nn.Linear(WIDTH, WIDTH)
        _initialise(self.whisper)

    def load_exported(self, checkpoint: dict[str, dict[str, Tensor]]) -> None:
        """Go on from what `export` wrote; the auxiliary heads, which it leaves out, stay as they are."""
        weights = {name: value.float() for name, value in checkpoint["model_state_dict"].items()}
        self.whisper.load_state_dict(weights)
        self.rows.recover(weights["decoder.token_embedding.weight"])

    def encode(self, mel: Tensor, offsets: Tensor) -> Tensor:
        """Clips of n frames, each at its own place of the 1,500."""
        encoder = self.whisper.encoder
        x = functional.gelu(encoder.conv2(functional.gelu(encoder.conv1(mel)))).permute(0, 2, 1)
        places = offsets[:, None] + torch.arange(x.shape[1])
        x = x + encoder.positional_embedding[places]
        for block in encoder.blocks:
            x = x + _self_attention(block, x, causal=False)
            x = x + block.mlp(block.mlp_ln(x))
        return encoder.ln_post(x)

    def forward(self, mel: Tensor, offsets: Tensor, tokens: Tensor, first: Tensor, row_count: int) -> Output:
        """Every window is encoded once, however many token sequences (in a row) belong to it."""
        heard = self.encode(mel, offsets)
        audio = heard.repeat_interleave(len(tokens) // len(mel), 0)
        decoder, table = self.whisper.decoder, self.rows()
        x = functional.embedding(self.rows.compact[tokens], table) + decoder.positional_embedding[: tokens.shape[1]]
        picked = (first[:, None] + torch.arange(row_count)).clamp(max=tokens.shape[1] - 1)
        attention: list[Tensor] = []
        locating = x.new_zeros(0)
        for number, block in enumerate(decoder.blocks):
            x = x + _self_attention(block, x, causal=True)
            context, query, key = _cross_attention(block, x, audio)
            if number in ALIGNED_LAYERS:
                attention.append(_row_attention(query, key, picked))
            elif number == LOCATING_LAYER:
                locating = _row_attention(query[:, :LOCATING_HEADS], key[:, :LOCATING_HEADS], picked)
            x = x + context
            x = x + block.mlp(block.mlp_ln(x))
        chosen = decoder.ln(x).gather(1, picked[:, :, None].expand(-1, -1, WIDTH))
        logits = chosen @ table.T
        logits = torch.cat([logits[..., :-1], logits[..., -1:] + self.rows.other_bias], -1)
        return Output(
            logits=logits,
            frame_words=self.frame_words(heard),
            frame_previous=self.frame_previous(heard),
            frame_numbers=self.frame_numbers(heard),
            frame_origins=self.frame_origins(heard),
            attention=attention,
            locating=locating,
        )


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (DIMS.n_text_head, -1)).transpose(1, 2)


def _self_attention(block: ResidualAttentionBlock, x: Tensor, *, causal: bool) -> Tensor:
    attn, x = block.attn, block.attn_ln(x)
    query, key, value = _heads(attn.query(x)), _heads(attn.key(x)), _heads(attn.value(x))
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return attn.out(mixed.transpose(1, 2).flatten(2))


def _cross_attention(block: ResidualAttentionBlock, x: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    attn = block.cross_attn
    query = _heads(attn.query(block.cross_attn_ln(x)))
    key, value = _heads(attn.key(audio)), _heads(attn.value(audio))
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return attn.out(mixed.transpose(1, 2).flatten(2)), query, key


def _row_attention(query: Tensor, key: Tensor, picked: Tensor) -> Tensor:
    """Log-softmax of some rows' attention: (batch, heads, rows, frames)."""
    index = picked[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[-1])
    scores = query.gather(2, index) @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.log_softmax(-1)


def _initialise(model: Whisper) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "token_embedding" not in name:
            fan_in = parameter[0].numel()
            deep = name.endswith(("out.weight", "mlp.2.weight"))
            nn.init.normal_(parameter, std=(0.4 if deep else 0.8) / math.sqrt(fan_in))
    with torch.no_grad():
        model.decoder.positional_embedding.copy_(0.1 * sinusoids(DIMS.n_text_ctx, WIDTH))
        for block, shifts in zip(model.encoder.blocks, _HEAD_SHIFTS, strict=True):
            _look_nearby(block, shifts)


def _look_nearby(block: ResidualAttentionBlock, shifts: tuple[int, ...], gain: float = 1.5) -> None:
    """Start each head of an encoder layer as a look at the frame `shift` away, by rotating the sinusoids."""
    half, size = WIDTH // 2, WIDTH // len(shifts)
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half))
    waves = torch.arange(4, 4 + 2 * (size // 2), 2)  # every second rate from 0.56 down to 0.007 radians a frame
    block.attn.query.weight.mul_(0.3)
    block.attn.key.weight.mul_(0.3)
    block.attn.query.bias.zero_()
    for head, shift in enumerate(shifts):
        for place, wave in enumerate(waves.tolist()):
            angle = float(rates[wave]) * shift
            row = head * size + 2 * place
            for attention, turn in ((block.attn.query, angle), (block.attn.key, 0.0)):
                weight = attention.weight
                weight[row, wave] += gain * math.cos(turn)
                weight[row, wave + half] += gain * math.sin(turn)
                weight[row + 1, wave] += -gain * math.sin(turn)
                weight[row + 1, wave + half] += gain * math.cos(turn)


def export(student: Student, state: dict[str, Tensor]) -> dict[str, object]:
    """An ordinary whisper checkpoint in fp16 from a student's (averaged) state."""
    current = {name: value.clone() for name, value in student.state_dict().items()}
    student.load_state_dict(state, strict=False)  # the full embedding is not trained, so not averaged
    with torch.no_grad():
        table = student.rows()
        embedding = table[-1].repeat(VOCABULARY_SIZE, 1)
        embedding[student.rows.ids] = table[:-1]
        weights = {name: value.clone() for name, value in student.whisper.state_dict().items()}
    weights["decoder.token_embedding.weight"] = embedding
    student.load_state_dict(current)
    return {
        "dims": asdict(DIMS),
        "model_state_dict": {
            name: value.half() if value.is_floating_point() else value for name, value in weights.items()
        },
    }
