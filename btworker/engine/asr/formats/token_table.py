"""What a checkpoint's tokenizer files have in them: a text for each token, and the signs (<|en|>, <|transcribe|>).

Hugging Face's tokenizer.json, or vocab.json with what stands beside it, or CTranslate2's list. Words are spelled in
them with a printable character for each byte, as GPT-2 began it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btworker.checkpoints.folder import LARGEST_JSON_BYTES, read_json
from btworker.engine.asr.checkpoint_file import CheckpointError

SIGN = re.compile(r"<\|.*\|>")
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTES = {chr(byte): byte for byte in PRINTABLE} | {
    chr(256 + place): byte for place, byte in enumerate(byte for byte in range(256) if byte not in PRINTABLE)
}
"""GPT-2's character -> the byte that it stands for."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Tokens by what they are."""

    words: dict[int, bytes] = field(default_factory=dict)
    """What a text is made of."""
    signs: dict[str, int] = field(default_factory=dict)
    """What is written <|so|>."""
    added: dict[int, bytes] = field(default_factory=dict)
    """Words that the tokenizer knows besides its vocabulary."""

    def add_word(self, spelled: str, token: int) -> None:
        """Add an entry of the vocabulary."""
        if SIGN.fullmatch(spelled):
            self.signs[spelled] = token
            return
        try:
            self.words[token] = bytes(BYTES[character] for character in spelled)
        except KeyError as error:
            raise CheckpointError("has a vocabulary that is not made of bytes, as Whisper's is") from error

    def add_extra(self, text: str, token: int, *, is_special: bool) -> None:
        """Add a token from beside the vocabulary, spelled as it is. A special one stands for no text."""
        if SIGN.fullmatch(text):
            self.signs[text] = token
        elif not is_special:
            self.added[token] = text.encode()


def read_table(folder: Path) -> TokenTable | None:
    """Read the first of the files that is there; None where there is none. Raises CheckpointError, NotWhisperError."""
    try:
        for read in (_of_tokenizer_json, _of_vocab_json, _of_list):
            table = read(folder)
            if table is not None:
                return table
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError("has tokenizer files that cannot be read") from error
    return None


def _of_tokenizer_json(folder: Path) -> TokenTable | None:
    raw = read_json(folder / "tokenizer.json")
    if not raw:
        return None
    if raw["model"].get("type", "BPE") != "BPE":
        raise CheckpointError(f"has a tokenizer of the kind {str(raw['model']['type'])[:40]!r}, and Whisper's is BPE")
    return _table(raw["model"]["vocab"], raw.get("added_tokens", ()))


def _of_vocab_json(folder: Path) -> TokenTable | None:
    vocabulary = read_json(folder / "vocab.json")
    if not vocabulary:
        return None
    about = read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
    extra = {int(token): {**entry, "id": int(token)} for token, entry in about.items()}
    for text, token in read_json(folder / "added_tokens.json").items():
        extra.setdefault(token, {"content": text, "id": token})
    return _table(vocabulary, extra.values())


def _table(vocabulary: dict[str, int], extra: Any) -> TokenTable:
    table = TokenTable()
    for spelled, token in vocabulary.items():
        table.add_word(spelled, int(token))
    for entry in extra:
        if entry["content"] not in vocabulary:
            table.add_extra(entry["content"], int(entry["id"]), is_special=bool(entry.get("special")))
    return table


def _of_list(folder: Path) -> TokenTable | None:
    """Read CTranslate2's list of all tokens. Those behind the signs were added."""
    listed = list(_listed(folder))
    if not listed:
        return None
    table, end = TokenTable(), listed.index("<|endoftext|>")
    for token, text in enumerate(listed):
        if token < end:
            table.add_word(text, token)
        else:
            table.add_extra(text, token, is_special=False)
    return table


def _listed(folder: Path) -> Iterator[str]:
    path = next((folder / name for name in ("vocabulary.json", "vocabulary.txt") if (folder / name).is_file()), None)
    if path is None or path.stat().st_size > LARGEST_JSON_BYTES:
        return
    text = path.read_text("utf-8")
    yield from map(str, json.loads(text)) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
