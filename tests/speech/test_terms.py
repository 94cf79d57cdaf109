"""Terms that are favoured while a text is decoded: what they gain and lose, and that no other text knows of them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.favoured import NO_TERMS, TermTables
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import NEVER, History, TokenRules, Vocabulary
from btworker.engine.asr.decoding.trie import Node, Trie, TrieMaker, arrays, grow
from btworker.engine.asr.vocabulary import JobVocabulary, Keywords, never_written
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

BONUS = 2.0
TERMS = ("New York", "New York City", "Newton", "Lucier", "東京", "e-mail", "Ångström")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    return lively_pair(seed=3, ends=SEEDS[3])


@lru_cache
def tokenizer() -> Any:
    """openai-whisper's, once its file was read (conftest.py)."""
    return get_tokenizer(multilingual=True, num_languages=99, language="en", task="transcribe")


@lru_cache
def vocabulary() -> Vocabulary:
    """Its parts."""
    return Vocabulary.of(tokenizer())


def trie(terms: Sequence[str] = TERMS, *, bonus: float = BONUS) -> Trie:
    """Of these terms."""
    made = TrieMaker(tokenizer(), banned=vocabulary().suppressed).make(terms, bonus=bonus)
    assert made is not None
    return made


def forms(terms: Sequence[str]) -> dict[tuple[int, ...], bool]:
    """Every form of the terms -> whether it begins a word by itself, written down once more and slowly."""
    found = {}
    for term in terms:
        for text in (term, term.lower(), term.upper(), term[:1].upper() + term[1:]):
            for space in ("", " "):
                found[tuple(tokenizer().encode(space + text))] = bool(space)
    return found


def gains(said: list[int], terms: Sequence[str]) -> dict[int, float]:
    """What each token gains after this text, over leaving all terms: by looking at the text's end, token by token."""
    known = forms(terms)
    best: dict[int, float] = {}
    letter = bool(said) and ends_in_a_letter(said[-1])
    begun = _begun(said, known)
    for form, has_space in known.items():
        if has_space or not letter:
            best[form[0]] = max(best.get(form[0], 0.0), BONUS)
        if begun and form[: len(begun)] == begun and len(form) > len(begun):
            whole = max((n for n in range(len(begun) + 1) if begun[:n] in known), default=0)
            best[form[len(begun)]] = BONUS * (len(begun) + 1 - whole)
    return best


def _begun(said: list[int], known: dict[tuple[int, ...], bool]) -> tuple[int, ...]:
    """The way into a term on which the text is, each token followed as the tree is: on, else anew, else out."""
    way: tuple[int, ...] = ()
    letter = False
    for token in said:
        if any(form[: len(way) + 1] == (*way, token) for form in known) and way:
            way = (*way, token)
        elif any(form[0] == token and (has_space or not letter) for form, has_space in known.items()):
            way = (token,)
        else:
            way = ()
        letter = ends_in_a_letter(token)
    return way


def ends_in_a_letter(token: int) -> bool:
    """One behind which a word may go on; letters that are words come behind U+1100."""
    last = tokenizer().decode([token])[-1:]
    return last.isalnum() and last < "\u1100"


def followed(said: Sequence[int], made: Trie) -> TermTables:
    """Tables of one row that has this text."""
    tables = TermTables(1, 1, CPU, never=vocabulary().suppressed[-1])
    tables.place(0, made)
    for token in said:
        now = tables.favoured(slice(0, 1), tables.widths(1))
        assert now is not None
        tables.follow(torch.tensor([token]), slice(0, 1), now)
    return tables


