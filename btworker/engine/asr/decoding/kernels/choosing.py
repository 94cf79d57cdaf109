"""Which kernels a network's steps are made with. The fused ones are tried on the GPU, beside torch's own operators,
when a model is loaded: where they do not compile, or give other numbers, steps are made without them.

    python -m btworker.engine.asr.decoding.kernels.choosing   # one line of JSON; btworker doctor starts it for each GPU
"""

import importlib
import json
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.encoding import fastest
from btworker.engine.asr.decoding.kernels.encoding_on_cpu import fastest_on_cpu
from btworker.engine.asr.decoding.kernels.plain import PlainKernels
from btworker.engine.asr.decoding.layers import Norm
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import History, TokenRules, Vocabulary
from btworker.logs import get_logger

log = get_logger()
OLDEST = 3
"""Major version of Triton; no GPU has shown that 2.2, of the stack cu121, works."""
FUSED = "btworker.engine.asr.decoding.kernels.fused"
"""Imported where Triton is wanted alone."""
TOLERANCE = 0.01
"""Half precision rounds by a tenth of it; what is wrong is far beyond."""
SHARES = (1, 2, 4, 8, 16)
"""All that FusedKernels chooses from."""
FAULTS = (
    ImportError,
    OSError,
    RuntimeError,
    AssertionError,
    AttributeError,
    TypeError,
    ValueError,
    subprocess.SubprocessError,
)
PLAIN = PlainKernels()


@dataclass(frozen=True, slots=True)
class Sizes:
    """Those of a model, by default of large-v3."""

    heads: int = 20
    width: int = 64
    sound: int = 1500
    text: int = 448


