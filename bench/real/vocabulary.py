"""What a job's keywords bring on real speech: recall of rare words, errors in the other words, false insertions.

    python -W ignore -m bench.real.vocabulary [--recordings DIR] [--model base] [--mode fast] [--beams 1]
        [--bonus 0 1.5 …] [--prompt-tokens 0 60 …] [--terms 0 100 1000]

Rare is what the model's vocabulary is far from: a word of the reference of five letters or more that takes two tokens,
or three in other languages than English. A recording's terms are its own rare words, alone and among others: the rare
words of the other recordings, then words of whisper's table of spellings. `absent` gives it those others alone: each of
them that comes into the text is an insertion.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from whisper.normalizers.english import EnglishSpellingNormalizer
from whisper.tokenizer import get_tokenizer

from bench.real.ours import Ours
from bench.real.recordings import OWN, Recording, recordings
from bench.real.scoring import edits, plain_words
from bench.real.transcripts import Heard
from bench.real.weights import SOURCES, UnreachableError, checkpoint
from bench.speed.figures import text_table

RARE_LETTERS = 5
NONE_GIVEN = 1000
"""Terms whose chance occurrences are counted where none are given."""


class Case(NamedTuple):
    """A setting to be measured."""

    mode: str
    beams: int
    bonus: float
    prompt_tokens: int
    kind: str
    """none, own or absent."""
    number: int
    """Of terms, at least the own ones."""

    def cells(self) -> list[str]:
        """For a table."""
        terms = f"{self.kind} {self.number}" if self.number else self.kind
        return [f"{self.mode} {self.beams}", f"{self.bonus:g}", str(self.prompt_tokens), terms]


@dataclass
class Count:
    """Words of all recordings under one setting."""

    said: int = 0
    """Rare words in the references."""
    found: int = 0
    """Of those, in the transcripts at their places."""
    others: int = 0
    wrong: int = 0
    """Edits of the other words."""
    inserted: int = 0
    """Terms in the transcripts where the reference has none."""
    cpu_s: float = 0.0
    steps: int = 0
    missed: Counter[str] = field(default_factory=Counter)

    @property
    def recall(self) -> float:
        """In percent."""
        return 100 * self.found / self.said if self.said else 0.0

    @property
    def rest(self) -> float:
        """Word error rate of the others, in percent."""
        return 100 * self.wrong / self.others if self.others else 0.0

    def cells(self) -> list[str]:
        """For a table."""
        recall, rest = f"{self.recall:.1f} ({self.found}/{self.said})", f"{self.rest:.2f} ({self.wrong}/{self.others})"
        return [recall, rest, str(self.inserted), str(self.steps), f"{self.cpu_s:.0f}"]


def rare_words(one: Recording, tokenizer: Any) -> list[str]:
    """A recording's own terms, in their order and as they are spelled there."""
    words = dict.fromkeys(re.sub(r"^\W+|\W+$", "", word) for word in one.reference.split())
    return [
        word
        for word in words
        if len(word) >= RARE_LETTERS
        and word.isalpha()
        and len(tokenizer.encode(" " + word)) > (1 if one.language == "en" else 2)
        and len(plain_words(word, one.language)) == 1
    ]


def add(count: Count, one: Recording, heard: Heard, terms: Sequence[str], own: Sequence[str]) -> None:
    """Count a transcript: `own` are the rare words that are said, `terms` those that were given."""
    wanted, text = plain_words(one.reference, one.language), plain_words(heard.text, one.language)
    rare = {word for term in own for word in plain_words(term, one.language)}
    given = {word for term in terms for word in plain_words(term, one.language)}
    count.cpu_s += heard.cpu_s
    count.steps += heard.steps
    for i, j in edits(wanted, text):
        is_right = i is not None and j is not None and wanted[i] == text[j]
        if i is not None and wanted[i] in rare:
            count.said += 1
            count.found += is_right
            if not is_right:
                count.missed[wanted[i]] += 1
        else:
            count.others += i is not None
            count.wrong += not is_right
        if j is not None and not is_right and text[j] in given:
            count.inserted += 1


def others_than(one: Recording, own: dict[str, list[str]]) -> Iterator[str]:
    """Terms that are not said in a recording: other recordings' rare words, then words of other spellings."""
    said = {word.lower() for word in one.reference.split()}
    mapping = EnglishSpellingNormalizer().mapping
    candidates = [*(word for name, words in own.items() if name != one.name for word in words), *mapping]
    spoken = {plain for word in said for plain in plain_words(word, one.language)}
    for word in dict.fromkeys(candidates):
        if word.lower() not in said and not spoken.intersection(plain_words(word, one.language)):
            yield word


def measure(engine: Ours, some: Sequence[Recording], own: dict[str, list[str]], case: Case) -> Count:
    """Transcribe all under one setting."""
    count = Count()
    for one in some:
        terms = own[one.name] if case.kind == "own" else []
        terms = sorted([*terms, *islice(others_than(one, own), max(case.number - len(terms), 0))], key=str.casefold)
        more = {"keyword_bonus": case.bonus, "keyword_prompt_tokens": case.prompt_tokens}
        heard = engine.transcribe(one, case.mode, case.beams, keywords=tuple(terms), **more)
        add(count, one, heard, terms or list(islice(others_than(one, own), NONE_GIVEN)), own[one.name])
    return count


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=OWN, help="a folder with a manifest.json")
    parser.add_argument("--model", choices=sorted(SOURCES), default="base")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--mode", nargs="+", choices=("fast", "exact"), default=["fast"])
    parser.add_argument("--beams", type=int, nargs="+", default=[1])
    parser.add_argument("--bonus", type=float, nargs="+", default=[1.0])
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--terms", type=int, nargs="+", default=[0, 100, 1000], help="how many, the own ones among them"
    )
    parser.add_argument("--missed", action="store_true", help="name the rare words that are not found")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """What to measure: nothing given first, for each mode and number of beams."""
    for mode, beams in product(options.mode, options.beams):
        yield Case(mode, beams, 0.0, 0, "none", 0)
        for bonus, prompt in product(options.bonus, options.prompt_tokens):
            for number in options.terms:
                yield Case(mode, beams, bonus, prompt, "own", number)
            yield Case(mode, beams, bonus, prompt, "absent", max(100, *options.terms))


def main() -> int:
    """Transcribe under each setting, and print a table."""
    options = options_of()
    torch.set_num_threads(options.threads)
    try:
        engine = Ours(checkpoint(options.model))
    except UnreachableError as error:
        print(f"{error}\nNothing was measured: the weights are not in the cache and the registry cannot be reached.")
        return 1
    tokenizer = get_tokenizer(not options.model.endswith(".en"), num_languages=99)
    some = [one for one in recordings(options.recordings) if one.is_measured]
    own = {one.name: rare_words(one, tokenizer) for one in some}
    rows = []
    for case in cases(options):
        count = measure(engine, some, own, case)
        rows.append([*case.cells(), *count.cells()])
        print(" | ".join(map(str, rows[-1])), flush=True)
        if options.missed:
            print("   ", ", ".join(count.missed), flush=True)
    head = ["mode, beams", "bonus", "prompt", "terms", "recall %", "WER of the rest %", "inserted", "steps", "CPU s"]
    print(text_table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
