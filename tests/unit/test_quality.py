# ruff: noqa: RUF001 - letters of many scripts are meant
"""What is said about a text without hearing it again: inventions, loops, missing speech, times in order. Pure."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.quality.coverage import apart, is_crowded, joined, total_s, unattended, uncovered
from btworker.engine.quality.hallucinations import assess, doubts, threshold
from btworker.engine.quality.loops import is_looping, is_looping_tokens
from btworker.engine.quality.measures import Points, SpeechBetween
from btworker.engine.quality.phrases import CLOSINGS, CREDITS, OPENINGS, SHORT_CLOSINGS, doubt_of, normalized
from btworker.engine.quality.scripts import foreign_share
from btworker.engine.quality.second_look import (
    CONFIRMED,
    LOOK_FROM,
    LOOK_TO,
    after_second_look,
    is_worth_it,
    shares_there,
)
from btworker.engine.quality.tidy import tidy, words_inside
from btworker.transcript import Hallucination, Missing, Segment, Transcript, Word

REASONS = {
    "empty_or_very_short", "known_hallucination_phrase", "foreign_characters", "high_no_speech_prob",
    "low_avg_logprob", "high_compression_ratio", "too_much_text_for_duration", "repetition",
    "no_speech_detected", "another_text",
}  # fmt: skip
"""The controller's contract, what the detector says, and the second look."""
TEXTS = st.text(max_size=60) | st.sampled_from(["", "Yes.", "♪", "好。", "1,000", "שלום", "👍", " and then"])
TIMES = st.floats(-10, 200) | st.sampled_from((0.0, float("nan"), float("inf"), float("-inf")))


def said(text: str, *, start: float = 0.0, seconds: float = 5.0, **numbers: float) -> Segment:
    """A segment that the model was sure of, unless `numbers` say otherwise."""
    sure = {"avg_logprob": -0.2, "compression_ratio": 1.4, "no_speech_prob": 0.02, **numbers}
    return Segment(0, 0, start, start + seconds, text, **sure)  # type: ignore[arg-type]


def judged(
    segments: Sequence[Segment], *, language: str, sensitivity: int, speech_between: SpeechBetween | None = None
) -> tuple[Segment, ...]:
    """All that is said of segments without a second look."""
    found = doubts(segments, language=language, speech_between=speech_between)
    return assess(segments, found, sensitivity=sensitivity)


def found(segment: Segment, language: str = "en", sensitivity: int = 50) -> Hallucination | None:
    """What is said of one segment alone."""
    (assessed,) = judged([segment], language=language, sensitivity=sensitivity)
    return assessed.hallucination


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Yes.", "en"), (" No.", "en"), ("Ja.", "de"), ("OK", "en"), ("42", "en"), ("5", "en"), ("はい。", "ja"),
        ("好。", "zh"), ("是", "zh"), ("네.", "ko"), ("Да.", "ru"), ("نعم.", "ar"), ("כן.", "he"), ("हाँ।", "hi"),
        ("I went to Nantes, then to Łódź and São Paulo.", "en"), ("Er fährt einen BMW von 1998.", "de"),
        ("彼はGoogleで働いています。", "ja"), ("Она купила iPhone 15 Pro.", "ru"),
        ("今天我们讨论人工智能的发展。", "zh"),
        ("No, no, no, no, no.", "en"), ("Ha ha ha ha!", "en"), ("It is very, very, very good.", "en"),
        ("Great job 👍👍", "en"), ("The angle α is 30°.", "en"), ("5, 4, 3, 2, 1, 0!", "en"),
        ("Thank you.", "en"), ("Thank you for watching over my children while I was away.", "en"),
        ("We have to check the subtitles by Monday.", "en"), ("안녕하세요 여러분 반갑습니다", "ko"),
        ("ฉันไปโรงเรียนทุกวันกับเพื่อน", "th"), ("אני גר בתל אביב כבר עשר שנים", "he"), ("xyzzy", "tlh"), ("слово", ""),
    ],
)  # fmt: skip
def test_what_people_say_is_not_flagged(text: str, language: str) -> None:
    """Short answers, names, loanwords, numbers and emoji, at the default sensitivity."""
    doubt = found(said(text), language)
    assert doubt is None or not doubt.flagged


