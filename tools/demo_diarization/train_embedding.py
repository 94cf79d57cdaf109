"""Trains whose voice it is: the tiny embedding, as a classifier of several hundred people with an additive margin
(https://arxiv.org/abs/1801.05599). It hears chunks as the pipeline does, and pools where one of two people speaks."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from pyannote.audio.core.task import Problem, Resolution, Specifications
from torch.nn.functional import cross_entropy, normalize

from btworker.engine.tiny_embedding import TinyEmbedding
from demo_model.audio import SAMPLE_RATE

from .bank import Bank
from .checkpoint import save
from .dialogues import FRAME, roughened
from .voices import UNDERSTOOD

CHUNK_S = 4.0
MARGIN, SCALE = 0.25, 25.0
UNDERSTOOD_PEOPLE = range(len(UNDERSTOOD))
UNDERSTOOD_SHARE = 0.4
"""Of the examples: the people of the dialogues alone, the rest anybody."""
PEAK_RATE = 3e-3


def new_model(names: list[str]) -> TinyEmbedding:
    """The embedding, with the specifications that pyannote.audio wants of one."""
    model = TinyEmbedding()
    model.specifications = Specifications(
        problem=Problem.REPRESENTATION,
        resolution=Resolution.CHUNK,
        duration=CHUNK_S,
        min_duration=None,
        warm_up=(0.0, 0.0),
        classes=names[:2],
    )
    return model


def example(bank: Bank, rng: Random) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """A chunk with two people in turn: samples, masks (2, frames of 10 ms), who they are. A mask may be as short as
    those that the pipeline gives: it then covers a piece of what its person says."""
    length = int(CHUNK_S * SAMPLE_RATE)
    samples = np.zeros(length, np.float32)
    masks = np.zeros((2, length // FRAME), np.float32)
    known = UNDERSTOOD_PEOPLE if rng.random() < UNDERSTOOD_SHARE else range(len(bank.people))
    who = rng.sample(known, 2)
    border = int(rng.uniform(0.2, 0.8) * length)
    for number, (first, end) in enumerate(((0, border), (border, length))):
        clock = first + rng.randint(-SAMPLE_RATE, SAMPLE_RATE // 4)
        while clock < end:
            spoken = bank.utterance(rng, bank.people[who[number]]) * np.float32(rng.uniform(0.35, 1))
            begin, last = max(first, clock), min(end, clock + len(spoken))
            if begin < last:
                samples[begin:last] += spoken[begin - clock : last - clock]
                masks[number, begin // FRAME : last // FRAME] = 1
            clock += len(spoken) + rng.randint(0, SAMPLE_RATE // 2)
        shortened(masks[number], rng)
    return roughened(samples, rng), masks, who


def shortened(mask: np.ndarray, rng: Random) -> None:
    """Now and then all but 0.6 to 2 seconds of a mask are cleared, in place."""
    active = np.flatnonzero(mask)
    keep = rng.randint(60, 200)
    if rng.random() < 0.4 and len(active) > keep:
        first = rng.randint(0, len(active) - keep)
        mask[active[:first]] = 0
        mask[active[first + keep :]] = 0


def train(bank: Bank, *, steps: int, batch: int, seed: int, out: Path) -> None:
    """Save the embedding; the classifier's weights are thrown away."""
    rng, model = Random(seed), new_model([person.name for person in bank.people])
    people = torch.nn.Parameter(torch.randn(len(bank.people), model.dimension))
    optimizer = torch.optim.AdamW([*model.parameters(), people], lr=PEAK_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * max(0.02, 1 - step / steps)
    )
    began, mean, right = time.monotonic(), None, 0.0
    model.train()
    for step in range(steps):
        samples, masks, who = zip(*(example(bank, rng) for _ in range(batch)), strict=True)
        vectors = model(torch.from_numpy(np.stack(samples))[:, None], weights=torch.from_numpy(np.stack(masks)))
        truth = torch.tensor(who).flatten()
        cosines = normalize(vectors.flatten(0, 1), dim=-1) @ normalize(people, dim=-1).T
        loss = cross_entropy(
            SCALE * (cosines - MARGIN * torch.nn.functional.one_hot(truth, len(people)) * min(1, step / (steps / 3))),
            truth,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean = loss.item() if mean is None else 0.97 * mean + 0.03 * loss.item()
        right = 0.97 * right + 0.03 * float((cosines.argmax(-1) == truth).float().mean())
        if step % 50 == 49:
            passed_s = time.monotonic() - began
            print(f"{step + 1} of {steps}, loss {mean:.3f}, {right:.1%} right, {passed_s:.0f} s", flush=True)
            save(model, out)
    model.eval()
    save(model, out)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=12)
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    train(Bank(a.bank), steps=a.steps, batch=a.batch, seed=a.seed, out=a.out)


if __name__ == "__main__":
    main()
