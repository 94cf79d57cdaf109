"""A job's own vocabulary: the names and terms that are likely in its recordings, and the two ways in which the decoder
knows of them. Some stand before every prompt, as many as its share of tokens has room for; all of them are favoured
while tokens are chosen (decoding/trie.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from btworker.engine.asr.decoding.trie import Trie, TrieMaker
from btworker.jobs import Options

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Keywords:
    """What a job's options say of them; see jobs.Options."""

    terms: tuple[str, ...]
    bonus: float
    prompt_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class JobVocabulary:
    """The keywords of a job for one model."""

    trie: Trie | None
    """None: nothing is favoured."""
    glossary: tuple[int, ...]
    """Tokens that stand before a prompt."""

    @classmethod
    def of(cls, keywords: Keywords, tries: TrieMaker, tokenizer: Any) -> "JobVocabulary":
        """Make that of a job; an empty one changes nothing in any text."""
        glossary = _glossary(keywords.terms, tokenizer, keywords.prompt_tokens)
        return cls(tries.make(keywords.terms, bonus=keywords.bonus), glossary)

    def before(self, prompt: Sequence[int], longest: int) -> tuple[int, ...]:
        """Put the glossary before a prompt, whose beginning gives way: both are `longest` tokens at most."""
        if not self.glossary:
            return tuple(prompt)
        room = max(longest - len(self.glossary), 0)
        return (*self.glossary[:longest], *(tuple(prompt)[-room:] if room else ()))


def count_shown(options: Options, tokenizer: Any, text_positions: int) -> int:
    """Count the tokens of a job's own prompt and keywords that the model is shown before a window."""
    prompt = options.prompt.strip()
    tokens = tokenizer.encode(" " + prompt, disallowed_special=()) if prompt else ()
    shown = _glossary(options.keywords, tokenizer, options.keyword_prompt_tokens)
    return min(len(shown) + len(tokens), text_positions // 2 - 1)


def never_written(terms: Sequence[str], tries: TrieMaker) -> str:
    """Name the keywords that no text of the model can have, the first ones; empty where there are none."""
    found = [term for term in terms if not (tries.forms(term, " ") or tries.forms(term, ""))]
    return ", ".join(found[:MOST_NAMED]) + (f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else "")


def _glossary(terms: Sequence[str], tokenizer: Any, most: int) -> tuple[int, ...]:
    """Write whole keywords as a list, the first ones first, as many as there is room for."""
    tokens: tuple[int, ...] = ()
    for number, term in enumerate(terms):
        more = tuple(tokenizer.encode((", " if number else " ") + term, disallowed_special=()))
        if len(tokens) + len(more) > most:
            break
        tokens += more
    return tokens
