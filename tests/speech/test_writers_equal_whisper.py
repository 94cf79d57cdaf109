"""srt, vtt, tsv and txt are byte for byte what openai-whisper's own writers write, but that no subtitle is empty; the
JSON has whisper's shape."""

import io
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from whisper.utils import get_writer

from btworker.jobs import OutputFormat
from btworker.outputs import Presentation, render
from btworker.transcript import Segment, Transcript, Word

pytestmark = pytest.mark.speech

VOCABULARY = ["I", "you're", "extraordinarily", "naïve,", "東京", "--"]
TEXT_FORMATS = [OutputFormat.SRT, OutputFormat.VTT, OutputFormat.TSV, OutputFormat.TXT]


def made_up(seed: int, *, words: bool) -> Transcript:
    """Segments of random words, lengths and pauses; past an hour; some of them empty."""
    chance = random.Random(seed)
    segments, clock = [], 3500.0 * (seed % 2)
    for number in range(30):
        clock += chance.choice([0.0, 0.0, 0.4, 5.0])
        start, spoken = clock, []
        for _ in range(chance.choice([1, 3, 12]) if number == 0 else chance.choice([0, 1, 3, 12])):
            end = clock + chance.uniform(0.05, 0.9)
            spoken.append(Word(" " + chance.choice(VOCABULARY), clock, end, 0.5))
            clock = end
        text = "".join(word.word for word in spoken)
        segments.append(Segment(number, 0, start, clock, text, words=tuple(spoken) if words else ()))
    return Transcript("".join(s.text for s in segments), "en", tuple(segments), clock)


def whispers(transcript: Transcript, kind: OutputFormat, **options: Any) -> str:
    """What whisper's writer makes of it, without the segments that it would show as empty subtitles."""
    if kind in (OutputFormat.SRT, OutputFormat.VTT) and not any(segment.words for segment in transcript.segments):
        transcript = replace(transcript, segments=tuple(one for one in transcript.segments if one.text))
    result = json.loads(render(transcript, OutputFormat.JSON, Presentation(title="x")))
    file = io.StringIO()
    get_writer(kind.value, ".").write_result(result, file=file, options={}, **options)
    return file.getvalue()


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("kind", TEXT_FORMATS)
def test_plain_files_are_equal(kind: OutputFormat, words: bool) -> None:
    """With word times and without."""
    for seed in range(10):
        transcript = made_up(seed, words=words)
        assert render(transcript, kind, Presentation(title="x")) == whispers(transcript, kind)


@pytest.mark.parametrize("kind", [OutputFormat.SRT, OutputFormat.VTT])
@pytest.mark.parametrize(
    "options",
    [
        {"max_line_width": 20},
        {"max_line_width": 20, "max_line_count": 1},
        {"max_line_width": 42, "max_line_count": 2},
        {"max_line_count": 2},
        {"highlight_words": True},
        {"highlight_words": True, "max_line_width": 30, "max_line_count": 2},
    ],
    ids=str,
)
def test_laid_out_subtitles_are_equal(options: dict[str, Any], kind: OutputFormat) -> None:
    """The options mean what they mean to whisper."""
    for seed in range(10):
        transcript = made_up(seed, words=True)
        assert render(transcript, kind, replace(Presentation(title="x"), **options)) == whispers(
            transcript, kind, **options
        )