@pytest.mark.parametrize(
    ("segment", "language", "reason"),
    [
        (said(""), "en", "empty_or_very_short"),
        (said(" ..."), "en", "empty_or_very_short"),
        (said(" \u200f\u00a0"), "he", "empty_or_very_short"),
        (said("Subtitles by the Amara.org community"), "en", "known_hallucination_phrase"),
        (said(" Thank you for watching!"), "en", "known_hallucination_phrase"),
        (said("Sous-titrage Société Radio-Canada"), "fr", "known_hallucination_phrase"),
        (said("Untertitel im Auftrag des ZDF für funk, 2017"), "de", "known_hallucination_phrase"),
        (said("ご視聴ありがとうございました"), "ja", "known_hallucination_phrase"),
        (said("由Amara.org社区提供的字幕"), "zh", "known_hallucination_phrase"),
        (said("Субтитры сделал DimaTorzok"), "ru", "known_hallucination_phrase"),
        (said("これは日本語です"), "en", "foreign_characters"),
        (said("Hello мой друг"), "en", "foreign_characters"),
        (said("שלום לכולם"), "ar", "foreign_characters"),
        (said("la la la la la la la la la la", compression_ratio=3.1), "en", "high_compression_ratio"),
        (said("A sentence of a good many words in almost no time.", seconds=0.2), "en", "too_much_text_for_duration"),
        (said("这是一个非常长的句子根本不可能在半秒钟之内说完", seconds=0.4), "zh", "too_much_text_for_duration"),
        (said("I think that I think that I think that I think that I think that"), "en", "repetition"),
        (said("とてもとてもとてもとてもとてもとてもとてもとてもとても"), "ja", "repetition"),
    ],
)  # fmt: skip
def test_each_strong_reason_alone_is_enough(segment: Segment, language: str, reason: str) -> None:
    """At the default sensitivity."""
    doubt = found(segment, language)
    assert doubt is not None
    assert reason in doubt.reasons
    assert doubt.flagged


def doubted(
    *, speech: float = 1.0, probability: float = 0.95, text: str = " Money needed from them.", **numbers: float
) -> Hallucination | None:
    """What is found where the detector has a share of speech, and each word a probability."""
    segment = said(text, seconds=2.0, **numbers)
    words = tuple(Word(word, 0.0, 2.0, probability) for word in text.split())
    (assessed,) = judged(
        [replace(segment, words=words)],
        language="en",
        sensitivity=50,
        speech_between=lambda low, high: [(low, low + speech * (high - low))],
    )
    return assessed.hallucination


@pytest.mark.parametrize(
    "numbers", [{"speech": 0.0}, {"probability": 0.2}, {"avg_logprob": -1.5}, {"no_speech_prob": 0.9}]
)
def test_one_number_alone_is_not_enough(numbers: dict[str, float]) -> None:
    """The detector misses speech in noise, names are improbable, and the model's numbers hold for a whole window."""
    doubt = doubted(**numbers)
    assert doubt is None or not doubt.flagged


def test_what_is_improbable_where_nobody_speaks_is_flagged() -> None:
    """With its reasons, the heaviest first."""
    doubt = doubted(speech=0.0, probability=0.3, avg_logprob=-1.5)
    assert doubt is not None
    assert doubt.flagged
    assert doubt.reasons == ("no_speech_detected", "low_avg_logprob")


@given(
    name=st.sampled_from(("speech", "probability", "avg_logprob", "no_speech_prob", "compression_ratio")),
    numbers=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    others=st.floats(0, 1),
)
def test_a_worse_number_makes_no_segment_more_credible(name: str, numbers: tuple[float, float], others: float) -> None:
    """Whatever the other numbers are; 0 is the best there is, 1 the worst."""
    ranges = {
        "speech": (1.0, 0.0),
        "probability": (1.0, 0.0),
        "avg_logprob": (0.0, -6.0),
        "no_speech_prob": (0.0, 1.0),
        "compression_ratio": (0.5, 15.0),
    }

    def confidence(of_name: float) -> float:
        shares = {**dict.fromkeys(ranges, others), name: of_name}
        numbers = {one: low + shares[one] * (high - low) for one, (low, high) in ranges.items()}
        doubt = doubted(**numbers)
        return doubt.confidence if doubt else 0.0

    assert confidence(min(numbers)) <= confidence(max(numbers))


