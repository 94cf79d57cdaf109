"""The demo model's little language: its words, its sentence grammar and its voices.

Everything here is a pure function of a `random.Random`, so that a seed names a sentence. `synth` speaks the
sentences; `windows` turns them into what the trainer sees. Homophones (to/two, for/four, are/R, you/U) are left out
on purpose: nothing but context could tell them apart, and this language has hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

NUMBERS = tuple("zero one two three four five six seven eight nine ten eleven twelve twenty thirty hundred".split())
COLOURS = tuple("red blue green black white yellow brown orange purple silver".split())
THINGS = tuple("apples horses birds flowers books tickets bottles chairs stones windows letters boats".split())
PLACES = tuple(
    "house garden river mountain kitchen school market station bridge table forest island village hospital library "
    "road".split()
)
PEOPLE = tuple("doctor teacher farmer captain sister brother mother father neighbor".split())
OBJECTS = tuple("train music coffee water bread paper picture message question answer door engine".split())
VERBS = tuple(
    "opened closed painted carried bought found lost needs wants remembers visited left called cleaned".split()
)
ADJECTIVES = tuple("small big old new beautiful quiet happy cold warm broken empty heavy".split())
DETERMINERS = tuple("the my your this every".split())
PRONOUNS = tuple("we they she".split())
PREPOSITIONS = tuple("in on under near behind with from".split())
TIMES = tuple("today tomorrow yesterday".split())
PARTS = tuple("morning evening night winter summer spring".split())
OTHERS = tuple("and is was again here there never always yes no hello goodbye please thank".split())
MONTHS = tuple("January February March April May June July August September October November December".split())
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
LETTERS = tuple("BCDEFGHIJKLMNOPQRSTUVWXYZ")

WORDS: tuple[str, ...] = (
    NUMBERS + COLOURS + THINGS + PLACES + PEOPLE + OBJECTS + VERBS + ADJECTIVES + DETERMINERS + PRONOUNS
    + PREPOSITIONS + TIMES + PARTS + OTHERS + MONTHS + DAYS + LETTERS
)  # fmt: skip
PROPER = frozenset(MONTHS + DAYS + LETTERS)
# Words whose capitalised form is more than one token of whisper's tokenizer: they never open a sentence.
NEVER_FIRST = frozenset(
    "apples horses tickets bottles chairs letters boats farmer opened closed painted carried bought needs wants "
    "remembers visited cleaned empty evening".split()
)
VOICES = ("en-us", "en", "en-us+m3", "en-us+f2", "en+f4", "en-us+m7", "en-gb-x-rp+m1", "en-us+f5")

_COMMON = tuple(word for word in WORDS if word not in LETTERS)
_COMMON_FIRST = tuple(word for word in _COMMON if word not in NEVER_FIRST)

# A template is a row of slots; a slot in lower case is the word itself.
_SLOTS: dict[str, tuple[str, ...]] = {
    "NUM": NUMBERS, "COL": COLOURS, "THINGS": THINGS, "PLACE": PLACES, "PERSON": PEOPLE, "OBJ": OBJECTS,
    "VERB": VERBS, "ADJ": ADJECTIVES, "DET": DETERMINERS, "PRO": PRONOUNS, "PREP": PREPOSITIONS, "TIME": TIMES,
    "PART": PARTS, "MONTH": MONTHS, "DAY": DAYS, "LETTER": LETTERS,
}  # fmt: skip
_TEMPLATES: tuple[str, ...] = (
    "NUM ADJ THINGS",
    "NUM COL THINGS PREP DET PLACE",
    "DET PERSON VERB DET OBJ",
    "DET ADJ PERSON VERB NUM THINGS",
    "PRO VERB DET COL OBJ TIME",
    "PRO always VERB DET OBJ PREP DET PLACE",
    "PRO never VERB DET ADJ PLACE",
    "DET PLACE is ADJ and ADJ",
    "DET OBJ was PREP DET PLACE",
    "MONTH is ADJ and MONTH was ADJ",
    "please VERB DET OBJ on DAY PART",
    "hello PERSON",
    "TIME was DAY NUM MONTH",
    "on DAY PRO VERB DET PLACE again",
    "DAY PART in MONTH",
    "yes DET PERSON is here",
    "no DET THINGS VERB there",
    "goodbye and thank DET PERSON",
    "in PART DET PLACE was COL",
    "NUM NUM NUM NUM",
    "train LETTER NUM",
    "LETTER LETTER NUM NUM",
    "every PART DET PERSON VERB ADJ OBJ",
    "DET COL PLACE PREP DET ADJ PLACE",
    "there is OBJ on DET COL PLACE",
    "here is DET ADJ OBJ",
)


@dataclass(frozen=True)
class Sentence:
    """What one utterance says: its words in dictionary form, in order."""

    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentence as it is written: a capital first letter and a full stop."""
        joined = " ".join(self.words)
        return joined[0].upper() + joined[1:] + "."


def template_sentence(rng: Random) -> Sentence:
    """A sentence of the grammar, 2 to 8 words."""
    template = rng.choice(_TEMPLATES)
    while True:
        words = tuple(rng.choice(_SLOTS[slot]) if slot in _SLOTS else slot for slot in template.split())
        if words[0] not in NEVER_FIRST:
            return Sentence(words)


def random_sentence(rng: Random) -> Sentence:
    """One to eight words in no order at all, so that the model learns to listen and not to guess."""
    count = rng.randint(1, 8)
    words = [rng.choice(_COMMON_FIRST)] + [rng.choice(_COMMON) for _ in range(count - 1)]
    if rng.random() < 0.2:
        words[rng.randrange(count)] = rng.choice(LETTERS)
    return Sentence(tuple(words))


def sentence(rng: Random, template_share: float = 0.5) -> Sentence:
    """A sentence of the grammar or a random row of words."""
    return template_sentence(rng) if rng.random() < template_share else random_sentence(rng)
