"""Subtitles of transcripts made at random, read back by independent parsers; and what each writer escapes."""

import html
import itertools
import re
import unicodedata
from dataclasses import replace

import pysubs2
import pytest
import srt
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from btworker.jobs import OutputFormat
from btworker.outputs import SPEAKER_FILES, Presentation, render
from btworker.outputs.spans import LINGER_MS, separate
from btworker.transcript import Segment, Transcript, Turn, Word

TITLE = Presentation(title="my talk")
HIGHLIGHTED = replace(TITLE, highlight_words=True)
JOINER = "\u2060"
Cue = tuple[int, int, str]
"""From, to, in milliseconds, and the text without markup."""

SNIPPETS = st.sampled_from(
    [
        *("word", "naïve,", "東京", "🏳️‍🌈", "שלום", "42", "WEBVTT", "NOTE", "STYLE"),
        *("-->", "--", ">", "<", "<b>", "</i>", "&", "&lt;", "{\\an8}"),
        *("\n", "\n\n", "", " ", "\t", "\r", "\u2028", "\x85", "\x00", "\x1c", "\u200b"),
    ]
)
TEXTS = st.lists(SNIPPETS, max_size=6).map(lambda parts: " " + " ".join(parts)) | st.text(max_size=20)
TIMES = st.integers(0, 400).map(lambda tick: tick * 0.02) | st.floats(0, 7300, allow_nan=False)
LENGTHS = st.sampled_from([0.0, 0.0, 0.0002, 0.02, 0.5, 4.0, -1.0])
LABELS = st.sampled_from([None, None, "SPEAKER_00", "SPEAKER_01", "<Ann & Bob>"])


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    """A segment with or without words, of any length, none included, at any time."""
    start, length, text = draw(TIMES), draw(LENGTHS), draw(TEXTS)
    end, speaker = max(start + length, 0.0), draw(LABELS)
    words = []
    if draw(st.booleans()):
        parts = re.findall(r"\s*\S+", text) or [text]
        marks = sorted(draw(st.lists(TIMES, min_size=2, max_size=2)) if draw(st.booleans()) else [start, end])
        step = (marks[1] - marks[0]) / len(parts) * draw(st.sampled_from([0, 1, 1]))
        words = [Word(p, marks[0] + n * step, marks[0] + (n + 1) * step, 0.9, speaker) for n, p in enumerate(parts)]
    return Segment(0, 0, start, end, text, words=tuple(words), speaker=speaker)


TRANSCRIPTS = st.lists(segments(), max_size=8).map(lambda found: Transcript("", "en", tuple(found), 7300.0))
LIMITS = st.none() | st.integers(1, 40)
LAYOUTS = st.builds(Presentation, st.just("x"), LIMITS, LIMITS, st.booleans())