def test_the_probabilities_of_its_own_words_count_for_a_segment() -> None:
    """Where they are aligned; the window's, which other segments share, only where they are not."""
    assert doubted(probability=0.95, avg_logprob=-3.0) is None
    without_words, improbable = found(said("Money needed from them.", avg_logprob=-3.0)), doubted(probability=0.05)
    assert without_words is not None
    assert improbable is not None
    assert without_words.reasons == improbable.reasons == ("low_avg_logprob",)


def test_a_thank_you_into_silence_is_flagged() -> None:
    """But not one that was heard, and a music note only where nobody spoke."""
    for text in ("Thank you.", "♪"):
        heard, silence = doubted(text=text), doubted(text=text, speech=0.0)
        assert heard is not None
        assert silence is not None
        assert (heard.flagged, silence.flagged) == (False, True)


def test_the_threshold_is_the_contracts() -> None:
    """From 0.9 to 0.3."""
    assert [threshold(value) for value in (0, 50, 70, 100)] == [0.9, 0.6, 0.48, 0.3]


def test_segments_that_repeat_are_flagged_from_the_second_on() -> None:
    """One, or two by turns; the first round may have been said, and a short answer may come again."""
    loop = "And we will see what comes next."
    many = judged([said(loop)] * 3, language="en", sensitivity=50)
    assert [one.hallucination is not None and one.hallucination.flagged for one in many] == [False, True, True]
    turns = judged([said(loop), said("Yes, of course we do.")] * 3, language="en", sensitivity=50)
    assert [one.hallucination is not None for one in turns] == [False] * 2 + [True] * 4
    answers = judged([said("Yes."), said("Yes."), said("Yes.")], language="en", sensitivity=100)
    assert [one.hallucination for one in answers] == [None] * 3
    assert judged([said("Yes.")] * 9, language="en", sensitivity=50)[-1].hallucination is not None


def test_segments_without_words_do_not_hide_a_repetition() -> None:
    """Exact mode leaves some between others; they themselves repeat nothing."""
    loop = said("And we will see what comes next.")
    looped = judged([loop, said(""), said(" ..."), loop, said(""), loop], language="en", sensitivity=50)
    reasons = [one.hallucination.reasons if one.hallucination else () for one in looped]
    assert ["repetition" in of_segment for of_segment in reasons] == [False, False, False, True, False, True]


def test_short_text_four_times_counts_together_with_silence() -> None:
    """Alone it is no reason to flag it, nor is a segment of which half is silent."""
    short = [said(" 5-3.", start=5.0 * n) for n in range(4)]
    mostly_silent = judged(short, language="en", sensitivity=50, speech_between=lambda low, _: [(low, low + 0.6)])
    spoken = judged(short, language="en", sensitivity=50, speech_between=lambda low, high: [(low, high)])
    assert [one.hallucination is not None and one.hallucination.flagged for one in mostly_silent] == [False] + [
        True
    ] * 3
    assert not any(one.hallucination and one.hallucination.flagged for one in spoken)


@pytest.mark.parametrize(
    ("temperature", "last", "avg_logprob", "is_flagged"),
    [(1.0, 1.0, -1.1, True), (0.8, 1.0, -1.1, False), (1.0, 1.0, -0.9, False), (1.0, None, -1.1, False)],
)
def test_what_the_last_temperature_left_unbelievable_is_flagged(
    temperature: float, last: float | None, avg_logprob: float, is_flagged: bool
) -> None:
    """Whatever its words' own probabilities are, unless a second look confirms it; not where a temperature was asked
    for, since nothing was given up there."""
    words = (Word(" That", 0.0, 1.0, 0.9), Word(" was", 1.0, 2.0, 0.9))
    segments = [replace(said(" That was", avg_logprob=avg_logprob), temperature=temperature, words=words)]
    (points,) = doubts(segments, language="en", last_temperature=last)
    assert is_worth_it(" That was", points) == is_flagged
    for share, flagged in ((0.0, True), (1.0, False)) if is_flagged else ():
        (assessed,) = assess(segments, [after_second_look(points, share)], sensitivity=50)
        assert (assessed.hallucination is not None and assessed.hallucination.flagged) == flagged


