"""Trains the demo checkpoint on the CPU: from scratch, or what remains to be learnt from a checkpoint on."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from .curriculum import CURRICULUM, FINE_TUNING, Stage
from .layout import Bank
from .model import Output, Student, export
from .recordings import sentences
from .vocabulary import TokenTable
from .windows import IGNORED, Composer, Example

_TIMESTAMP_SOFTNESS = {0: 0.6, 1: 0.15, -1: 0.15, 2: 0.05, -2: 0.05}
_SPAN_SHARE = 0.95  # of a row's attention; the rest fades over the gap behind the word


@dataclass(frozen=True)
class Batch:
    """Examples of equal length, their takes padded and in a row; rows count from <|startoftranscript|>."""

    mel: Tensor
    offsets: Tensor
    tokens: Tensor
    first: Tensor
    targets: Tensor
    spans: Tensor  # (takes, rows, 3)
    frames: Tensor  # (batch, frames, 4)


def collate(examples: list[Example]) -> Batch:
    """Pad on the right: the decoder is causal, so padding needs no mask."""
    takes = [take for example in examples for take in example.takes]
    length = max(len(take.tokens) for take in takes)
    row_count = max(len(take.targets) for take in takes)
    return Batch(
        mel=torch.stack([example.mel for example in examples]),
        offsets=torch.tensor([example.offset for example in examples]),
        tokens=torch.tensor([take.tokens + [0] * (length - len(take.tokens)) for take in takes]),
        first=torch.tensor([take.first for take in takes]),
        targets=torch.tensor([take.targets + [IGNORED] * (row_count - len(take.targets)) for take in takes]),
        spans=torch.tensor([take.spans + [(0, 0, 0)] * (row_count - len(take.spans)) for take in takes]),
        frames=torch.stack([example.frames for example in examples]),
    )


class Batches(IterableDataset[Batch]):
    """An endless stream of batches, composed in a worker process."""

    def __init__(self, stage: Stage, banks: list[Path], left_out: frozenset[str], seed: int) -> None:
        self._stage, self._banks, self._left_out, self._seed = stage, banks, left_out, seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        rng, stage = Random(self._seed), self._stage
        composer = Composer(Bank(self._banks, self._left_out), TokenTable(), self._seed, stage.style)
        while True:
            prompted = rng.random() < stage.prompted_share
            takes = stage.takes if prompted else 1  # without prompts they would be alike
            window_s, size = rng.choice(stage.mix)
            yield collate([composer.example(window_s, takes=takes, prompted=prompted) for _ in range(size)])


def token_loss(student: Student, logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the tokens in use; a timestamp shares its weight with its neighbours."""
    wanted = targets != IGNORED
    logs = logits[wanted].log_softmax(-1)
    label = student.rows.compact[targets[wanted]]
    begin = student.rows.first_timestamp
    last = logits.shape[-1] - 2
    loss = -logs.gather(1, label[:, None])[:, 0]
    timed = label >= begin
    soft = torch.zeros(int(timed.sum()))
    for step, weight in _TIMESTAMP_SOFTNESS.items():
        near = (label[timed] + step).clamp(begin, last)
        soft = soft - weight * logs[timed].gather(1, near[:, None])[:, 0]
    return (loss[~timed].sum() + soft.sum()) / len(label)


def attention_targets(spans: Tensor, frame_count: int) -> Tensor:
    """(batch, rows, frames): even over the span, a little fading behind it; zero where attention is free."""
    start, end, tail = (spans[..., i : i + 1].float() for i in range(3))
    frames = torch.arange(frame_count)
    inside = ((frames >= start) & (frames < end)).float()
    inside = inside / inside.sum(-1, keepdim=True).clamp(min=1)
    behind = ((frames >= end) & (frames < tail)).float()
    fading = behind / (1 + 0.05 * (frames - end).clamp(min=0))
    fading = fading / fading.sum(-1, keepdim=True).clamp(min=1e-6)
    share = torch.where(tail > end, _SPAN_SHARE, 1.0)
    return share * inside + (1 - share) * fading


def divergence(target: Tensor, log_attention: Tensor) -> Tensor:
    """KL divergence of attention rows from their targets, over the rows that have one."""
    entropy = torch.special.entr(target).sum(-1)
    rows = (target.sum(-1) > 0).float()
    crossed = -(target[:, None] * log_attention).sum(-1)
    return ((crossed.mean(1) - entropy) * rows).sum() / rows.sum().clamp(min=1)


def frame_losses(student: Student, output: Output, frames: Tensor) -> dict[str, Tensor]:
    """What the encoder should know of each frame; all but the word serve to find one's way in a long window."""

    def entropy(logits: Tensor, number: int) -> Tensor:
        return functional.cross_entropy(logits.flatten(0, 1), frames[..., number].flatten(), ignore_index=IGNORED)

    begun = frames[..., 3] >= 0
    origins = student.whisper.encoder.positional_embedding[frames[..., 3][begun]]
    return {
        "frames": entropy(output.frame_words, 0),
        "previous": 0.3 * entropy(output.frame_previous, 1),
        "numbers": 0.2 * entropy(output.frame_numbers, 2),
        "origins": 2.0 * functional.mse_loss(output.frame_origins[begun], origins),
    }


