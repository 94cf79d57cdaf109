"""What the compiler makes of each Triton kernel of a step, without a GPU: registers, spills, shared memory, by ptxas.

    python -W ignore bench/kernel_reports.py [--shape large-v3] [--batch 1 64] [--architecture 90 100]

Stack cu130. The kernels are those that a step of this shape launches, with its arguments, on tensors without memory.
The last column is how many programs a multiprocessor has room for; the sound is shared out for 132 of them, as an H100
and an H200 have.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from support import ROOT, keep_raw
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench.speed.figures import text_table
from bench.speed.shapes import SHAPES, tokenizer_of
from btworker.engine.asr.decoding.kernels import fused
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary

TYPES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.int64: "i64",
    torch.bool: "i1",
    torch.uint8: "u8",
    torch.int8: "i8",
}
PROCESSORS = 132
REGISTERS, SHARED_BYTES, THREADS = 65536, 227 << 10, 2048
"""Of one multiprocessor of these architectures."""


@dataclass(frozen=True)
class Launch:
    """A kernel as a step starts it."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    warps: int
    constants: dict[str, Any]

    @property
    def source(self) -> Any:
        """What triton compiles, specialised as it does at a launch."""
        names = self.kernel.arg_names
        signature, attributes = {}, {}
        constants = dict(self.constants)
        for number, (name, value) in enumerate(zip(names, self.arguments, strict=False)):
            if isinstance(value, Tensor):
                signature[name] = "*" + TYPES[value.dtype]
            elif value == 1:
                constants[name] = value
                continue
            else:
                signature[name] = "i32" if abs(value) < 2**31 else "i64"
            if isinstance(value, Tensor) or value % 16 == 0:
                attributes[(number,)] = [["tt.divisibility", 16]]
        signature.update(dict.fromkeys(constants, "constexpr"))
        return ASTSource(self.kernel, {name: signature[name] for name in names}, constants, attributes)


@dataclass(frozen=True)
class Report:
    """What the compiler says of it."""

    name: str
    architecture: int
    batch: int
    grid: tuple[int, ...]
    threads: int
    registers: int
    spilled_bytes: int
    shared_bytes: int
    asynchronous_copies: int

    @property
    def room(self) -> int:
        """Programs that one multiprocessor has room for."""
        by_shared = SHARED_BYTES // (self.shared_bytes + 1024)
        return min(REGISTERS // (self.registers * self.threads), by_shared, THREADS // self.threads, 32)

    @property
    def row(self) -> tuple[str, ...]:
        """For the table."""
        numbers = (self.registers, self.spilled_bytes, self.shared_bytes, self.asynchronous_copies, self.room)
        grid = " x ".join(map(str, self.grid))
        return (self.name, f"sm_{self.architecture}", str(self.batch), grid, str(self.threads), *map(str, numbers))


HEADER = (
    "kernel",
    "for",
    "batch",
    "programs",
    "threads",
    "registers",
    "spilled bytes",
    "shared bytes",
    "async copies",
    "a processor",
)


def launches(shape: str, batch: int) -> list[Launch]:
    """Those of the first layer and of the end of a step."""
    found: list[Launch] = []
    fused.launch = lambda kernel, grid, *arguments, warps, **constants: found.append(
        Launch(kernel, grid, arguments, warps, constants)
    )
    dims, half = SHAPES[shape], {"dtype": torch.float16, "device": "meta"}
    size, heads = dims.n_text_state, dims.n_text_head
    places = torch.empty(2, batch, heads, dims.n_text_ctx, size // heads, **half)
    sound = torch.empty(2, batch, heads, dims.n_audio_ctx, size // heads, **half)
    x, idle = torch.empty(batch, size, **half), torch.empty(batch, dtype=torch.bool, device="meta")
    numbers = torch.empty(batch, dtype=torch.long, device="meta")
    fused._attend_to_past(torch.empty(batch, 3 * size, **half), places, numbers, idle)  # noqa: SLF001 - what is launched
    shares = fused.FusedKernels(PROCESSORS).shares(batch * heads)
    fused._attend_to_sound(x, sound, None, idle, shares)  # noqa: SLF001 - as above
    scales = torch.empty(2, batch, heads, 1, size // heads, device="meta")
    fused._attend_to_sound(x, sound.to(torch.int8), scales, idle, shares)  # noqa: SLF001 - as above
    wide = torch.empty(size, device="meta")
    fused._add_and_norm(x, x, wide, wide)  # noqa: SLF001 - as above
    vocabulary = Vocabulary.of(tokenizer_of(dims))
    rules = TokenRules(vocabulary, dims.n_vocab, torch.device("cpu"))
    logits = torch.empty(batch, -(-dims.n_vocab // 8) * 8, **half)[:, : dims.n_vocab]
    text, chances = torch.empty(batch, 450, dtype=torch.long, device="meta"), torch.empty(batch, 450, device="meta")
    history = [idle, idle, idle, numbers, idle]
    texts = [text, chances, numbers, numbers, idle, torch.empty(batch, device="meta")]
    parts = [vocabulary.end, vocabulary.timestamps, rules.size, vocabulary.latest_first]
    fused._append_best(logits, torch.empty(dims.n_vocab, dtype=torch.uint8, device="meta"), history, texts, parts)  # noqa: SLF001
    return found


def report(launch: Launch, architecture: int, batch: int) -> Report:
    """Compile it."""
    target = GPUTarget("cuda", architecture, 32)
    made = triton.compile(launch.source, target=target, options={"num_warps": launch.warps})
    ptx = made.asm["ptx"]
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        name = "ptxas-blackwell" if architecture >= 100 else "ptxas"
        tool = Path(triton.__file__).parent / "backends/nvidia/bin" / name
        arch = re.search(r"\.target (\w+)", ptx)
        command = [str(tool), "-v", f"-arch={arch[1] if arch else ''}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    numbers = {
        what: int(re.search(rf"(\d+) {what}", said)[1])
        for what in ("registers", "bytes spill stores", "bytes spill loads")
    }
    return Report(
        launch.kernel.fn.__name__,
        architecture,
        batch,
        launch.grid,
        32 * launch.warps,
        numbers["registers"],
        numbers["bytes spill stores"] + numbers["bytes spill loads"],
        made.metadata.shared,
        ptx.count("cp.async.cg") + ptx.count("cp.async.ca"),
    )


def main() -> int:
    """Print a table; exit code 1 where anything is spilled."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", default="large-v3", choices=sorted(SHAPES))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--architecture", nargs="+", type=int, default=[90, 100])
    options = parser.parse_args()
    reports = [
        report(launch, architecture, batch)
        for batch in options.batch
        for launch in launches(options.shape, batch)
        for architecture in options.architecture
    ]
    print(text_table(HEADER, [one.row for one in reports]))
    result = {"kernels": len(reports), "spilled_bytes": sum(one.spilled_bytes for one in reports)}
    keep_raw("kernel_reports", result, {"reports": [vars(one) for one in reports]}, folder=ROOT / "bench-output")
    print("RESULT " + " ".join(f"{key}={value:.4g}" for key, value in result.items()))
    return int(result["spilled_bytes"] > 0)


if __name__ == "__main__":
    sys.exit(main())