@pytest.mark.parametrize(
    "text", [" hahaha", " Ha ha ha!", " APPLAUSE", "(Laughter)", "♪ Music playing ♪", " Aplausos."]
)
def test_names_of_sounds_are_flagged_with_another_reason(text: str) -> None:
    """A laugh that is spelled is one, too."""
    assert not (alone := found(said(text))) or not alone.flagged
    assert (doubted := found(said(text, no_speech_prob=0.9))) is not None
    assert doubted.flagged


@pytest.mark.parametrize(
    "text", [" Hi, hi.", " Ha.", " Oh, he has.", " The music was loud.", " her", " hahahahahahahahab"]
)
def test_what_looks_like_a_sound_is_text(text: str) -> None:
    """Greetings, words with the same letters, and sentences about sounds."""
    assert doubt_of(normalized(text)) == 0


@given(texts=st.lists(TEXTS, min_size=1, max_size=5), others=st.lists(TEXTS, max_size=5))
def test_what_comes_out_again_is_a_share_of_each_text(texts: list[str], others: list[str]) -> None:
    """All of it where the sound gives the same texts, none where it gives nothing, whatever is around them."""
    letters = [any(sign.isalnum() for sign in text.casefold()) for text in texts]
    assert shares_there(texts, " ".join(texts)) == [float(one) for one in letters]
    assert shares_there(texts, "") == [0.0] * len(texts)
    assert all(0 <= share <= 1 for share in shares_there(texts, " ".join(others)))


def test_signs_and_capitals_do_not_count_as_another_text() -> None:
    """What is around a text may be other words; what comes in the wrong order is not there."""
    assert shares_there([" and so, my Fellow-Americans!"], "So it is. And so my fellow Americans, ask") == [1.0]
    assert shares_there(["one two", "three four"], "One two. Nothing else.")[0] == 1.0
    assert shares_there(["one two", "three four"], "One two. Nothing else.")[1] < 0.5


@given(first=st.floats(LOOK_FROM, LOOK_TO - 1e-6), share=st.floats(0, 1))
def test_a_second_look_decides(first: float, share: float) -> None:
    """At the default sensitivity a doubtful text is flagged if it does not come out again, and only then; the reason is
    told, and what spoke against it before."""
    points = after_second_look(Points(float, {"low_avg_logprob": first}), share)
    assert is_worth_it("Money needed from them.", Points(float, {"low_avg_logprob": first}))
    (one,) = assess([said("Money needed from them.")], [points], sensitivity=50)
    assert one.hallucination is not None
    assert one.hallucination.flagged == (share < CONFIRMED)
    assert "low_avg_logprob" in one.hallucination.reasons
    assert ("another_text" in one.hallucination.reasons) == (share < CONFIRMED)


@given(reason=st.sampled_from(sorted(REASONS - {"another_text"})), share=st.floats(0, 1))
def test_a_second_look_clears_the_models_own_doubts_alone(reason: str, share: float) -> None:
    """A known phrase where nobody speaks may come out twice, so that no doubt is taken back of one."""
    points = after_second_look(Points(float, {reason: 1.0}), share)
    own = reason in {"low_avg_logprob", "high_no_speech_prob", "high_compression_ratio"}
    assert (sum(points.values()) < 1.0) == (own and share >= CONFIRMED)
    phrase = after_second_look(Points(float, {"known_hallucination_phrase": 0.1, reason: 1.0}), share)
    assert sum(phrase.values()) >= 1.0