def letters(text: str) -> list[str]:
    """What can be seen of a text, whatever its order and its line breaks."""
    return sorted(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Zs"))


def srt_cues(text: str) -> list[Cue]:
    """What the package `srt` reads; strictly, so that nothing may stand between two cues."""
    found = list(srt.parse(text, ignore_errors=False))
    assert [one.index for one in found] == list(range(1, len(found) + 1))
    return [(round(c.start.total_seconds() * 1000), round(c.end.total_seconds() * 1000), c.content) for c in found]


def vtt_cues(text: str) -> list[Cue]:
    """What webvtt-py reads; entities are the reader's to resolve."""
    found = webvtt.from_string(text)
    clock = [(one.start_time.in_milliseconds(), one.end_time.in_milliseconds()) for one in found]
    return [(*span, html.unescape(one.text)) for span, one in zip(clock, found, strict=True)]


def check_times(cues: list[Cue]) -> None:
    """Each cue has a length and text, and ends before the next begins."""
    assert all(0 <= start < end for start, end, _ in cues)
    assert all(text.strip() for _, _, text in cues)
    assert all(one[1] <= following[0] for one, following in itertools.pairwise(cues))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(TRANSCRIPTS, LAYOUTS)
def test_every_cue_has_text_and_time_in_every_layout(transcript: Transcript, layout: Presentation) -> None:
    """None without length or text, none out of order; three parsers find the same number of them."""
    body = render(transcript, OutputFormat.SRT, layout)
    found = srt_cues(body)
    check_times(found)
    check_times(vtt_cues(render(transcript, OutputFormat.VTT, layout)))
    assert body.count("-->") == len(found)
    events = pysubs2.SSAFile.from_string(body, format_="srt") if found else []
    assert [(event.start, event.end) for event in events] == [(start, end) for start, end, _ in found]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(TRANSCRIPTS, LAYOUTS.map(lambda layout: replace(layout, highlight_words=False)))
def test_the_text_of_every_segment_is_in_the_subtitles(transcript: Transcript, layout: Presentation) -> None:
    """Whatever signs it holds, and whether or not other segments have words; nothing is added, either."""
    anonymous = tuple(
        replace(one, speaker=None, words=tuple(replace(word, speaker=None) for word in one.words))
        for one in transcript.segments
    )
    plain, wanted = replace(transcript, segments=anonymous), "".join(one.text for one in anonymous)
    vtt = vtt_cues(render(plain, OutputFormat.VTT, layout))
    assert letters("".join(text for _, _, text in vtt)) == letters(wanted)
    arrows = str.maketrans("", "", "->")
    subrip = srt_cues(render(plain, OutputFormat.SRT, layout))
    assert letters("".join(text for _, _, text in subrip).translate(arrows)) == letters(wanted.translate(arrows))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(TRANSCRIPTS)
def test_highlighting_shows_the_same_text(transcript: Transcript) -> None:
    """Each highlighted subtitle is one of the plain ones, with at most one word underlined."""
    plain = {text for _, _, text in srt_cues(render(transcript, OutputFormat.SRT, TITLE))}
    for _, _, text in srt_cues(render(transcript, OutputFormat.SRT, HIGHLIGHTED)):
        assert re.sub(r"</?u>", "", text) in plain
        assert text.count("<u>") == text.count("</u>") <= 1


SPANS = [
    ([(0, 500), (500, 900)], [(0, 500), (500, 900)]),  # as they should be
    ([(1000, 1000)], [(1000, 1000 + LINGER_MS)]),  # nothing follows
    ([(1000, 1000), (1300, 2000)], [(1000, 1300), (1300, 2000)]),  # up to what follows
    ([(0, 5000), (3000, 4000)], [(0, 3000), (3000, 4000)]),  # cut where the next begins
    ([(0, 1000), (1000, 1000), (1000, 1400)], [(0, 1000), (1000, 1200), (1200, 1400)]),  # shared
    ([(0, 500), (0, 9000)], [(0, 500), (500, 9000)]),  # the first needs less than its share
    ([(0, 9000), (0, 500)], [(0, 4500), (4500, 4500 + LINGER_MS)]),
    ([(7, 7), (7, 7), (7, 7), (8, 20)], [(7, 8), (8, 12), (12, 16), (16, 20)]),  # with what follows, too
    ([(3000, 2000), (4000, 4500)], [(3000, 4000), (4000, 4500)]),  # an end before the beginning
]


@pytest.mark.parametrize(("given_spans", "expected"), SPANS)
def test_spans_are_kept_where_they_can_be(given_spans: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    """And else moved as little as it takes."""
    assert list(separate(given_spans)) == expected


def one(text: str, *, words: bool = True, speaker: str | None = None) -> Transcript:
    """One segment of a second."""
    parts = re.findall(r"\s*\S+", text) if words else []
    spoken = tuple(Word(p, n / len(parts), (n + 1) / len(parts), 0.9, speaker) for n, p in enumerate(parts))
    segment = Segment(0, 0, 0.0, 1.0, text, words=spoken, speaker=speaker)
    turns = (Turn(0.0, 1.0, speaker),) if speaker else ()
    return Transcript(text, "en", (segment,), 1.0, turns=turns)


@pytest.mark.parametrize("words", [False, True])
def test_vtt_escapes_what_it_reserves(words: bool) -> None:
    """Entities for the text, and the voice tag is the writer's own."""
    body = render(one(" a <b> & c --> d", words=words, speaker="<Ann> & Bob"), OutputFormat.VTT, TITLE)
    assert body.splitlines()[3] == "<v &lt;Ann&gt; &amp; Bob>a &lt;b&gt; &amp; c --&gt; d"
    read = webvtt.from_string(body)[0]
    assert (html.unescape(read.text), html.unescape(read.voice)) == ("a <b> & c --> d", "<Ann> & Bob")


@pytest.mark.parametrize("words", [False, True])
def test_srt_has_no_tag_but_its_own(words: bool) -> None:
    """It knows no escapes: a joiner that nobody sees keeps players from taking text for a tag."""
    body = render(one(" a <b>c</b> {\\an8}d -- > e", words=words), OutputFormat.SRT, TITLE)
    assert body.splitlines()[2] == f"a <{JOINER}b>c<{JOINER}/b> {{{JOINER}\\an8}}d -- > e"
    assert pysubs2.SSAFile.from_string(body)[0].text.replace(JOINER, "") == "a <b>c</b> {\\an8}d -- > e"


def test_an_arrow_of_two_words_breaks_no_file() -> None:
    """`--` and `>` are one arrow where they stand together."""
    words = (Word(" a --", 0.0, 0.5, 0.9), Word("> b", 0.5, 1.0, 0.9))
    arrow = Transcript("", "en", (Segment(0, 0, 0.0, 1.0, " a --> b", words=words),), 1.0)
    assert render(arrow, OutputFormat.SRT, TITLE).splitlines()[2] == "a -> b"
    assert render(arrow, OutputFormat.VTT, TITLE).splitlines()[3] == "a --&gt; b"


def test_highlighting_keeps_its_own_markup_and_no_other() -> None:
    """The word is escaped, the underline is not."""
    assert "<u>&lt;i&gt;</u> x" in render(one(" <i> x"), OutputFormat.VTT, HIGHLIGHTED)
    assert f"<u><{JOINER}i></u> x" in render(one(" <i> x"), OutputFormat.SRT, HIGHLIGHTED)


def test_a_segment_without_words_keeps_its_text_among_others() -> None:
    """It is laid out in lines like the rest, over its own time."""
    spoken = one(" hello there").segments[0]
    silent = Segment(1, 0, 2.0, 4.0, " these words have no times of their own")
    mixed = Transcript("", "en", (spoken, silent), 4.0)
    assert [text for _, _, text in vtt_cues(render(mixed, OutputFormat.VTT, TITLE))] == [
        "hello there",
        "these words have no times of their own",
    ]
    cues = srt_cues(render(mixed, OutputFormat.SRT, replace(TITLE, max_line_width=12, max_line_count=1)))
    assert [text for _, _, text in cues] == ["hello there", "these words", "have no", "times of", "their own"]
    assert (cues[1][0], cues[-1][1]) == (2000, 4000)


def test_words_without_a_length_share_the_time_that_there_is() -> None:
    """Whisper often gives several words one instant; one at the very end of a subtitle is not underlined."""
    spoken = [("a", 1.0, 1.4), (" b", 1.4, 1.4), (" c", 1.4, 2.0), (" d", 2.0, 2.0)]
    words = tuple(Word(text, start, end, 0.9) for text, start, end in spoken)
    instant = Segment(1, 0, 5.0, 5.0, " e", words=(Word(" e", 5.0, 5.0, 0.9),))
    short = Transcript("", "en", (Segment(0, 0, 1.0, 2.0, " a b c d", words=words), instant), 6.0)
    assert srt_cues(render(short, OutputFormat.SRT, TITLE)) == [(1000, 2000, "a b c d"), (5000, 6000, "e")]
    assert srt_cues(render(short, OutputFormat.SRT, HIGHLIGHTED)) == [
        (1000, 1400, "<u>a</u> b c d"),
        (1400, 1700, "a <u>b</u> c d"),
        (1700, 2000, "a b <u>c</u> d"),
        (5000, 6000, "<u>e</u>"),
    ]


def test_a_word_of_white_space_leaves_no_blank_line() -> None:
    """A blank line ends a cue, and what follows it is lost."""
    words = tuple(Word(text, n / 4, (n + 1) / 4, 0.9) for n, text in enumerate(["first", " ", "\n", "last"]))
    odd = Transcript("", "en", (Segment(0, 0, 0.0, 1.0, "first  last", words=words),), 1.0)
    for width in (1, 5, 40):
        body = render(odd, OutputFormat.VTT, replace(TITLE, max_line_width=width))
        assert "".join(text for _, _, text in vtt_cues(body)).split() == ["first", "last"]


def test_no_line_break_or_control_splits_a_line() -> None:
    """Of txt, tsv and the table of turns, whatever a reader takes for one."""
    odd = one(" a\x0bb\u2028c\x85d\x00e\tf", speaker="Ann\u2028 B")
    assert render(odd, OutputFormat.TXT, TITLE).splitlines() == ["a b c d e f"]
    assert render(odd, OutputFormat.TSV, TITLE).splitlines() == ["start\tend\ttext", "0\t1000\ta b c d e f"]
    assert len(render(odd, OutputFormat.RTTM, TITLE).split()) == 10
    point = replace(odd, turns=(Turn(1.0, 1.0, "Ann"),))
    assert render(point, OutputFormat.RTTM, TITLE) == ""  # pyannote and NIST's tools refuse a turn without a length


def test_markdown_of_speakers_is_no_markup() -> None:
    """As in the transcript's own Markdown; an entity stays what was typed."""
    odd = one(" *a* [b](c) &lt; ~d~ <script>", speaker="SPEAKER_00")
    escaped = "\\*a\\* \\[b](c) \\&lt; \\~d\\~ \\<script>"
    assert SPEAKER_FILES["speaker-markdown"].write(odd, TITLE).endswith(f"\n\n**[00:00] SPEAKER_00:** {escaped}\n\n")
    assert escaped in render(odd, OutputFormat.MD, TITLE)
