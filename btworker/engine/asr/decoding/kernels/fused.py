"""A greedy step on a GPU with one Triton kernel where torch has many: attention to the past, attention to the sound,
residual and layer norm, and the rules with what follows from them. Other passes have the norm's, too. Imported only
where Triton is wanted.

Each is an operator of torch's, so that whoever looks on sees one operation: a recorder, or tensors that are fake.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels import attention, norms, rules
from btworker.engine.asr.decoding.kernels.protocol import AppendBest, AttendToPast, AttendToSound, RowTexts
from btworker.engine.asr.decoding.layers import KeysValues, Norm
from btworker.engine.asr.decoding.rules import History, TokenRules

PAST_LANES, SOUND_LANES, RULE_LANES = 32, 64, 4096
"""Positions, or tokens, that a program reads at once."""
NORM_ROWS = 1
"""Rows that a program adds and norms."""
SOUND_STAGES = 3
"""Blocks of the sound on their way to a program."""
PROGRAMS_PER_PROCESSOR = 4
"""Programs of the attention to the sound that one multiprocessor has room for; where a batch has fewer, each head's
positions are shared out."""
MOST_SHARES = 16


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int, **constants: Any) -> None:
    """Start a kernel."""
    kernel[grid](*arguments, **constants, num_warps=warps)


def _attend_to_past(qkv: Tensor, own: Tensor, positions: Tensor, idle: Tensor) -> Tensor:
    rows, (heads, length, width) = qkv.shape[0], own.shape[2:]
    out = qkv.new_empty(rows, heads * width)
    arguments = (qkv, own, positions, idle, out, heads, length, own.stride(0))
    launch(attention.attend_to_past, (heads, rows), *arguments, warps=2, WIDTH=width, LANES=PAST_LANES)
    return out


def _attend_to_sound(query: Tensor, sound: Tensor, scales: Tensor | None, idle: Tensor, shares: int) -> Tensor:
    rows, (heads, positions, width) = query.shape[0], sound.shape[2:]
    out, is_shared = torch.empty_like(query), shares > 1
    sums = query.new_empty((rows, heads, shares, width), dtype=torch.float32) if is_shared else out
    tops, totals = (query.new_empty((rows, heads, shares), dtype=torch.float32) for _ in range(2))
    sizes = {"SHARES": shares, "WIDTH": width}
    beams = rows // sound.shape[1]
    scaled = (idle, 0) if scales is None else (scales, scales.stride(0))
    numbers = (heads, positions, sound.stride(0), scaled[1])
    arguments = (query, sound, scaled[0], idle, sums, tops, totals, *numbers)
    blocks = -(-positions // (SOUND_LANES * shares))
    wide = {
        "IN_BYTES": scales is not None,
        "BEAMS": beams,
        "BLOCKS": blocks,
        "LANES": SOUND_LANES,
        "STAGES": SOUND_STAGES,
    }
    launch(attention.attend_to_sound, (heads, rows, shares), *arguments, warps=4, **sizes, **wide)
    if is_shared:
        launch(attention.join_shares, (heads, rows), sums, tops, totals, idle, out, heads, warps=1, **sizes)
    return out


def _add_and_norm(x: Tensor, part: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    size = x.shape[-1]
    rows = x.numel() // size
    x, part = x.contiguous(), part.contiguous()  # as they are in all passes
    together, normed = torch.empty_like(x), torch.empty_like(x)
    arguments, block = (x, part, weight, bias, together, normed, rows, size), 1 << (size - 1).bit_length()
    launch(norms.add_and_norm, (-(-rows // NORM_ROWS),), *arguments, warps=4, ROWS=NORM_ROWS, BLOCK=block)
    return together, normed


def _append_best(
    logits: Tensor, bans: Tensor, history: list[Tensor], texts: list[Tensor], vocabulary: list[int]
) -> None:
    end, stamps, size, latest_first = vocabulary
    sizes = {"END": end, "STAMPS": stamps, "SIZE": size, "LATEST_FIRST": latest_first, "LANES": RULE_LANES}
    arguments = (logits, bans, *history, *texts, logits.stride(0), texts[0].stride(0))
    launch(rules.append_best, (logits.shape[0],), *arguments, warps=8, **sizes)


OPERATORS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any]]] = {
    "attend_to_past": (
        "(Tensor qkv, Tensor(a!) own, Tensor positions, Tensor idle) -> Tensor",
        _attend_to_past,
        lambda qkv, *_: qkv.new_empty(qkv.shape[0], qkv.shape[1] // 3),
    ),
    "attend_to_sound": (
        "(Tensor query, Tensor sound, Tensor? scales, Tensor idle, int shares) -> Tensor",
        _attend_to_sound,
        lambda query, *_: torch.empty_like(query),
    ),
    "add_and_norm": (
        "(Tensor x, Tensor part, Tensor weight, Tensor bias) -> (Tensor, Tensor)",
        _add_and_norm,
        lambda x, *_: (torch.empty_like(x), torch.empty_like(x)),
    ),
    "append_best": (
        "(Tensor logits, Tensor bans, Tensor(a!)[] history, Tensor(b!)[] texts, int[] vocabulary) -> ()",
        _append_best,
        lambda *_: None,
    ),
}
"""What each takes and gives, what it does, and what it gives where tensors have no memory."""
_LIBRARY: Any = torch.library.Library("btworker", "FRAGMENT")  # type: ignore[no-untyped-call]
for _name, (_schema, _run, _run_without_memory) in OPERATORS.items():
    _LIBRARY.define(_name + _schema)
    for _key in ("CUDA", "CPU"):  # on a CPU by Triton's interpreter
        _LIBRARY.impl(_name, _run, _key)
    _LIBRARY.impl(_name, _run_without_memory, "Meta")
_OPERATORS: Any = getattr(torch, "ops").btworker  # noqa: B009 - torch does not say that it has them


class FusedKernels:
    """By Triton kernels."""

    name = "triton"
    reads_to_own_end = True

    def __init__(self, processors: int) -> None:
        """`processors` are the GPU's multiprocessors."""
        self._programs = processors * PROGRAMS_PER_PROCESSOR

    def add_and_norm(self, x: Tensor, part: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        """See StepKernels."""
        together, normed = _OPERATORS.add_and_norm(x, part, norm.weight, norm.bias)
        return together, normed

    def to_past(self, positions: Tensor, idle: Tensor, *, reach: int) -> AttendToPast:
        """See StepKernels."""
        del reach

        def attend(qkv: Tensor, own: KeysValues) -> Tensor:
            attended: Tensor = _OPERATORS.attend_to_past(qkv, own, positions, idle)
            return attended

        return attend

    def to_sound(self, idle: Tensor) -> AttendToSound:
        """See StepKernels."""

        def attend(query: Tensor, sound: KeptSound) -> Tensor:
            return self.attend_to_sound(query, sound, idle, self.shares(query.shape[0] * sound.numbers.shape[2]))

        return attend

    def attend_to_sound(self, query: Tensor, sound: KeptSound, idle: Tensor, shares: int) -> Tensor:
        """Attend to the sound, each head's positions in so many shares; tensors as those of `to_sound`."""
        attended: Tensor = _OPERATORS.attend_to_sound(query, sound.numbers, sound.scales, idle, shares)
        return attended

    def shares(self, heads: int) -> int:
        """Choose into how many parts the sound is shared out for so many heads of all rows: a power of two."""
        wanted = max(1, min(self._programs // heads, MOST_SHARES))
        return 1 << (wanted.bit_length() - 1)

    def append_best(self, rules: TokenRules) -> AppendBest:
        """See StepKernels."""
        vocabulary = rules.vocabulary
        numbers = [vocabulary.end, vocabulary.timestamps, rules.size, vocabulary.latest_first]
        return partial(_append, bans_of(rules), numbers)


def bans_of(of: TokenRules) -> Tensor:
    """Write down when each token is banned, in the bits of the kernel; shape (vocabulary,)."""
    vocabulary = of.vocabulary
    bans = torch.zeros(of.size, dtype=torch.uint8)
    bans[list(vocabulary.suppressed)] |= rules.ALWAYS
    bans[[*vocabulary.blank, vocabulary.end]] |= rules.AT_FIRST
    bans[vocabulary.no_timestamps] |= rules.TIMED
    return bans.to(of.device)


def _append(bans: Tensor, vocabulary: list[int], logits: Tensor, history: History, texts: RowTexts) -> None:
    rows = logits.shape[0]
    state = (texts.tokens, texts.logprobs, texts.length, texts.limit, texts.done, texts.sum_logprob)
    views = [tensor[:rows] for tensor in state]
    _OPERATORS.append_best(logits, bans, list(history.tensors), views, vocabulary)
