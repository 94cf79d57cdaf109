"""Which tokens a checkpoint has, in the order that the decoder goes by: words, signs, timestamps, each in one piece.

Most checkpoints have Whisper's. A fine-tune may have other words in their place (CrisperWhisper's has no word with a
space in front), and more of them behind the timestamps: those are put behind the other words here, and get their own
numbers back in the result. Rows of the embedding without a token, which some add to round its size, are never chosen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tiktoken
import torch
from torch import Tensor
from whisper.tokenizer import LANGUAGES, Tokenizer, get_encoding, get_tokenizer

from btworker.checkpoints.folder import read_json
from btworker.engine.asr.checkpoint_file import CheckpointError
from btworker.engine.asr.formats.token_table import TokenTable, read_table

END, START, TRANSLATE = "<|endoftext|>", "<|startoftranscript|>", "<|translate|>"
OLD_NAMES = {"<|nocaptions|>": "<|nospeech|>", "<|iw|>": "<|he|>"}
"""As the hub's checkpoints that know English alone have them, whose tokenizer is older than the others."""
ENGLISH_END = 50256
"""The end of text in the vocabulary of models that know English alone; one word more is before it in the other one."""
SIZES = {51864: 99, 51865: 99, 51866: 100}
"""Tokens of OpenAI's models -> how many languages are named among them."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A checkpoint's tokens."""

    is_multilingual: bool
    """Whether the model takes a language."""
    num_languages: int
    end: int
    """Number of words, without the added ones."""
    size: int
    """Tokens without the added ones."""
    encoding: tiktoken.Encoding | None = None
    """None: Whisper's own."""
    added: tuple[int, ...] = ()
    """Rows of the checkpoint with words behind the timestamps."""
    unnamed: tuple[int, ...] = ()
    """Places among the words that are no words."""
    suppressed: tuple[int, ...] | None = None
    """Words that are never chosen, by the checkpoint's own list; None: Whisper's."""
    blank: tuple[int, ...] | None = None
    """Words that no text begins with, likewise."""

    def tokenizer(self, language: str | None = None, task: str | None = None) -> Any:
        """Make openai-whisper's tokenizer for these tokens."""
        if self.encoding is None:
            return get_tokenizer(self.is_multilingual, num_languages=self.num_languages, language=language, task=task)
        if not self.is_multilingual:
            return Tokenizer(self.encoding, self.num_languages)
        return Tokenizer(self.encoding, self.num_languages, language or "en", task or "transcribe")

    def rows(self, embedding: Tensor) -> Tensor:
        """Put the rows of the checkpoint's embedding into this order; a view where no word was added."""
        if not self.added:
            return embedding[: self.size]
        return torch.cat([embedding[: self.end], embedding[list(self.added)], embedding[self.end : self.size]])

    def places(self, own: Iterable[int] | None) -> tuple[int, ...] | None:
        """Find some tokens of the checkpoint's own numbers in this order; those that have no place are left out."""
        if own is None:
            return None
        count, added = len(self.added), {token: self.end + place for place, token in enumerate(self.added)}
        return tuple(
            token if token < self.end else token + count if token < self.size else added[token]
            for token in own
            if 0 <= token < self.size or token in added
        )

    def own_numbers(self, tokens: Iterable[int]) -> tuple[int, ...]:
        """Give the numbers that the checkpoint's own tokenizer has for some tokens."""
        count = len(self.added)
        return tuple(
            token if token < self.end else self.added[token - self.end] if token < self.end + count else token - count
            for token in tokens
        )


def tokens_of_openai(n_vocab: int) -> Tokens:
    """Make those of a checkpoint without tokenizer files, by openai-whisper's rule."""
    is_multilingual = n_vocab >= 51865
    num_languages = n_vocab - 51765 - is_multilingual
    return Tokens(is_multilingual, num_languages, end=ENGLISH_END + is_multilingual, size=n_vocab)


def tokens_of_folder(folder: Path, rows: int) -> Tokens:
    """Read those of a folder with a checkpoint of so many rows. Raises CheckpointError, NotWhisperError."""
    suppressed, blank = _lists(folder)
    table = read_table(folder)
    if table is None:
        if rows not in SIZES:
            raise CheckpointError(f"has {rows} tokens, which no model of OpenAI has, and no tokenizer.json")
        return replace(tokens_of_openai(rows), suppressed=suppressed, blank=blank)
    tokens = _of_table(table, rows)
    return replace(tokens, suppressed=tokens.places(suppressed), blank=tokens.places(blank))