def losses(student: Student, output: Output, batch: Batch, *, frozen_encoder: bool) -> dict[str, Tensor]:
    """The loss terms, already weighted; the auxiliary heads teach the encoder, and only that."""
    target = attention_targets(batch.spans, output.frame_words.shape[1])
    written = functional.pad(target[:, :-1], (0, 0, 1, 0))
    return {
        "tokens": token_loss(student, output.logits, batch.targets),
        "attention": 0.3 * sum((divergence(target, one) for one in output.attention), torch.zeros(())),
        "locating": 0.15 * divergence(written, output.locating),
        **({} if frozen_encoder else frame_losses(student, output, batch.frames)),
    }


class Average:
    """An exponential moving average of the weights; it is what gets shipped."""

    def __init__(self, student: Student, decay: float) -> None:
        self.decay = decay
        state = student.state_dict()
        self.state = {name: value.clone() for name, value in state.items() if "token_embedding" not in name}

    def update(self, student: Student, step: int) -> None:
        """Follow the student; faster at first."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            current = student.state_dict()
            for name, value in self.state.items():
                value.lerp_(current[name], 1 - decay)


def rate(stage: Stage, step: int) -> float:
    """The learning rate: a short warm-up, then a cosine from lr to lr_end."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    progress = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr_end + (stage.lr - stage.lr_end) * 0.5 * (1 + math.cos(math.pi * progress))


class Trainer:
    """The student, its optimiser and its average, and checkpoints that a later call resumes from."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        torch.manual_seed(arguments.seed)
        self.student = Student(TokenTable())
        trained = [p for name, p in self.student.named_parameters() if "token_embedding" not in name]
        self.optimiser = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.steps_done = 0
        if arguments.from_checkpoint:
            self.student.load_exported(torch.load(arguments.from_checkpoint, weights_only=True))
        if arguments.resume:
            saved = torch.load(arguments.resume, weights_only=True)
            self.student.load_state_dict(saved["student"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.steps_done = saved["steps_done"]
        self.average = Average(self.student, 0.995)
        if arguments.resume:
            self.average.state = saved["average"]

    def run(self, stage: Stage, *, seed: int, steps: int) -> None:
        """Train for the last `steps` of a stage's steps."""
        left_out = sentences(self.arguments.held_out)
        batches = Batches(stage, self.arguments.bank, left_out, seed)
        stream = iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))
        shown: dict[str, float] = {}
        began = time.monotonic()
        self.student.whisper.encoder.requires_grad_(not stage.frozen_encoder)
        for step in range(stage.steps - steps, stage.steps):
            for group in self.optimiser.param_groups:
                group["lr"] = rate(stage, step)
            for name, value in self._step(next(stream), stage).items():
                shown[name] = value if name not in shown else 0.95 * shown[name] + 0.05 * value
            if step % 20 == 0:
                terms = " ".join(f"{name} {value:.3f}" for name, value in shown.items())
                print(f"{self.steps_done} {terms} {time.monotonic() - began:.0f}s", flush=True)
            if self.steps_done % self.arguments.save_every == 0:
                self.save()
        self.save()

    def _step(self, batch: Batch, stage: Stage) -> dict[str, float]:
        output = self.student(batch.mel, batch.offsets, batch.tokens, batch.first, batch.targets.shape[1])
        terms = losses(self.student, output, batch, frozen_encoder=stage.frozen_encoder)
        self.optimiser.zero_grad(set_to_none=True)
        sum(terms.values(), torch.zeros(())).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(self.student, self.steps_done)
        self.steps_done += 1
        wanted = batch.targets != IGNORED
        labels = self.student.rows.compact[batch.targets[wanted]]
        hit = (output.logits[wanted].argmax(-1) == labels)[labels < self.student.rows.first_timestamp].float().mean()
        shown = {name: float(term.detach()) for name, term in terms.items()}
        if not stage.frozen_encoder:
            speaking = batch.frames[..., 0] > 0
            right = (output.frame_words.argmax(-1) == batch.frames[..., 0])[speaking].float().mean()
            shown["frame_right"] = float(right)
        return shown | {"norm": float(norm), "token_right": float(hit)}

    def save(self) -> None:
        """Write the resumable state and, beside it, the exported checkpoint."""
        out: Path = self.arguments.out
        out.parent.mkdir(parents=True, exist_ok=True)
        saved = {
            "student": self.student.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.state,
            "steps_done": self.steps_done,
        }
        torch.save(saved, out.with_suffix(".part"))
        out.with_suffix(".part").replace(out)
        torch.save(export(self.student, self.average.state), out.with_suffix(".whisper.part"))
        out.with_suffix(".whisper.part").replace(out.with_suffix(".whisper.pt"))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, action="append", required=True, help="folder of synth (repeatable)")
    parser.add_argument("--held-out", type=Path, required=True, help="recordings whose sentences no bank shall teach")
    parser.add_argument("--out", type=Path, default=Path("build/demo.pt"), help="resumable checkpoint to write")
    parser.add_argument("--from-checkpoint", type=Path, help="exported checkpoint to fine-tune")
    parser.add_argument(
        "--resume", type=Path, help="resumable checkpoint to go on from, with the option above if it was given"
    )
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main() -> None:
    """Run the curriculum or the fine-tuning, or what is left of it."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    trainer = Trainer(arguments)
    end = 0
    for number, stage in enumerate(FINE_TUNING if arguments.from_checkpoint else CURRICULUM):
        end += stage.steps
        left = min(stage.steps, end - trainer.steps_done)
        if left > 0:
            trainer.run(stage, seed=arguments.seed + 100 * number + trainer.steps_done, steps=left)


if __name__ == "__main__":
    main()