def set_kernels(network: Network, *, wanted: bool = True) -> None:
    """Give a network those of its device: the faster attention for the encoder, and on a GPU Triton's where they are
    `wanted`; the log says why they are not."""
    device, dims = network.device, network.dims
    width = dims.n_audio_state // dims.n_audio_head
    if device.type != "cuda":
        network.encoder_attention = fastest_on_cpu(network.products, dims.n_audio_ctx, width)
        return
    network.encoder_attention = fastest(dims.n_audio_head, dims.n_audio_ctx, width, network.dtype, device)
    sizes = Sizes(dims.n_text_head, dims.n_text_state // dims.n_text_head, dims.n_audio_ctx, dims.n_text_ctx)
    problem = why_not(device, sizes) if wanted else "WORKER_TRITON=0"
    if problem is None:
        network.kernels = _fused(device)
        return
    message = "steps are made of torch's own kernels, three times as many, at about two thirds of the speed"
    log.warning("step_kernels_off", reason=problem, message=f"{message}; `btworker doctor` says the same")


def why_not(device: torch.device, sizes: Sizes) -> str | None:
    """Find out why Triton's kernels cannot be used there, and what to do; None where they can."""
    try:
        found = version("triton")
    except PackageNotFoundError:
        return "Triton is not installed"
    if int(found.partition(".")[0]) < OLDEST:
        return f"Triton {found}, of this stack, is not used; the stack cu130 has one that is"
    if sizes.width & (sizes.width - 1):
        return f"heads of {sizes.width} numbers are no power of two"
    try:
        wrong = differing(_fused(device), sizes, device)
    except _faults() as error:
        return _missing() or (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"{wrong} gives other numbers than torch; WORKER_TRITON=0 leaves it out" if wrong else None


def _fused(device: torch.device) -> Any:
    processors = torch.cuda.get_device_properties(device).multi_processor_count
    return importlib.import_module(FUSED).FusedKernels(processors)


def _faults() -> tuple[type[Exception], ...]:
    """List what a missing compiler, a folder that cannot be written to, a kernel that cannot be compiled or a launch
    that fails may raise. Triton's own errors are of no kind of Python's."""
    with suppress(ImportError, AttributeError):
        return *FAULTS, importlib.import_module("triton.errors").TritonError
    return FAULTS


def _missing() -> str | None:
    """Find what Triton needs besides itself, and does not have."""
    if not (shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler at run time: install gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return f"Triton needs Python's headers at run time: install python3.{sys.version_info.minor}-dev"
    return None


@torch.inference_mode()
def differing(fused: Any, sizes: Sizes, device: torch.device) -> str | None:
    """Run each kernel on numbers by chance, beside torch; name one that is not equal to it."""
    generator = torch.Generator().manual_seed(0)
    half = torch.float16 if device.type == "cuda" else torch.float32

    def chance(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, half)

    rows, size = 3, sizes.heads * sizes.width
    idle = torch.zeros(rows, dtype=torch.bool, device=device)
    positions = torch.tensor([0, sizes.text - 1, sizes.text // 3], device=device)
    qkv, own = chance(rows, 3 * size) / 8, chance(2, rows, sizes.heads, sizes.text, sizes.width)
    pasts = [kernels.to_past(positions, idle, reach=sizes.text)(qkv, own.clone()) for kernels in (fused, PLAIN)]
    query, numbers = chance(rows, size) / 8, chance(2, rows, sizes.heads, sizes.sound, sizes.width)
    sound, in_bytes = KeptSound(numbers), KeptSound.empty(tuple(numbers.shape), half, device, bits=8)
    in_bytes.keep(torch.arange(rows, device=device), numbers)
    wanted = PLAIN.to_sound(idle)(query, sound)
    norm = Norm(chance(size).float(), chance(size).float())
    x, part = chance(rows, size), chance(rows, size)
    normed = [torch.stack(kernels.add_and_norm(x, part, norm)) / 8 for kernels in (fused, PLAIN)]
    found = {"attention to the past": pasts, "residual and norm": normed, "the rules": _by_rules(fused, device)}
    for name, kept in (("of beams", sound.first(1)), ("in bytes", in_bytes)):
        found[f"attention to the sound {name}"] = [kernels.to_sound(idle)(query, kept) for kernels in (fused, PLAIN)]
    for shares in SHARES:
        found[f"attention to the sound in {shares}"] = [fused.attend_to_sound(query, sound, idle, shares), wanted]
    return next((name for name, (one, other) in found.items() if not _equal(one, other)), None)


def _equal(one: Tensor, other: Tensor) -> bool:
    return bool(torch.allclose(one.float(), other.float(), atol=TOLERANCE, rtol=TOLERANCE))


@dataclass(slots=True)
class _Rows:
    """The texts of rows; see Lane."""

    tokens: Tensor
    logprobs: Tensor
    length: Tensor
    limit: Tensor
    done: Tensor
    sum_logprob: Tensor


def _by_rules(fused: Any, device: torch.device) -> list[Tensor]:
    """Choose the next tokens at the beginning, after a word and after a timestamp: (token, log-probability) of each."""
    rows, size = 12, 1000
    rules = TokenRules(
        Vocabulary(end=700, timestamps=800, no_timestamps=799, no_speech=710, blank=(5,), suppressed=(3, 710)),
        size,
        device,
    )
    logits = torch.randn(rows, size, generator=torch.Generator().manual_seed(1)).to(device) * 3
    history = History.empty(rows, device)
    history.timed[::2] = True
    history.first[4:] = False
    history.stamped_before[4:] = False
    history.stamped[8:] = True
    history.latest[8:] = 20
    tokens, numbers = torch.zeros(rows, 4, dtype=torch.long, device=device), torch.zeros(rows, 4, device=device)
    count = torch.ones(rows, dtype=torch.long, device=device)
    texts = _Rows(
        tokens, numbers, count, count + 2, torch.zeros(rows, dtype=torch.bool, device=device), numbers[:, 0].clone()
    )
    best, logprob, _ = rules.choose(logits.clone(), history, None)
    fused.append_best(rules)(logits, history, texts)
    return [torch.stack((tokens[:, 1].float(), numbers[:, 1])), torch.stack((best.float(), logprob))]


if __name__ == "__main__":
    print(json.dumps({"problem": why_not(torch.device("cuda:0"), Sizes())}))  # noqa: T201 - this is the answer
