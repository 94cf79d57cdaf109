"""Trains whose voice it is: the tiny embedding, as a classifier of several hundred people with an additive margin
(https://arxiv.org/abs/1801.05599). It hears chunks as the pipeline does, and pools where one of two people speaks."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize

from btworker.engine.tiny_embedding import TinyEmbedding
from demo_model.audio import SAMPLE_RATE

from .bank import Bank
from .checkpoint import save
from .dialogues import FRAME, roughened
from .specifications import of_embedding
from .training import Diary, falling_rate, run
from .voices import UNDERSTOOD

CHUNK_S = 4.0
MARGIN, SCALE = 0.25, 25.0
UNDERSTOOD_PEOPLE = range(len(UNDERSTOOD))
UNDERSTOOD_SHARE = 0.4
"""Of the examples: the people of the dialogues alone, the rest anybody."""
PEAK_RATE = 3e-3


def new_model() -> TinyEmbedding:
    """The embedding, with the specifications that pyannote.audio wants of one."""
    model = TinyEmbedding()
    model.specifications = of_embedding(CHUNK_S)
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
    schedule = falling_rate(optimizer, steps, 0.02)
    diary, right = Diary(model, out, steps), 0.0
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
        right = 0.97 * right + 0.03 * float((cosines.argmax(-1) == truth).float().mean())
        diary.note(step, loss.item(), f"{right:.1%} right, ")
    model.eval()
    save(model, out)


if __name__ == "__main__":
    run(train, __doc__, steps=3000, batch=32, seed=12)