@pytest.mark.parametrize("points", [0.0, LOOK_FROM - 0.01, LOOK_TO, 9.0])
def test_what_is_beyond_doubt_has_no_second_look(points: float) -> None:
    """Neither what is hardly invented nor what surely is."""
    assert not is_worth_it("Money needed from them.", Points(float, {"repetition": points}))


@pytest.mark.parametrize(
    ("text", "is_long_enough"),
    [
        (" rhythm", False),
        (" Oh, wow.", True),
        ("", False),
        ("はい。", False),
        ("好。", False),
        ("ご視聴ありがとうございました", True),
    ],
)
def test_a_word_by_itself_has_no_second_look(text: str, is_long_enough: bool) -> None:
    """Out of what was spoken around it, it is often another one; in scripts without spaces letters count."""
    assert is_worth_it(text, Points(float, {"low_avg_logprob": 1.0})) == is_long_enough


@pytest.mark.parametrize("phrase", [*CREDITS, *OPENINGS, *CLOSINGS, *SHORT_CLOSINGS])
def test_every_known_phrase_is_known(phrase: str) -> None:
    """Also as Whisper may write it: capitals, a full stop."""
    assert doubt_of(normalized(phrase)) > 0
    assert doubt_of(normalized(f" {phrase.capitalize()}.")) > 0


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("abc", "en", 0.0), ("абв", "en", 1.0), ("abгд", "de", 0.5), ("абв", "ru", 0.0), ("abc", "ru", 0.0),
        ("ｆｕｌｌ", "en", 0.0), ("漢字かなカナー", "ja", 0.0), ("漢字", "ko", 0.0), ("한글", "ja", 1.0),
        ("", "en", 0.0),
        ("123 ♪ 👍", "en", 0.0), ("абв", "", 0.0), ("абв", "xx", 0.0), ("العربية", "fa", 0.0), ("がく", "zh", 1.0),
    ],
)  # fmt: skip
def test_foreign_letters_are_those_of_no_script_of_the_language(text: str, language: str, share: float) -> None:
    """Latin is foreign nowhere; an unknown language has no foreign letters."""
    assert foreign_share(text, language) == share


@given(
    texts=st.lists(st.tuples(TEXTS, TIMES, TIMES), max_size=12),
    language=st.sampled_from(("en", "ja", "ar", "", "xx")),
    sensitivity=st.integers(0, 100),
)
def test_assessing_never_fails_and_changes_nothing_else(
    texts: list[tuple[str, float, float]], language: str, sensitivity: int
) -> None:
    """Any text, any times; reasons are the contract's, and a higher sensitivity flags no fewer."""
    segments = [Segment(n, 0, start, end, text) for n, (text, start, end) in enumerate(texts)]
    assessed = judged(segments, language=language, sensitivity=sensitivity)
    # a NaN equals nothing, not even itself
    assert [repr(replace(one, hallucination=None)) for one in assessed] == [repr(one) for one in segments]
    for one in assessed:
        if one.hallucination:
            assert set(one.hallucination.reasons) <= REASONS
            assert 0 < one.hallucination.confidence <= 1
            assert one.hallucination.flagged == (one.hallucination.confidence >= threshold(sensitivity))
    again = judged(assessed, language=language, sensitivity=sensitivity)
    assert repr(again) == repr(assessed)


@pytest.mark.parametrize(
    "text",
    [
        "", "Yes.", "no no no no", "one two three four five six seven eight nine ten",
        "row row row your boat gently down the stream row row row your boat gently down the stream",
        "the cat and the dog and the bird and the fish and the horse and the cow", "はいはいはい", "哈哈哈哈",
        "7 times 7 is 49, 7 times 8 is 56, 7 times 9 is 63", "1,000,000,000,000", "https://example.org/a/b/c/d/e/f",
        "Donaudampfschifffahrtsgesellschaftskapitän", "ผมไปตลาดเพื่อซื้อผลไม้และผักสด", "😂😂😂",
    ],
)  # fmt: skip
def test_speech_is_no_loop(text: str) -> None:
    """Refrains, lists, laughter."""
    assert not is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "A good beginning of a text that says many different things. " + "and so on, " * 8,
        "no " * 8, "hahahahahahahahahahahahahahahaha", "字幕字幕字幕字幕字幕字幕字幕字幕字幕",
        "I don't know what to say to you now. " * 3, "今天天气很好，" * 4, "ไป" * 20, "شكرا لكم " * 6,
        "♪ " * 20, "👍" * 20,
    ],
)  # fmt: skip
def test_a_loop_is_found_wherever_it_is(text: str) -> None:
    """After much good text, in a script without spaces, within a word, in signs."""
    assert is_looping(text)