def _lists(folder: Path) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Read which tokens the checkpoint never chooses, and which it does not begin with."""
    generation, config = read_json(folder / "generation_config.json"), read_json(folder / "config.json")
    return (
        _first_list(generation.get("suppress_tokens"), config.get("suppress_tokens"), config.get("suppress_ids")),
        _first_list(
            generation.get("begin_suppress_tokens"),
            config.get("begin_suppress_tokens"),
            config.get("suppress_ids_begin"),
        ),
    )


def _first_list(*some: object) -> tuple[int, ...] | None:
    """Take the first that is a list of tokens; -1 in it stands for Whisper's own."""
    for raw in some:
        if isinstance(raw, list) and all(type(token) is int for token in raw) and -1 not in raw:
            return tuple(raw)
    return None


def _of_table(table: TokenTable, rows: int) -> Tokens:
    signs = {OLD_NAMES.get(name, name): token for name, token in table.signs.items()}
    layout = _layout(signs)
    end, size = layout[END], len(layout) + layout[END]
    if size > rows:
        raise CheckpointError(f"has {rows} tokens, and its tokenizer {size}")
    _check(signs, layout, size)
    added = tuple(sorted(token for token in table.added if size <= token < rows))
    words = {**table.words, **table.added}
    words = {token: word for token, word in words.items() if token < end}
    is_multilingual = end != ENGLISH_END
    whisper = get_encoding(name="multilingual" if is_multilingual else "gpt2", num_languages=_languages(layout))
    is_plain = not added and words == {token: word for word, token in whisper._mergeable_ranks.items()}  # noqa: SLF001 - tiktoken gives them in no other way
    return Tokens(
        is_multilingual,
        _languages(layout),
        end=end,
        size=size,
        encoding=None if is_plain else _encoding(words, [table.added[token] for token in added], layout),
        added=added,
        unnamed=tuple(token for token in range(end) if token not in words),
    )


def _layout(signs: dict[str, int]) -> dict[str, int]:
    """Number the signs as openai-whisper does, from where the words end."""
    missing = [name for name in (END, START, TRANSLATE) if name not in signs]
    if missing:
        raise CheckpointError(f"has a tokenizer without {missing[0]}, which every Whisper has")
    count = signs[TRANSLATE] - signs[START] - 1
    if not 0 < count <= len(LANGUAGES):
        raise CheckpointError("has a tokenizer with its languages in another place than Whisper's")
    whisper = get_encoding(name="multilingual", num_languages=count)
    first = whisper.eot_token
    return {name: signs[END] + token - first for name, token in whisper._special_tokens.items()}  # noqa: SLF001 - as above


def _languages(layout: dict[str, int]) -> int:
    return layout[TRANSLATE] - layout[START] - 1


def _check(signs: dict[str, int], layout: dict[str, int], size: int) -> None:
    """Raises CheckpointError where a sign means something else here than its number means to the decoder."""
    for name, token in signs.items():
        if layout.get(name, token) != token or (name not in layout and token < size):
            raise CheckpointError(f"has a tokenizer in which {name[:40]} is token {token}, where Whisper has another")
        if name not in layout and name.strip("<|>") in LANGUAGES:
            raise CheckpointError(f"has a language behind the others, {name[:40]}, which cannot be told to the decoder")


def _encoding(words: dict[int, bytes], added: Sequence[bytes], layout: dict[str, int]) -> tiktoken.Encoding:
    """Make an encoding of other words than Whisper's."""
    ranks = {word: token for token, word in words.items()}
    texts = [word.decode() for word in added]
    if len(ranks) != len(words) or len(set(texts)) != len(texts):
        raise CheckpointError("has two tokens for one text in its vocabulary")
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise CheckpointError("has a vocabulary that is not made of bytes, as Whisper's is")
    if any(text.strip("<|>") in LANGUAGES for text in texts):
        raise CheckpointError("has an added word that looks like a language")
    end = layout[END]
    signs = {name: token + len(added) for name, token in layout.items()}
    plain = get_encoding(name="multilingual", num_languages=_languages(layout))
    return tiktoken.Encoding(
        name="checkpoint",
        pat_str=plain._pat_str,  # noqa: SLF001 - as above
        mergeable_ranks=ranks,
        special_tokens={**{text: end + place for place, text in enumerate(texts)}, **signs},
    )
