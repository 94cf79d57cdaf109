"""Speech probabilities become spans, and spans become windows. Pure: no torch, no network."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.vad.packing import GRID, MAX_GAP_S, QUIET_FRAMES, pack
from btworker.engine.vad.spans import FRAME, Span, SpeechThresholds, spans_of

SECOND = 16_000
PLAIN = SpeechThresholds(min_speech_ms=0, min_silence_ms=0, pad_ms=0)
RULES = st.builds(
    SpeechThresholds,
    min_speech_ms=st.integers(0, 600),
    min_silence_ms=st.integers(0, 600),
    pad_ms=st.integers(0, 500),
)


@st.composite
def heard(draw: st.DrawFn, longest_run: int = 60) -> npt.NDArray[np.float32]:
    """Probabilities in runs, as speech and silence come, with values in between and single frames."""
    runs = draw(st.lists(st.tuples(st.sampled_from((0.0, 0.3, 0.35, 0.4, 0.5, 1.0)), st.integers(1, longest_run))))
    return np.repeat([value for value, _ in runs], [count for _, count in runs]).astype(np.float32)


def flat(*runs: tuple[float, float]) -> npt.NDArray[np.float32]:
    """(probability, seconds) each."""
    return np.concatenate([np.full(round(s * SECOND / FRAME), value, np.float32) for value, s in runs])


def samples_of(probabilities: npt.NDArray[np.float32], missing: int = 0) -> int:
    """The length of a recording with these frames, the last of which lacks `missing` samples."""
    return max(len(probabilities) * FRAME - missing, 0)


def test_speech_lasts_from_the_first_loud_frame_to_the_last_that_is_not_quiet() -> None:
    """Between the two thresholds what was goes on: no speech before it, speech after it."""
    probabilities = np.array([0.4, 0.5, 0.4, 0.36, 0.34, 0.4, 0.1], np.float32)
    assert spans_of(probabilities, samples_of(probabilities), PLAIN) == (Span(FRAME, 4 * FRAME),)


def test_a_short_pause_does_not_end_speech() -> None:
    """But one of the least length does."""
    rules = SpeechThresholds(min_speech_ms=0, min_silence_ms=96, pad_ms=0)
    short = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 1], np.float32)
    assert spans_of(short, samples_of(short), rules) == (Span(0, 5 * FRAME), Span(9 * FRAME, 10 * FRAME))


def test_what_is_too_short_is_dropped_and_a_one_word_answer_is_kept() -> None:
    """By default 100 ms of a click are no speech, 300 ms are a word, with room around it."""
    probabilities = flat((0, 1), (1, 0.096), (0, 1), (1, 0.288), (0, 1))
    (word,) = spans_of(probabilities, samples_of(probabilities))
    assert word.end - word.start == 9 * FRAME + 2 * 250 * 16


def test_neighbours_share_a_short_pause() -> None:
    """Each is padded by half of it."""
    probabilities = flat((1, 1.024), (0, 0.256), (1, 1.024))
    first, second = spans_of(probabilities, samples_of(probabilities))
    assert first.end == second.start == 32 * FRAME + 4 * FRAME


@pytest.mark.parametrize("total", [0, 1, 511])
def test_a_recording_of_less_than_a_frame(total: int) -> None:
    """It is no exception."""
    probabilities = np.ones(-(-total // FRAME), np.float32)
    spans = spans_of(probabilities, total, PLAIN)
    assert spans == ((Span(0, total),) if total else ())
    assert pack(spans, total, probabilities) == spans


@given(probabilities=heard(), rules=RULES, missing=st.integers(0, FRAME - 1))
def test_spans_are_in_order_disjoint_inside_and_long_enough(
    probabilities: npt.NDArray[np.float32], rules: SpeechThresholds, missing: int
) -> None:
    """Whatever is heard, and by whatever rules; and every loud frame of a span that was not dropped is in one."""
    total = samples_of(probabilities, missing)
    spans = spans_of(probabilities, total, rules)
    assert all(0 <= span.start < span.end <= total for span in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert all(span.end - span.start > rules.min_speech_ms * 16 for span in spans)
    bare = spans_of(probabilities, total, replace(rules, pad_ms=0))
    assert len(bare) == len(spans)
    for padded, span in zip(spans, bare, strict=True):
        assert padded.start <= span.start < span.end <= padded.end
        assert span.start - padded.start <= rules.pad_ms * 16 >= padded.end - span.end
    for one, other in pairwise(bare):
        assert other.start - one.end >= rules.min_silence_ms * 16


@given(
    probabilities=heard(longest_run=2000),
    rules=RULES,
    missing=st.integers(0, FRAME - 1),
    limit_s=st.sampled_from((1.0, 8.0, 30.0)),
    max_gap_s=st.sampled_from((0.0, 1.0, MAX_GAP_S)),
)
def test_all_speech_lies_in_exactly_one_window(
    probabilities: npt.NDArray[np.float32], rules: SpeechThresholds, missing: int, limit_s: float, max_gap_s: float
) -> None:
    """No window is over the limit or carries a long silence, they are in order, and begin on the decoder's frames."""
    total = samples_of(probabilities, missing)
    spans = spans_of(probabilities, total, rules)
    windows = pack(spans, total, probabilities, limit_s=limit_s, max_gap_s=max_gap_s)
    assert all(one.end <= other.start for one, other in pairwise(windows))
    for window in windows:
        assert 0 <= window.start < window.end <= total
        assert window.end - window.start <= limit_s * SECOND
        assert window.start % GRID == 0
        assert window.end % GRID == 0 or window.end == total
    times_covered = np.zeros(total + 1, np.int8)
    for window in windows:
        times_covered[window.start : window.end] += 1
    assert all(bool((times_covered[span.start : span.end] == 1).all()) for span in spans)
    assert times_covered.sum() <= sum(span.end - span.start + 2 * GRID + max_gap_s * SECOND for span in spans)


