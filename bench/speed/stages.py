"""Seconds of each stage of our engine for one batch of windows: mel, encoder, sound and start, steps, word times."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.speed.machine import synchronize
from bench.speed.shapes import SEED, tokenizer_of
from btworker.engine.asr.decoding.alignment import Text, align
from btworker.engine.asr.decoding.finishing import ALIGN_BATCH
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.asr.mel import LogMel

AT_ONCE = 16
"""Windows to encode, and to take in, in one pass, as the decoder does on a GPU."""
NAMES = ("mel", "encoder", "cross-KV and prefill", "steps", "word times")


@dataclass
class Clock:
    """Seconds by stage, with the device waited for."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self.seconds[name] = time.perf_counter() - start


def stages_of(network: Network, mels: list[Tensor], *, tokens: int) -> Callable[[], dict[str, float]]:
    """A function that decodes these windows once, `tokens` steps of all, and gives the seconds of each stage."""
    dims, batch, tokenizer = network.dims, len(mels), tokenizer_of(network.dims)
    rules = TokenRules(Vocabulary.of(tokenizer), dims.n_vocab, network.device)
    lane = Lane(network, rules, windows=batch)
    start = tuple(tokenizer.sot_sequence)
    samples = np.random.default_rng(SEED).integers(-3000, 3000, 30 * 16_000).astype(np.int16)
    words = tuple(range(1000, 1000 + tokens))

    def take_in() -> None:
        for first in range(0, batch, AT_ONCE):
            some = range(first, min(first + AT_ONCE, batch))
            starts = [Start(start, timed=True, temperature=0.0, chances=None)] * len(some)
            lane.seat(some, list(features[first // AT_ONCE]), starts)

    def align_all() -> None:
        for first in range(0, batch, ALIGN_BATCH):
            sound = [kept.of(slice(first, min(first + ALIGN_BATCH, batch)), network.dtype) for kept in lane.sound]
            texts = [Text((*start, tokenizer.no_timestamps), words, 3000)] * sound[0].shape[1]
            align(network, texts, sound, end=tokenizer.eot)

    features: list[Tensor] = []

    @torch.inference_mode()
    def once() -> dict[str, float]:
        clock = Clock(network.device)
        with clock.stage("mel"):
            for _ in mels:
                LogMel(samples, n_mels=dims.n_mels, peak=None, device=network.device).frames(0, 3000)
        with clock.stage("encoder"):
            features[:] = [network.encode(torch.stack(mels[at : at + AT_ONCE])) for at in range(0, batch, AT_ONCE)]
        with clock.stage("cross-KV and prefill"):
            take_in()
        with clock.stage("steps"):
            for _ in range(tokens):
                lane.step(batch)
        with clock.stage("word times"):
            align_all()
        return clock.seconds

    return once