TEXTS = [
    "",
    " I went to New York",
    " I went to New",
    " I went to New York City Newton",
    " Newt",
    " the new york city",
    " LUC",
    " an e-mail, \u201cLucier",
    " pLucier",
    " \u6771\u4eac\u6771",
    " \u00c5ngstr",
    " New New York",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_token_gains_what_the_text_before_it_says(text: str) -> None:
    """After every beginning of a text, all tokens of the vocabulary: the same as by looking at the text itself."""
    made, said = trie(), tokenizer().encode(text)
    for length in range(len(said) + 1):
        tables = followed(said[:length], made)
        now = tables.favoured(slice(0, 1), tables.widths(1))
        assert now is not None
        even = torch.zeros(1, 51865)
        found = now.scores(even) + now.held[:, None]
        wanted = torch.zeros(51865)
        for token, gain in gains(said[:length], TERMS).items():
            wanted[token] = gain
        found[0, vocabulary().suppressed[-1]] = 0.0
        assert torch.equal(found[0], wanted), tokenizer().decode(said[:length])


@pytest.mark.parametrize("seed", range(4))
def test_a_break_takes_back_all_that_was_gained(seed: int) -> None:
    """Over any text, gains less losses are the bonus of the whole terms in it, and of the one that it ends in."""
    rng, made = random.Random(seed), trie()
    pieces = [*TERMS, *(" " + term for term in TERMS), " New", " a", "Luc", ".", " Newt", "York", " Y"]
    said = tokenizer().encode("".join(rng.choice(pieces) for _ in range(40)))
    gained, tables = 0.0, followed([], made)
    whole = 0.0
    for token in said:
        now = tables.favoured(slice(0, 1), tables.widths(1))
        assert now is not None
        gained += float(now.scores(torch.zeros(1, 51865))[0, token])
        tables.follow(torch.tensor([token]), slice(0, 1), now)
        node = int(tables.row_state[0])
        if node > 1 and float(made.held[node]) == 0:
            whole += float(made.value[node])
    node = int(tables.row_state[0])
    assert gained == pytest.approx(whole + float(made.held[node]), abs=1e-3)
    assert whole > 0


def test_the_choice_is_the_best_score_and_its_own_log_probability() -> None:
    """Of 32 rows with random logits, timed and not: by masking the whole vocabulary; log-probabilities are the
    model's, without the bonus."""
    rows = 32
    rules = TokenRules(vocabulary(), 51865, CPU)
    history = History.empty(rows, CPU)
    history.timed[::2] = True
    tables = TermTables(rows, 1, CPU, never=vocabulary().suppressed[-1])
    made = trie(bonus=6.0)
    for row in range(0, rows, 3):
        tables.place(row, made)
    generator = torch.Generator().manual_seed(5)
    changed = 0
    for _ in range(12):
        logits = torch.randn((rows, 51865), generator=generator) * 3
        now = tables.favoured(slice(0, rows), tables.widths(rows))
        assert now is not None
        plain = rules.log_probabilities(logits.clone(), history)
        best, logprob, led = rules.choose(logits.clone(), history, now)
        scores = now.scores(plain)
        assert best.tolist() == scores.argmax(-1).tolist()
        torch.testing.assert_close(logprob, plain.gather(1, best[:, None])[:, 0], atol=1e-4, rtol=0)
        without = torch.tensor([row % 3 != 0 for row in range(rows)])
        assert torch.equal(best[without], plain.argmax(-1)[without])
        assert not ((scores == NEVER) != (plain == NEVER)).any()
        assert led is not None
        assert torch.equal(led, best != plain.argmax(-1))
        changed += int(led.sum())
        history.follow(best, vocabulary())
        tables.follow(best, slice(0, rows), now)
    assert changed > 5


@pytest.mark.sliced("neighbours terms", 1)
@pytest.mark.parametrize(("beams", "temperature"), [(1, 0.0), (3, 0.0), (1, 0.8)], ids=["greedy", "beams", "sampled"])
def test_neighbours_terms_change_nothing(pair: Pair, beams: int, temperature: float) -> None:
    """Eight windows, some with terms, lists of very different lengths: each has the text that it has alone."""
    maker = Decoder(pair.network, pair.tokenizer, batch_size=1).tries
    words = [pair.tokenizer.decode([token]).strip() for token in range(1000, 9000)]
    lists = [(), words[:3], words[:400], words[:2000], ()]
    tries = [maker.make([word for word in some if word.isalpha()], bonus=30.0) for some in lists]
    requests = [
        replace(
            window.request(
                pair.tokenizer, timed=False, beams=beams, temperatures=(temperature,), seed=f"window {number}"
            ),
            terms=tries[number % len(tries)],
        )
        for number, window in enumerate(cases(seed=3)[:8])
    ]
    together = all_of(Decoder(pair.network, pair.tokenizer, batch_size=4 * beams), requests)
    bare = [replace(request, terms=None) for request in requests]
    without = all_of(Decoder(pair.network, pair.tokenizer, batch_size=4 * beams), bare)
    for request, among_others, plain in zip(requests, together, without, strict=True):
        (alone,) = all_of(Decoder(pair.network, pair.tokenizer, batch_size=beams), [request])
        assert alone.tokens == among_others.tokens
        assert abs(alone.avg_logprob - among_others.avg_logprob) <= 1e-4
        assert request.terms is not None or plain.tokens == alone.tokens
    assert sum(one.tokens != plain.tokens for one, plain in zip(together, without, strict=True)) >= 3


def endless_terms(pair: Pair) -> Trie:
    """Terms whose last token is never chosen, with a bonus that leads every text into one."""
    never = Vocabulary.of(pair.tokenizer).suppressed[-1]
    root = Node(is_whole=True)
    for token in range(0, 40_000, 3):
        grow(root, (token, token + 1, never))
    return arrays(root, len(root.children), 20.0, torch.zeros(51865, dtype=torch.bool))


class Counting(Network):
    """Counts its steps."""

    steps = 0

    def step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Make one."""
        self.steps += 1
        return super().step(*args, **kwargs)

    @classmethod
    def of(cls, pair: Pair) -> "Counting":
        """Make one of the pair's weights."""
        return cls(pair.whisper.state_dict(), DIMS, device=CPU, dtype=torch.float32)


def test_a_term_that_is_never_whole_leaves_no_trace(pair: Pair) -> None:
    """Greedy rows are led into terms whose last token is never chosen, and go back: every text, and its probability, is
    the one without terms."""
    plain = [window.request(pair.tokenizer, timed=number % 2 == 0) for number, window in enumerate(cases(seed=9)[:8])]
    without = all_of(Decoder(pair.network, pair.tokenizer, batch_size=4), plain)
    counting, endless = Counting.of(pair), endless_terms(pair)
    requests = [replace(request, terms=endless) for request in plain]
    found = all_of(Decoder(counting, pair.tokenizer, batch_size=4), requests)
    assert [one.tokens for one in found] == [one.tokens for one in without]
    for one, other in zip(found, without, strict=True):
        assert abs(one.avg_logprob - other.avg_logprob) <= 1e-4
    assert counting.steps > 1.5 * max(len(one.tokens) for one in without), "no row was led"


def test_a_term_that_is_never_whole_leaves_no_trace_in_beams(pair: Pair) -> None:
    """It takes no beam's place, and counts for nothing at the end: every text is the one without terms, after as many
    steps. Many more searches: test_hypotheses.py."""
    windows = enumerate(cases(seed=9)[:8])
    plain = [window.request(pair.tokenizer, timed=number % 2 == 0, beams=5) for number, window in windows]
    endless = endless_terms(pair)
    bare, counting = Counting.of(pair), Counting.of(pair)
    without = all_of(Decoder(bare, pair.tokenizer, batch_size=40), plain)
    found = all_of(Decoder(counting, pair.tokenizer, batch_size=48), [replace(one, terms=endless) for one in plain])
    assert [one.tokens for one in found] == [one.tokens for one in without]
    assert counting.steps == bare.steps


def test_no_terms_are_no_tables(pair: Pair) -> None:
    """An empty list is no tree at all, and a step without trees looks at none."""
    assert JobVocabulary.of(Keywords((), 3.0, 100), TrieMaker(pair.tokenizer, banned=()), pair.tokenizer).trie is None
    tables = TermTables(2, 1, CPU, never=0)
    assert tables.widths(2) == NO_TERMS
    assert tables.favoured(slice(0, 2), NO_TERMS) is None


def test_the_list_before_a_prompt_has_whole_terms_in_its_room(pair: Pair) -> None:
    """The first ones first, as many as there is room for; the prompt's beginning gives way to them."""
    terms = tuple(f"Name{number}" for number in range(50))
    maker = TrieMaker(pair.tokenizer, banned=())
    shown = JobVocabulary.of(Keywords(terms, 1.0, 20), maker, pair.tokenizer)
    text = pair.tokenizer.decode(list(shown.glossary))
    assert 0 < len(shown.glossary) <= 20
    assert text.strip() == ", ".join(terms[: text.count(",") + 1])
    prompt = tuple(range(300, 400))
    assert shown.before(prompt, 47) == (*shown.glossary, *prompt[-(47 - len(shown.glossary)) :])
    assert len(shown.before(prompt, 10)) == 10
    assert JobVocabulary.of(Keywords(terms, 1.0, 0), maker, pair.tokenizer).before(prompt, 47) == prompt


def test_terms_that_are_never_written_are_named() -> None:
    """Signs of music are suppressed in every text."""
    maker = TrieMaker(tokenizer(), banned=vocabulary().suppressed)
    assert never_written(("Lucier", "\u266a\u266a\u266a", "<<"), maker) == "\u266a\u266a\u266a, <<"
    assert maker.make(("\u266a\u266a\u266a",), bonus=1.0) is None
    assert never_written(["\u266a" * n for n in range(2, 15)], maker).endswith(" and 3 more")
