"""Which token may come next: openai-whisper's suppression and timestamp rules, for all rows at once and without a look
at the tokens before: four numbers a row hold all that the rules ask for.

A row of logits falls into words, special tokens (end of text, languages, tasks) and timestamps. The rules ban whole
parts of it or timestamps below a floor, so that parts are compared instead of masked: one pass over the vocabulary a
step.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.favoured import Favoured

NEVER = -torch.inf


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Where the parts of the vocabulary begin, and which tokens are never chosen."""

    end: int
    """End of text: the first special token, after all words."""
    timestamps: int
    """The first timestamp; the last one is the last of the vocabulary."""
    no_timestamps: int
    no_speech: int
    """Is never chosen; its probability at the start is that of silence."""
    blank: tuple[int, ...]
    """Words that no text begins with."""
    suppressed: tuple[int, ...]
    """Special tokens and non-speech words that are never chosen."""
    latest_first: int = 50
    """No text begins later than this timestamp: one second."""

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        *,
        suppressed: Iterable[int] | None = None,
        blank: Iterable[int] | None = None,
        unnamed: Iterable[int] = (),
    ) -> "Vocabulary":
        """Read that of openai-whisper's tokenizer, with its default options where a checkpoint has no lists of its own.
        `unnamed` are numbers without a token."""
        special = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
        space = tokenizer.encode(" ")
        # where a space is a token by itself, it is the first of " -" and would be taken for a dash
        words = set(tokenizer.non_speech_tokens).difference(space) if suppressed is None else suppressed
        return cls(
            end=tokenizer.eot,
            timestamps=tokenizer.timestamp_begin,
            no_timestamps=tokenizer.no_timestamps,
            no_speech=tokenizer.no_speech,
            blank=tuple(space if blank is None else blank),
            suppressed=tuple(sorted({*words, *unnamed, *special, tokenizer.no_speech} - {tokenizer.eot})),
        )


@dataclass(slots=True)
class History:
    """State that the rules need of each row; all of shape (rows,)."""

    first: Tensor
    """No token was chosen yet."""
    stamped: Tensor
    """The last token was a timestamp."""
    stamped_before: Tensor
    """So was the one before it, or there is none."""
    latest: Tensor
    """The last timestamp, counted from the first one of the vocabulary; -1 before there is one."""
    timed: Tensor
    """Whether the row has timestamps at all."""

    @classmethod
    def empty(cls, rows: int, device: torch.device) -> "History":
        """Make one for rows without a token."""
        first, stamped, before, timed = (torch.zeros(rows, dtype=torch.bool, device=device) for _ in range(4))
        latest = torch.zeros(rows, dtype=torch.long, device=device)
        history = cls(first=first, stamped=stamped, stamped_before=before, latest=latest, timed=timed)
        history.restart(torch.arange(rows, device=device))
        return history

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return self.first, self.stamped, self.stamped_before, self.latest, self.timed

    def of(self, rows: Tensor) -> "History":
        """Copy some rows."""
        return History(*(tensor[rows] for tensor in self.tensors))

    def restart(self, rows: Tensor) -> None:
        """Forget the tokens of some rows; `timed` stays."""
        self.first.index_fill_(0, rows, value=True)
        self.stamped.index_fill_(0, rows, value=False)
        self.stamped_before.index_fill_(0, rows, value=True)
        self.latest.index_fill_(0, rows, -1)

    def follow(self, chosen: Tensor, vocabulary: Vocabulary) -> None:
        """Note the token that each row has got."""
        stamp = chosen - vocabulary.timestamps
        stamped = stamp >= 0
        self.stamped_before.copy_(self.stamped | self.first)
        self.stamped.copy_(stamped)
        self.first.fill_(value=False)
        self.latest.copy_(torch.where(stamped, stamp, self.latest))

    def floor(self) -> Tensor:
        """Earliest timestamp that may follow: one that ends a segment may begin the next one, too."""
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
        """Return the same, banned in these rows."""
        return Part(self.best, self.logit.masked_fill(where, NEVER), self.total.masked_fill(where, NEVER))

    def or_(self, other: "Part") -> "Part":
        """Join both parts; at a tie the first is the better."""
        behind = other.logit > self.logit
        return Part(
            torch.where(behind, other.best, self.best),
            torch.where(behind, other.logit, self.logit),
            torch.logaddexp(self.total, other.total),
        )


class TokenRules:
    """The rules for one vocabulary, on one device."""

    def __init__(self, vocabulary: Vocabulary, size: int, device: torch.device) -> None:
        self.vocabulary = vocabulary
        self.size = size
        self.device = device
        self._suppressed = torch.tensor(vocabulary.suppressed, device=device)
        self._blank = torch.tensor(vocabulary.blank, device=device)
        self._stamps = torch.arange(size - vocabulary.timestamps, device=device)

    def best(self, logits: Tensor, history: History) -> tuple[Tensor, Tensor]:
        """Find the likeliest allowed token of each row and its log-probability; shape (rows,). Changes `logits`."""
        best, logprob, _ = self.choose(logits, history, None)
        return best, logprob

    def choose(
        self, logits: Tensor, history: History, favoured: Favoured | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Find the same where terms may put another token first: the token, its own log-probability, and whether it is
        the terms' doing (None without terms); shape (rows,). Changes `logits`."""
        self._suppress(logits, history)
        text, stamps, only_stamps = self._parts(logits, history)
        choice = text.banned(only_stamps).or_(stamps)
        if favoured is None:
            return choice.best, choice.logit - choice.total, None
        banned = self._bans(history)[0] | only_stamps
        best, logit, led = favoured.better(logits, (choice.best, choice.logit), banned)
        return best, logit - choice.total, led

    def log_probabilities(self, logits: Tensor, history: History) -> Tensor:
        """Compute those of every allowed token, -inf for others; shape (rows, vocabulary). Changes `logits`."""
        self._suppress(logits, history)
        _, _, only_stamps = self._parts(logits, history)
        words_banned, special_banned = self._bans(history)
        vocabulary = self.vocabulary
        logits[:, : vocabulary.end].masked_fill_((words_banned | only_stamps)[:, None], NEVER)
        logits[:, vocabulary.end : vocabulary.timestamps].masked_fill_((special_banned | only_stamps)[:, None], NEVER)
        return logits.log_softmax(-1)

    def _suppress(self, logits: Tensor, history: History) -> None:
        """Ban what is never chosen, blanks at the beginning, and timestamps that are too early or too late."""
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
        """Find rows in which no word may come, and rows in which no special token may."""
        begins = history.first & history.timed
        return begins | (history.stamped & ~history.stamped_before & history.timed), begins

    def _parts(self, logits: Tensor, history: History) -> tuple[Part, Part, Tensor]:
        """Split into text as it may come, timestamps, and the rows in which timestamps as a whole are likelier."""
        vocabulary = self.vocabulary
        words_banned, special_banned = self._bans(history)
        words = Part.of(logits[:, : vocabulary.end], 0).banned(words_banned)
        special = Part.of(logits[:, vocabulary.end : vocabulary.timestamps], vocabulary.end).banned(special_banned)
        stamps = Part.of(logits[:, vocabulary.timestamps :], vocabulary.timestamps)
        text = words.or_(special)
        return text, stamps, (stamps.total > text.logit) & history.timed