def test_tokens_loop_as_words_do() -> None:
    """For the decoder, which need not make text of them."""
    assert is_looping_tokens([50, 51, 52, *[7, 8, 9, 10, 11, 12, 13, 14] * 3])
    assert not is_looping_tokens(range(200))
    assert not is_looping_tokens([])


@given(st.lists(st.integers(0, 50_000), unique=True, min_size=8, max_size=60), st.integers(3, 10))
def test_what_never_repeats_is_no_loop_and_eight_tokens_three_times_are_one(tokens: list[int], times: int) -> None:
    """Whatever the tokens are, and whatever comes before."""
    assert not is_looping_tokens(tokens)
    assert is_looping_tokens([*range(-100, 0), *tokens * times])


def test_speech_without_text_is_listed() -> None:
    """Before, between and after the words, and inside a segment whose words stop; short gaps are not, but at the
    edges of the window, where decoders lose words, they are shorter."""
    words = (Word(" a", 10.0, 11.0, 0.9), Word(" b", 12.0, 13.0, 0.9), Word(" c", 20.0, 21.0, 0.9))
    segments = [Segment(0, 0, 10.0, 21.0, " a b c", words=words), Segment(1, 0, 30.0, 40.0, " more")]
    spans = [(2.0, 5.0), (9.0, 26.0), (31.0, 39.0), (40.8, 41.2), (50.0, 50.5)]
    assert uncovered(spans, segments) == ((2.0, 5.0), (9.0, 9.8), (13.2, 19.8), (21.2, 26.0), (50.0, 50.5))
    assert uncovered(spans, []) == ((2.0, 5.0), (9.0, 26.0), (31.0, 39.0), (50.0, 50.5))
    assert uncovered([(0.0, 60.0)], [Segment(0, 0, 0.0, 60.0, "  ")]) == ((0.0, 60.0),)
    assert uncovered([], segments) == ()


@pytest.mark.parametrize(
    ("word", "seconds", "missing"),
    [
        (" rhythm", 1.6, ()),
        (" rhythm", 2.4, ()),
        (" so", 4.0, ((10.6, 13.4),)),
        (" incomprehensibilities", 3.0, ()),
    ],
)
def test_a_word_covers_no_more_than_it_can_last(
    word: str, seconds: float, missing: tuple[tuple[float, float], ...]
) -> None:
    """An aligner gives a word the time of those after it that the decoder left out; slow words are none of those."""
    words = (Word(" a", 9.0, 10.0, 0.9), Word(word, 10.0, 10.0 + seconds, 0.9))
    spans = [(9.0, 10.0 + seconds)]
    assert uncovered(spans, [Segment(0, 0, 9.0, 10.0 + seconds, " a" + word, words=words)]) == missing


def attention(seconds: float, *holes: tuple[float, float], much: float = 0.2, little: float = 0.001) -> Any:
    """That of a text which leaves out what is spoken in the holes, one number for each 20 ms."""
    steps = np.full(round(seconds * 50), much, dtype=np.float32)
    for start, end in holes:
        steps[round(start * 50) : round(end * 50)] = little
    return steps


@pytest.mark.parametrize(
    ("holes", "skipped"),
    [
        ((), ()),
        (((4.0, 5.0),), ((4.06, 4.94),)),
        (((4.0, 4.5), (6.0, 6.8)), ((6.06, 6.74),)),  # a breath, and words
        (((0.0, 0.9), (11.0, 12.0)), ()),  # where nobody speaks
        (((1.0, 2.0), (9.0, 10.0)), ((1.1, 1.94), (9.06, 9.9))),  # at the edges of speech
    ],
)
def test_speech_that_no_token_attends_to(
    holes: tuple[tuple[float, float], ...], skipped: tuple[tuple[float, float], ...]
) -> None:
    """Half a second of it and more is listed, in seconds of the recording; where nobody speaks, none is."""
    moved = [(start + 60, end + 60) for start, end in skipped]
    found = unattended([(61.0, 70.0)], attention(12, *holes), 60.0)
    assert [edge for one in found for edge in one] == pytest.approx([edge for one in moved for edge in one], abs=0.03)