@given(
    probabilities=heard(longest_run=600),
    rules=RULES,
    missing=st.integers(0, FRAME - 1),
    part=st.floats(0, 1),
    limit_s=st.sampled_from((1.0, 8.0, 30.0)),
)
def test_the_windows_of_a_beginning_are_the_first_of_the_whole(
    probabilities: npt.NDArray[np.float32], rules: SpeechThresholds, missing: int, part: float, limit_s: float
) -> None:
    """Whatever comes after it; and they end where more is known, so that their last frames hear what is there."""
    total = samples_of(probabilities, missing)
    whole = pack(spans_of(probabilities, total, rules), total, probabilities, limit_s=limit_s)
    known = probabilities[: int(part * max(len(probabilities) - 1, 0))]
    spans = spans_of(known, samples_of(known), rules)
    windows = pack(spans, samples_of(known), known, limit_s=limit_s, goes_on=True)
    assert windows == whole[: len(windows)]
    assert all(window.end <= spans[-1].start // GRID * GRID for window in windows)


def test_most_windows_of_a_beginning_are_known() -> None:
    """Words of 2 s with a second between them: all but the one at the end."""
    probabilities = flat(*[(1, 2), (0, 1)] * 200)
    total = samples_of(probabilities)
    spans = spans_of(probabilities, total)
    whole = pack(spans, total, probabilities)
    assert len(whole) == 20
    assert pack(spans, total, probabilities, goes_on=True) == whole[:-1]


def test_a_window_is_cut_in_the_longest_pause_of_its_last_seconds() -> None:
    """Not in the last one."""
    tenths = [(0, 100), (105, 281), (291, 294), (296, 299), (301, 400)]
    spans = [Span(start * SECOND // 10, end * SECOND // 10) for start, end in tenths]
    windows = pack(spans, 40 * SECOND, np.ones(1250, np.float32))
    assert [(window.start / SECOND, window.end / SECOND) for window in windows] == [(0, 28.1), (29.1, 40)]


def test_a_long_silence_begins_a_new_window() -> None:
    """A shorter one does not."""
    spans = [Span(0, SECOND), Span(4 * SECOND, 5 * SECOND), Span(10 * SECOND, 11 * SECOND)]
    windows = pack(spans, 12 * SECOND, np.ones(375, np.float32))
    assert windows == (Span(0, 5 * SECOND), Span(10 * SECOND, 11 * SECOND))


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    """In the last third of the window: at 26 s a breath, at 10 s a longer one that comes too early."""
    probabilities = flat((0.99, 10), (0.4, 0.5), (0.99, 15.5), (0.6, 0.32), (0.99, 20))
    total = samples_of(probabilities)
    (span,) = spans_of(probabilities, total)
    first, second = pack([span], total, probabilities)
    assert first.end == second.start
    assert abs(first.end / SECOND - 26.1) <= QUIET_FRAMES * FRAME / SECOND


def test_speech_that_never_changes_is_cut_late() -> None:
    """Hours of music, say: windows are nearly full."""
    probabilities = np.ones(31_250, np.float32)
    total = samples_of(probabilities)
    windows = pack([Span(0, total)], total, probabilities)
    assert all(29.5 < (window.end - window.start) / SECOND <= 30 for window in windows[:-1])
