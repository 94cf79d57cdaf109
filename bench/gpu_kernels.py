"""Each product and kernel of a step of decoding and of the encoder, against its bytes or FLOP: where the time goes.

    python -W ignore bench/gpu_kernels.py [--device cuda] [--shape large-v3] [--batch 16 64 128] [--reach 64 128 256]

Random weights of the true shape. A row is one kind of work in all layers, as a CUDA graph on a GPU, so that launching
it costs nothing and no cache holds the weights; microseconds are those of one layer. The roof is the larger of bytes by
the bandwidth and FLOP by the rate of a large product, both measured in the same run.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from support import ROOT, keep_raw
from torch import Tensor
from whisper.model import ModelDimensions, Whisper

from bench.speed import machine
from bench.speed.figures import text_table
from bench.speed.roof import Machine, cross_projection_flop, encoder_flop, step_s
from bench.speed.shapes import SHAPES, tokenizer_of
from btworker.engine.asr.decoding.favoured import NO_TERMS
from btworker.engine.asr.decoding.graphs import CudaRecorder
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.choosing import set_kernels
from btworker.engine.asr.decoding.kernels.plain import attend_to_past, attend_to_sound
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary

try:
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:  # torch 2.2: its own choice alone is measured
    SDPBackend = sdpa_kernel = None

TRIES = 5


@dataclass(frozen=True)
class Work:
    """One kind of work, in all layers."""

    part: str
    name: str
    windows: int
    run: Callable[[], object]
    layers: int = 1
    read: float = 0.0
    """Bytes that it reads and writes, in all layers."""
    flop: float = 0.0


@dataclass(frozen=True)
class Figure:
    """What was measured of it."""

    part: str
    name: str
    windows: int
    us: float
    """Microseconds of one layer; nan where it cannot run."""
    roof_us: float
    gb_per_s: float
    tflop_per_s: float
    problem: str = ""

    @property
    def row(self) -> tuple[str, ...]:
        """For the table."""
        share = f"{100 * self.roof_us / self.us:.0f} %" if self.roof_us and not self.problem else ""
        rates = (f"{self.gb_per_s:.0f}" if self.gb_per_s else "", f"{self.tflop_per_s:.1f}" if self.tflop_per_s else "")
        return (self.part, self.name, str(self.windows), self.problem or f"{self.us:.1f}", *rates, share)


HEADER = ("part", "what", "windows", "us a layer", "GB/s", "TFLOP/s", "of the roof")


def network_of(dims: ModelDimensions, device: torch.device) -> Network:
    """Random weights, in half precision on a GPU."""
    torch.manual_seed(0)
    with device:
        model = Whisper(dims).eval()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    network = Network(model.state_dict(), dims, device=device, dtype=dtype)
    set_kernels(network)
    return network


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """The best of some tries; on a GPU replayed as a graph, by the device's own clock."""
    run()
    if device.type != "cuda":
        return machine.fastest_s(device, run)
    replay = CudaRecorder(device).record(run)
    times = []
    for _ in range(TRIES + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return min(times[1:])


def measure(work: Work, device: torch.device, roof: Machine) -> Figure:
    """Microseconds of one layer, and what they are of the roof. What cannot run here has its reason."""
    figure = Figure(work.part, work.name, work.windows, float("nan"), 0.0, 0.0, 0.0)
    try:
        seconds = seconds_of(work.run, device)
    except RuntimeError as error:  # memory, or a backend that does not take these sizes
        torch.cuda.empty_cache()
        return replace(figure, problem=(str(error).splitlines() or ["?"])[0][:60])
    roof_s = max(work.read / roof.bytes_per_s, work.flop / roof.flop_per_s)
    return replace(
        figure,
        us=1e6 * seconds / work.layers,
        roof_us=1e6 * roof_s / work.layers,
        gb_per_s=work.read / seconds / 1e9,
        tflop_per_s=work.flop / seconds / 1e12,
    )


def each(run: Callable[[Any], object], layers: Sequence[Any]) -> None:
    """Run it for one layer after the other."""
    for layer in layers:
        run(layer)


def products(network: Network, rows: int) -> Iterator[Work]:
    """A step's products with the weights."""
    dims, make = network.dims, partial(torch.randn, device=network.device, dtype=network.dtype)
    size, item = dims.n_text_state, network.dtype.itemsize
    narrow, wide = make(rows, size), make(rows, 4 * size)
    blocks, cross = network._decoder, network._cross_attention  # noqa: SLF001 - what is measured is inside
    kinds: tuple[tuple[str, Sequence[Any], Callable[[Any], object], int], ...] = (
        ("query, key and value", blocks, lambda layer: layer.qkv(narrow), 3),
        ("out", blocks, lambda layer: layer.out(narrow), 1),
        ("cross query", cross, lambda layer: layer.query(narrow), 1),
        ("cross out", cross, lambda layer: layer.out(narrow), 1),
        ("perceptron in", blocks, lambda layer: layer.mlp_in(narrow), 4),
        ("perceptron out", blocks, lambda layer: layer.mlp_out(wide), 4),
    )
    for name, layers, run, factor in kinds:
        numbers = len(layers) * factor * size**2
        yield Work("step", name, rows, partial(each, run, layers), len(layers), numbers * item, 2.0 * rows * numbers)
    numbers = dims.n_vocab * size
    read = numbers * item + rows * dims.n_vocab * (4 + item)
    yield Work("step", "vocabulary", rows, lambda: network.logits(narrow), 1, read, 2.0 * rows * numbers)


def small_kernels(network: Network, rows: int, rules: TokenRules, lane: Lane) -> Iterator[Work]:
    """What a step does between its products."""
    dims, make = network.dims, partial(torch.randn, device=network.device, dtype=network.dtype)
    item, layers = network.dtype.itemsize, dims.n_text_layer
    narrow, wide = make(rows, dims.n_text_state), make(rows, 4 * dims.n_text_state)
    blocks = network._decoder  # noqa: SLF001 - as above
    moved = 2 * layers * narrow.numel() * item
    yield Work("step", "layer norm", rows, partial(each, lambda layer: layer.norm(narrow), blocks), layers, moved)
    yield Work("step", "residual", rows, partial(each, lambda _: narrow + narrow, blocks), layers, 1.5 * moved)
    yield Work("step", "gelu", rows, partial(each, lambda _: F.gelu(wide), blocks), layers, 4 * moved)
    logits = torch.randn(rows, dims.n_vocab, device=network.device)
    yield Work("step", "rules", rows, lambda: rules.best(logits, lane.view(rows)), 1, logits.numel() * 4)


def attention(network: Network, lane: Lane, rows: int, reaches: Sequence[int]) -> Iterator[Work]:
    """A step's attention to the past and to the sound, out of the lane's places."""
    dims, make = network.dims, partial(torch.randn, device=network.device, dtype=network.dtype)
    layers, item = dims.n_text_layer, network.dtype.itemsize
    heads, width = dims.n_text_head, dims.n_text_state // dims.n_text_head
    query, flat = make(rows, heads, width), make(rows, dims.n_text_state)
    for reach in reaches:
        unseen = torch.zeros(rows, reach, dtype=torch.bool, device=network.device)
        run = partial(_past, query, unseen, rows, reach)
        read = layers * 2 * rows * reach * dims.n_text_state * item
        yield Work("step", f"past of {reach}", rows, partial(each, run, lane.own), layers, read, 2.0 * read / item)
    read = layers * 2 * rows * dims.n_audio_ctx * dims.n_text_state * item
    run = partial(_sound, flat, rows)
    yield Work("step", "sound", rows, partial(each, run, lane.sound), layers, read, 2.0 * read / item)


def fused(network: Network, lane: Lane, rows: int, reaches: Sequence[int]) -> Iterator[Work]:
    """The same by Triton's kernels, where the network has them."""
    kernels, dims, item = network.kernels, network.dims, network.dtype.itemsize
    if kernels.name != "triton":
        return
    make = partial(torch.randn, device=network.device, dtype=network.dtype)
    qkv, flat = make(rows, 3 * dims.n_text_state), make(rows, dims.n_text_state)
    idle, layers = torch.zeros(rows, dtype=torch.bool, device=network.device), dims.n_text_layer
    for reach in reaches:
        to_past = kernels.to_past(torch.full((rows,), reach - 1, device=network.device), idle, reach=reach)
        read = layers * 2 * rows * reach * dims.n_text_state * item
        run = partial(each, partial(to_past, qkv), lane.own)
        yield Work("step", f"past of {reach}, Triton", rows, run, layers, read, 2.0 * read / item)
    read = layers * 2 * rows * dims.n_audio_ctx * dims.n_text_state * item
    sound = [kept.first(rows) for kept in lane.sound]
    run = partial(each, partial(kernels.to_sound(idle), flat), sound)
    yield Work("step", "sound, Triton", rows, run, layers, read, 2.0 * read / item)
    in_bytes = [_in_bytes(kept) for kept in sound]
    run = partial(each, partial(kernels.to_sound(idle), flat), in_bytes)
    yield Work("step", "sound in 8 bits, Triton", rows, run, layers, read / item, 2.0 * read / item)
    blocks = network._decoder  # noqa: SLF001 - as above
    run = partial(each, lambda layer: kernels.add_and_norm(flat, flat, layer.norm), blocks)
    yield Work("step", "residual and layer norm, Triton", rows, run, layers, 4 * layers * flat.numel() * item)


def _in_bytes(sound: KeptSound) -> KeptSound:
    shape, device = tuple(sound.numbers.shape), sound.numbers.device
    return KeptSound.empty(shape, sound.numbers.dtype, device, bits=8)


def _past(query: Tensor, unseen: Tensor, rows: int, reach: int, own: Tensor) -> Tensor:
    return attend_to_past(query, own[:, :rows, :, :reach], unseen)


def _sound(query: Tensor, rows: int, kept: KeptSound) -> Tensor:
    return attend_to_sound(query, kept.first(rows))


def whole_step(network: Network, lane: Lane, rows: int, reach: int, roof: Machine) -> Work:
    """A step as it is, with the bytes that it cannot do without."""
    seconds = step_s(network.dims, roof, batch=rows, history=reach, itemsize=network.dtype.itemsize)

    def run() -> None:
        lane.done.zero_()  # rows that are done read nothing
        lane.length.fill_(reach)
        lane.limit.fill_(lane.longest)
        lane._step(rows, reach, hot=False, widths=NO_TERMS)  # noqa: SLF001 - as above

    return Work("step", f"whole, past of {reach}", rows, run, 1, seconds * roof.bytes_per_s)


def encoder(network: Network, windows: int) -> Iterator[Work]:
    """The encoder's products and attention, the projection of what it makes, and both as a whole."""
    dims, item = network.dims, network.dtype.itemsize
    make = partial(torch.randn, device=network.device, dtype=network.dtype)
    size, count, layers = dims.n_audio_state, windows * dims.n_audio_ctx, network._encoder  # noqa: SLF001 - as above
    x, wide = make(windows, dims.n_audio_ctx, size), make(windows, dims.n_audio_ctx, 4 * size)
    kinds: tuple[tuple[str, Callable[[Any], object], float, float], ...] = (
        ("query, key and value", lambda layer: layer.qkv(x), 3, 4),
        ("out", lambda layer: layer.out(x), 1, 2),
        ("perceptron in", lambda layer: layer.mlp_in(x), 4, 5),
        ("perceptron out", lambda layer: layer.mlp_out(wide), 4, 5),
        ("layer norm", lambda layer: layer.norm(x), 0, 2),
        ("residual and layer norm", lambda layer: network.kernels.add_and_norm(x, x, layer.norm), 0, 4),
        ("gelu", lambda _: F.gelu(wide), 0, 8),
    )
    for name, run, factor, moved in kinds:
        read = len(layers) * (count * size * moved + factor * size**2) * item
        flop = len(layers) * 2.0 * count * factor * size**2
        yield Work("encoder", name, windows, partial(each, run, layers), len(layers), read, flop)
    yield from encoder_attention(network, windows)
    mel = make(windows, dims.n_mels, 2 * dims.n_audio_ctx)
    weights = 12 * len(layers) * size**2 * item
    yield Work("encoder", "whole", windows, lambda: network.encode(mel), 1, weights, windows * encoder_flop(dims))
    flop = windows * cross_projection_flop(dims)
    yield Work(
        "encoder", "projection for the decoder", windows, lambda: list(network.cross_keys_values(x)), 1, 0.0, flop
    )


def encoder_attention(network: Network, windows: int) -> Iterator[Work]:
    """By each of torch's kernels, and by the one that torch chooses."""
    dims, item, layers = network.dims, network.dtype.itemsize, network._encoder  # noqa: SLF001 - as above
    heads, positions = dims.n_audio_head, dims.n_audio_ctx
    shape = (3, windows, heads, positions, dims.n_audio_state // heads)
    query, key, value = torch.randn(shape, device=network.device, dtype=network.dtype)
    read = len(layers) * 4 * query.numel() * item
    flop = len(layers) * windows * 4.0 * positions**2 * dims.n_audio_state
    named = {
        name: getattr(SDPBackend, name, None) for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION")
    }
    for name, backend in {"as torch chooses": None, **named}.items():
        if backend is None and name in named:
            continue  # torch 2.2 has no cuDNN's

        def run(backend: Any = backend) -> None:
            with sdpa_kernel(backend) if backend is not None else nullcontext():
                each(lambda _: F.scaled_dot_product_attention(query, key, value, scale=1.0), layers)

        label = f"attention, {name.split('_')[0].lower()}"
        yield Work("encoder", label, windows, run, len(layers), read, flop)


def works(network: Network, options: argparse.Namespace, roof: Machine) -> Iterator[Work]:
    """All of it, batch by batch, so that no two lanes are there at once."""
    rules = TokenRules(Vocabulary.of(tokenizer_of(network.dims)), network.dims.n_vocab, network.device)
    for rows in options.batch:
        try:
            lane = Lane(network, rules, windows=rows)
        except torch.cuda.OutOfMemoryError:
            print(f"  no memory for {rows} places", flush=True)
            continue
        yield from products(network, rows)
        yield from small_kernels(network, rows, rules, lane)
        yield from attention(network, lane, rows, options.reach)
        yield from fused(network, lane, rows, options.reach)
        for reach in options.reach:
            yield whole_step(network, lane, rows, reach, roof)
        del lane
    for windows in options.encode:
        yield from encoder(network, windows)


def options_of() -> argparse.Namespace:
    """The command line; without a GPU a toy shows that it runs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", nargs="+", help="large-v3 on a GPU, toy elsewhere")
    parser.add_argument("--batch", nargs="+", type=int, help="windows in a step: 16 64 128 on a GPU")
    parser.add_argument("--encode", nargs="+", type=int, help="windows in a pass of the encoder: 8 16 on a GPU")
    parser.add_argument("--reach", nargs="+", type=int, help="positions of the past: 64 128 256 on a GPU")
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    options.shape = options.shape or ["large-v3" if on_gpu else "toy"]
    options.batch = options.batch or ([16, 64, 128] if on_gpu else [2])
    options.encode = options.encode or ([8, 16] if on_gpu else [1])
    options.reach = options.reach or ([64, 128, 256] if on_gpu else [64])
    return options


@torch.inference_mode()
def main() -> int:
    """Print a row as soon as it is measured, and keep all of them."""
    options, began = options_of(), time.time()
    device = torch.device(options.device)
    machine.hold_threads(os.cpu_count() or 1)
    about = machine.description(device)
    roof = machine.measure(
        device, torch.float16 if device.type == "cuda" else torch.float32, small=device.type == "cpu"
    )
    print(f"  {about.get('card', about['processor'])}, torch {about['torch']}", flush=True)
    print(f"  roof: {roof.bytes_per_s / 1e9:.3g} GB/s, {roof.flop_per_s / 1e12:.3g} TFLOP/s, measured", flush=True)
    figures: dict[str, list[Figure]] = {}
    result: dict[str, float] = {}
    for shape in options.shape:
        network, rows = network_of(SHAPES[shape], device), figures.setdefault(shape, [])
        for work in works(network, options, roof):
            figure = measure(work, device, roof)
            rows.append(figure)
            print("   ", " | ".join(figure.row), flush=True)
            if work.name.startswith("whole") and not figure.problem:
                label = work.name.replace(", past of ", "_r").replace("whole", work.part)
                result[f"{shape}_{label}_b{work.windows}_us"] = figure.us
            raw = {
                "about": about,
                "roof": asdict(roof),
                "figures": {s: [asdict(f) for f in fs] for s, fs in figures.items()},
            }
            keep_raw("gpu_kernels", result, raw, folder=ROOT / "bench-output")
        print(f"\n{shape}\n{text_table(HEADER, [figure.row for figure in rows])}", flush=True)
        del network
    print(f"  took {time.time() - began:.0f} s")
    print("RESULT " + " ".join(f"{key}={value:.4g}" for key, value in result.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