@pytest.mark.parametrize(
    ("spans", "steps"),
    [
        ([], attention(30)),
        ([(0.0, 30.0)], attention(0)),
        ([(40.0, 50.0)], attention(30)),
        ([(-5.0, -1.0)], attention(30)),
        ([(1.0, 1.1)], attention(30)),
        ([(0.0, 30.0)], attention(30, much=float("nan"))),
    ],
    ids=["silence", "no window", "after it", "before it", "a click", "no numbers"],
)
def test_nothing_is_skipped_where_nothing_is_to_be_seen(spans: list[tuple[float, float]], steps: Any) -> None:
    """And nothing fails."""
    assert unattended(spans, steps, 0.0) == ()


def test_a_few_words_of_much_speech() -> None:
    """Attention is little beside what the rest of the speech has, not beside a number: alignment heads differ."""
    for much in (0.02, 0.9):
        (skipped,) = unattended([(0.0, 20.0)], attention(20, (8.0, 11.0), much=much, little=much / 10), 0.0)
        assert skipped == pytest.approx((8.0, 11.0), abs=0.1)


@pytest.mark.parametrize(
    ("lengths_s", "crowded"),
    [
        ([], False),
        ([0.3, 0.02, 0.0, 0.3, 0.04], False),
        ([0.3, 0.02, 0.0, 0.04, 0.3], True),
        ([0.0, 0.0, 0.0], True),
        ([0.3, 0.05, 0.05, 0.05], False),
    ],
)
def test_three_words_without_time_are_a_crowd(lengths_s: list[float], crowded: bool) -> None:
    """In a row; two come in fast speech."""
    assert is_crowded(lengths_s) == crowded


def test_stretches_are_put_together() -> None:
    """Those that meet become one; apart are those that meet none."""
    words, seen = ((1.0, 2.0), (5.0, 6.0)), ((1.5, 2.5), (6.0, 6.5), (8.0, 9.0))
    assert joined(words, seen) == ((1.0, 2.5), (5.0, 6.5), (8.0, 9.0))
    assert joined((), ()) == ()
    assert apart(seen, words) == ((8.0, 9.0),)
    assert total_s(joined(words, seen)) == pytest.approx(4.0)


@given(
    spans=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 80)), max_size=10),
    texts=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), max_size=10),
)
def test_uncovered_is_what_is_speech_and_near_no_text(
    spans: list[tuple[int, int]], texts: list[tuple[int, int]]
) -> None:
    """Looked at tenth by tenth of a second; where it is just as long as is asked for, rounding may decide."""
    speech, clock, tenths = [], 0, ""
    for gap, length in spans:
        speech.append(((clock + gap) / 10, (clock + gap + length) / 10))
        clock, tenths = clock + gap + length, tenths + " " * gap + "x" * length
    segments = [Segment(n, 0, start / 10, (start + length) / 10, "x") for n, (start, length) in enumerate(texts)]
    for start, length in texts:
        low, high = max(start - 2, 0), start + length + 2  # REACH_S on both sides
        tenths = tenths[:low] + " " * len(tenths[low:high]) + tenths[high:]
    first = min((start for start, _ in texts), default=10_000) - 2
    last = max((start + length for start, length in texts), default=-1) + 2
    runs = [(run.start(), run.end()) for run in re.finditer("x+", tenths)]
    needed = [10 if first < end and start < last else 5 for start, end in runs]
    lengths = [end - start for start, end in runs]
    at_least = {run for run, length, least in zip(runs, lengths, needed, strict=True) if length > least}
    at_most = {run for run, length, least in zip(runs, lengths, needed, strict=True) if length >= least}
    missing = {(round(start * 10), round(end * 10)) for start, end in uncovered(speech, segments)}
    assert at_least <= missing <= at_most


