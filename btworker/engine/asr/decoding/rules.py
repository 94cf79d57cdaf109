"""What may be said next: openai-whisper's suppression and timestamp rules, for all rows at once and without a look at
what they said before: four numbers a row know all that the rules ask for.

A row of logits falls into words, signs (end of text, languages, tasks) and timestamps. The rules ban whole parts of it
or timestamps below a floor, so that parts are compared instead of masked: one pass over the vocabulary a step.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NEVER = -torch.inf


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Where the parts of the vocabulary begin, and what is never said."""

    end: int
    """End of text: the first sign, after all words."""
    timestamps: int
    """The first timestamp; the last one is the last of the vocabulary."""
    no_timestamps: int
    blank: tuple[int, ...]
    """Words that no text begins with."""
    suppressed: tuple[int, ...]
    """Signs and non-speech words that are never said."""
    latest_first: int = 50
    """No text begins later than this timestamp: one second."""

    @classmethod
    def of(cls, tokenizer: Any) -> "Vocabulary":
        """That of openai-whisper's tokenizer, with its default options."""
        signs = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
        return cls(
            end=tokenizer.eot,
            timestamps=tokenizer.timestamp_begin,
            no_timestamps=tokenizer.no_timestamps,
            blank=tuple(tokenizer.encode(" ")),
            suppressed=tuple(sorted({*tokenizer.non_speech_tokens, *signs, tokenizer.no_speech})),
        )


@dataclass(slots=True)
class History:
    """What the rules need to know of each row; all of shape (rows,)."""

    first: Tensor
    """Nothing was said yet."""
    stamped: Tensor
    """The last token was a timestamp."""
    stamped_before: Tensor
    """So was the one before it, or there is none."""
    latest: Tensor
    """The last timestamp, counted from the first one of the vocabulary; -1 before there is one."""
    timed: Tensor
    """Whether the row says timestamps at all."""

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> "History":
        """For rows that say nothing yet."""
        first, stamped, before, timed = (torch.zeros(rows, dtype=torch.bool, device=device) for _ in range(4))
        latest = torch.zeros(rows, dtype=torch.long, device=device)
        history = cls(first=first, stamped=stamped, stamped_before=before, latest=latest, timed=timed)
        history.restart(slice(0, rows))
        return history

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it."""
        return self.first, self.stamped, self.stamped_before, self.latest, self.timed

    def of(self, rows: Tensor) -> "History":
        """A copy of some rows."""
        return History(*(tensor[rows] for tensor in self.tensors))

    def restart(self, rows: slice | int) -> None:
        """As before the first token; `timed` stays."""
        self.first[rows] = True
        self.stamped[rows] = False
        self.stamped_before[rows] = True
        self.latest[rows] = -1

    def follow(self, said: Tensor, vocabulary: Vocabulary) -> None:
        """Every row has said this token."""
        stamp = said - vocabulary.timestamps
        stamped = stamp >= 0
        self.stamped_before.copy_(self.stamped | self.first)
        self.stamped.copy_(stamped)
        self.first.fill_(value=False)
        self.latest.copy_(torch.where(stamped, stamp, self.latest))

    def floor(self) -> Tensor:
        """The earliest timestamp that may follow: one that ends a segment may begin the next one, too."""
        return self.latest + 1 - (self.stamped & ~self.stamped_before).long()


@dataclass(frozen=True, slots=True)
class Part:
    """The best token of a part of the vocabulary, and the log of the sum over it; shape (rows,)."""

    best: Tensor
    logit: Tensor
    total: Tensor

    @classmethod
    def of(cls, logits: Tensor, begin: int) -> "Part":
        """`logits` has shape (rows, n); its first column is the token `begin`."""
        logit, best = logits.max(-1)
        return cls(best + begin, logit, logits.logsumexp(-1))

    def banned(self, where: Tensor) -> "Part":
        """The same, but out of question in these rows."""
        return Part(self.best, self.logit.masked_fill(where, NEVER), self.total.masked_fill(where, NEVER))

    def or_(self, other: "Part") -> "Part":
        """Both parts as one; at a tie the first is the better."""
        behind = other.logit > self.logit
        return Part(
            torch.where(behind, other.best, self.best),
            torch.where(behind, other.logit, self.logit),
            torch.logaddexp(self.total, other.total),
        )


class Rules:
    """The rules for one vocabulary, on one device."""

    def __init__(self, vocabulary: Vocabulary, size: int, device: torch.device) -> None:
        self.vocabulary = vocabulary
        self._suppressed = torch.tensor(vocabulary.suppressed, device=device)
        self._blank = torch.tensor(vocabulary.blank, device=device)
        self._stamps = torch.arange(size - vocabulary.timestamps, device=device)

    def best(self, logits: Tensor, history: History) -> tuple[Tensor, Tensor]:
        """The likeliest token that each row may say, and its log-probability; shape (rows,). Changes `logits`."""
        self._suppress(logits, history)
        text, stamps, only_stamps = self._parts(logits, history)
        choice = text.banned(only_stamps).or_(stamps)
        return choice.best, choice.logit - choice.total

    def log_probabilities(self, logits: Tensor, history: History) -> Tensor:
        """Of every token that each row may say, -inf for others; shape (rows, vocabulary). Changes `logits`."""
        self._suppress(logits, history)
        _, _, only_stamps = self._parts(logits, history)
        words_banned, signs_banned = self._bans(history)
        vocabulary = self.vocabulary
        logits[:, : vocabulary.end].masked_fill_((words_banned | only_stamps)[:, None], NEVER)
        logits[:, vocabulary.end : vocabulary.timestamps].masked_fill_((signs_banned | only_stamps)[:, None], NEVER)
        return logits.log_softmax(-1)

    def _suppress(self, logits: Tensor, history: History) -> None:
        """What is never said, blanks at the beginning, and timestamps that are too early or too late."""
        logits.index_fill_(1, self._suppressed, NEVER)
        vocabulary, first = self.vocabulary, history.first[:, None]
        logits[:, self._blank] = logits[:, self._blank].masked_fill(first, NEVER)
        logits[:, vocabulary.end].masked_fill_(history.first, NEVER)
        logits[:, vocabulary.no_timestamps].masked_fill_(history.timed, NEVER)
        outside = self._stamps < history.floor()[:, None]
        outside |= first & (self._stamps > vocabulary.latest_first)
        outside |= (history.stamped & history.stamped_before)[:, None]
        logits[:, vocabulary.timestamps :].masked_fill_(outside & history.timed[:, None], NEVER)

    def _bans(self, history: History) -> tuple[Tensor, Tensor]:
        """Rows that may say no words, and rows that may say no signs."""
        signs = history.first & history.timed
        return signs | (history.stamped & ~history.stamped_before & history.timed), signs

    def _parts(self, logits: Tensor, history: History) -> tuple[Part, Part, Tensor]:
        """Words and signs as they may be said, timestamps, and the rows in which timestamps as a whole are likelier."""
        vocabulary = self.vocabulary
        words_banned, signs_banned = self._bans(history)
        words = Part.of(logits[:, : vocabulary.end], 0).banned(words_banned)
        signs = Part.of(logits[:, vocabulary.end : vocabulary.timestamps], vocabulary.end).banned(signs_banned)
        stamps = Part.of(logits[:, vocabulary.timestamps :], vocabulary.timestamps)
        text = words.or_(signs)
        return text, stamps, (stamps.total > text.logit) & history.timed