def test_times_are_put_in_order() -> None:
    """Who overlaps the next one ends where that begins; what goes back or beyond the end is held."""
    segments = [
        said(" a", start=0, seconds=6), said(" b", start=5, seconds=-2), said(" c", start=4, seconds=3),
        said(" d", start=9, seconds=90),
    ]  # fmt: skip
    tidied = tidy(segments, 20.0)
    assert [(one.start, one.end) for one in tidied] == [(0, 5), (5, 5), (5, 7), (9, 20)]


@st.composite
def untidy(draw: st.DrawFn) -> list[Segment]:
    """Segments and words with any times."""
    words = st.lists(st.tuples(TIMES, TIMES), max_size=4)
    return [
        Segment(n, 0, start, end, f" {n}", words=tuple(Word(" x", *times, 0.5) for times in inner))
        for n, (start, end, inner) in enumerate(draw(st.lists(st.tuples(TIMES, TIMES, words), max_size=8)))
    ]


@given(segments=untidy(), duration_s=st.floats(0, 100))
def test_tidied_times_are_monotonic_and_inside_and_nothing_is_dropped(
    segments: list[Segment], duration_s: float
) -> None:
    """Whatever they were; and tidy again, they stay."""
    tidied = tidy(segments, duration_s)
    assert [(one.id, one.text, len(one.words)) for one in tidied] == [
        (one.id, one.text, len(one.words)) for one in segments
    ]
    assert all(0 <= one.start <= one.end <= duration_s for one in tidied)
    assert all(one.end <= other.start for one, other in pairwise(tidied))
    for one in tidied:
        assert all(one.start <= word.start <= word.end <= one.end for word in one.words)
        assert all(word.end <= other.start for word, other in pairwise(one.words))
    assert tidy(tidied, duration_s) == tidied


@given(segments=untidy())
def test_words_are_moved_into_their_segments(segments: list[Segment]) -> None:
    """And segments stay as they are: in exact mode they are openai-whisper's."""
    moved = words_inside(segments)
    assert [replace(one, words=()) for one in moved] == [replace(one, words=()) for one in segments]
    for before, after in zip(segments, moved, strict=True):
        assert [word.word for word in after.words] == [word.word for word in before.words]
        if before.start <= before.end:
            assert all(before.start <= word.start <= word.end <= before.end for word in after.words)
    (long,) = words_inside([Segment(0, 0, 1.0, 3.0, " x", words=(Word(" x", 0.5, 25.0, 0.5),))])
    assert [(word.start, word.end) for word in long.words] == [(1.0, 3.0)]


@given(st.lists(st.floats(0, 10), min_size=2, max_size=20))
def test_tidy_times_stay_as_they_are(moments: list[float]) -> None:
    """Segments in order, with their words inside, are given back."""
    ordered = sorted(moments)
    segments = tuple(
        Segment(n, 0, start, end, " x", words=(Word(" x", start, end, 0.5),))
        for n, (start, end) in enumerate(zip(ordered[::2], ordered[1::2], strict=False))
    )
    assert tidy(segments, 10.0) == segments


def test_a_transcript_keeps_its_doubts_and_its_gaps() -> None:
    """And does not mention what nobody looked for."""
    doubtful = replace(said("Thank you."), hallucination=Hallucination(0.61, ("high_no_speech_prob",), flagged=True))
    transcript = Transcript("x", "en", (said("Well."), doubtful), 9.0, missing_speech=(Missing(1.5, 4.0),))
    shape = transcript.to_dict()
    assert "hallucination" not in shape["segments"][0]
    assert shape["segments"][1]["hallucination"] == {
        "confidence": 0.61, "reasons": ["high_no_speech_prob"], "flagged": True
    }  # fmt: skip
    assert shape["missing_speech"] == [{"start": 1.5, "end": 4.0}]
    assert Transcript.from_dict(shape) == transcript
    assert "missing_speech" not in replace(transcript, missing_speech=()).to_dict()
