"""Fast decoding on real speech: as good as openai-whisper's loop, better where there is silence and noise, the same
result however it was come by.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from btworker.cli.wer import word_errors
from btworker.engine.asr import language
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.recognition import Recognition, recognize, run_name
from btworker.engine.asr.spectrograms import WindowSamples
from btworker.engine.asr.timeline import WINDOW_FRAMES
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.recording import Recording, Whole
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import EACH_WINDOW, Options
from btworker.specs import EngineSettings
from btworker.transcript import Segment
from tests.slices import FULL
from tests.speech.oracle import ours

pytestmark = [pytest.mark.speech, pytest.mark.timeout(1800)]

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
HELD_OUT = sorted(Path("tests/data/heldout").glob("*.opus"))
MEASURED = HELD_OUT if FULL else HELD_OUT[8:14]
FAST = Options(model="demo", decode="fast")
EXACT = replace(FAST, decode="exact")
Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """In batches of four, so that refilling is met."""
    settings = EngineSettings(
        "demo", (("demo", CHECKPOINT),), Path("unused"), Path("unused"), offline=True, batch_size=4
    )
    return load_model("demo", settings, torch.device("cpu"))


@pytest.fixture
def hear(demo_model: Model, tmp_path: Path) -> Callable[..., Recognition]:
    """`hear(samples, options)`, from the beginning."""
    count = 0

    def run(samples: Samples, options: Options = FAST) -> Recognition:
        nonlocal count
        count += 1
        return ours(demo_model, samples, options, tmp_path / f"{count}.jsonl")

    return run


def said_in(path: Path) -> str:
    """The reference."""
    text: str = json.loads(path.with_suffix(".json").read_text())["text"]
    return text


def errors(found: Recognition, reference: str) -> int:
    """Wrong, missing and invented words."""
    return round(word_errors(reference=reference, hypothesis=found.text).rate * len(reference.split()))


def noise(seconds: float, *, loudness: float, seed: int) -> Samples:
    """Of a room."""
    sound = np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE)) * loudness
    return np.clip(sound, -32768, 32767).astype(np.int16)


def test_it_is_not_worse_than_openai_whispers_loop(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """Held-out recordings: at most 0.2 points more wrong words than exact decoding, which is whisper's own."""
    words = fast = exact = 0
    for path in MEASURED:
        samples, reference = decoded(path).samples, said_in(path)
        words += len(reference.split())
        fast += errors(hear(samples), reference)
        exact += errors(hear(samples, EXACT), reference)
    print(f"\n{len(MEASURED)} recordings: fast {fast / words:.2%}, exact {exact / words:.2%} of {words} words")
    assert fast <= exact + 0.002 * words


def test_a_window_whose_text_skips_speech_is_decoded_once_more(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """Between two alike phrases ("… this" and "… this") this model skips seven words, and spreads others over their
    time, so that no word is missing by the times of words."""
    samples = decoded(HELD_OUT[23]).samples[144 * SAMPLE_RATE : 174 * SAMPLE_RATE]
    found = hear(samples)
    assert "This question was from this village. This mother visited this engine." in found.text
    assert found.missing_speech == ()


def test_a_window_whose_text_repeats_itself_is_decoded_once_more(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """This model goes back to "Again", and writes four words that were spoken once a second time, in no time."""
    found = hear(decoded(HELD_OUT[19]).samples)
    assert "old stones. Again captain red found." in found.text


def test_silence_and_noise_are_not_decoded(hear: Callable[..., Recognition], decoded: Callable[..., Audio]) -> None:
    """Three recordings with a minute of noise before, between and after them: every word is there and none is
    invented, and openai-whisper's loop makes more mistakes of it."""
    fast = exact = 0
    for seed, path in enumerate(HELD_OUT[9:12]):
        samples, reference = decoded(path).samples, said_in(path)
        gaps = [noise(60, loudness=loudness, seed=seed) for loudness in (0, 60, 200)]
        long = np.concatenate([gaps[0], samples, gaps[1], samples, gaps[2]])
        twice = f"{reference} {reference}"
        fast += errors(hear(long), twice)
        exact += errors(hear(long, EXACT), twice)
        length_s = len(samples) / SAMPLE_RATE
        begins = [segment.start for segment in hear(long).segments]
        assert min(begins) >= 59
        assert not [one for one in begins if 60 + length_s <= one < 119 + length_s]
    print(f"\nwith silence and noise: {fast} mistakes in fast mode, {exact} in exact mode")
    assert fast < exact


@pytest.mark.parametrize("loudness", [0, 100])
def test_nobody_speaks(loudness: float, hear: Callable[..., Recognition]) -> None:
    """No text, no segment, and a language all the same."""
    found = hear(noise(40, loudness=loudness, seed=1))
    assert (found.text, found.segments, found.missing_speech) == ("", (), ())
    assert found.language


@pytest.mark.parametrize("count", [0, 1, 300, 8_000])
def test_recordings_of_next_to_nothing(count: int, hear: Callable[..., Recognition]) -> None:
    """Do no harm."""
    assert hear(noise(1, loudness=500, seed=2)[:count]).segments == ()


def test_times_are_in_order_and_in_the_recording(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """Of segments and of words."""
    samples = decoded(HELD_OUT[17]).samples
    found = hear(samples)
    edges = [edge for one in found.segments for word in one.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0 and edges[-1] <= len(samples) / SAMPLE_RATE
    assert [one.id for one in found.segments] == list(range(len(found.segments)))
    for one in found.segments:
        assert one.start <= one.words[0].start and one.words[-1].end <= one.end


def test_what_is_doubted_does_not_depend_on_word_times(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """Segments are made of words and judged by them, whether a job wants to see them or not. What is drawn by
    chance is doubtful."""
    samples, drawn = decoded(HELD_OUT[3]).samples, replace(FAST, temperature=4.0)
    with_words, without = hear(samples, drawn), hear(samples, replace(drawn, word_timestamps=False))
    assert any(one.words for one in with_words.segments)
    assert [replace(one, words=()) for one in with_words.segments] == list(without.segments)
    assert any(one.hallucination for one in without.segments)


def test_spectrograms_that_the_decoder_computes_change_nothing(
    hear: Callable[..., Recognition], decoded: Callable[..., Audio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where jobs send samples; languages are found by them, too."""
    samples, options = decoded(HELD_OUT[17]).samples, replace(FAST, language="")
    wanted = hear(samples, options)
    later: list[int] = []

    def window(self: LogMel, start: int, count: int, *, size: int) -> WindowSamples:
        assert size == WINDOW_FRAMES
        later.append(count)
        return self.later(start, count)

    monkeypatch.setattr(LogMel, "window", window)
    found = hear(samples, options)
    assert later and found.language == wanted.language
    assert [spoken(one) for one in found.segments] == [spoken(one) for one in wanted.segments]


@pytest.mark.parametrize("kept", [1, 2])
def test_an_attempt_goes_on_where_the_last_one_died(
    kept: int, demo_model: Model, decoded: Callable[..., Audio], tmp_path: Path
) -> None:
    """With the text and the times of an undisturbed one; other windows beside them move a probability by a rounding."""
    samples = decoded(HELD_OUT[20]).samples
    whole = ours(demo_model, samples, FAST, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) > kept
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:kept]) + b'{"torn')
    resumed = ours(demo_model, samples, FAST, tmp_path / "cut.jsonl")
    assert resumed.text == whole.text
    assert [spoken(one) for one in resumed.segments] == [spoken(one) for one in whole.segments]
    assert (tmp_path / "cut.jsonl").read_bytes().startswith(b"".join(lines[:kept]))
    assert len((tmp_path / "cut.jsonl").read_bytes().splitlines()) == len(lines)


def spoken(one: Segment) -> tuple[object, ...]:
    """All of a segment but probabilities."""
    return (one.id, one.seek, one.start, one.end, one.text, one.tokens, one.temperature, [w.start for w in one.words])


class RoundByRound:
    """The model's decoder, whose owner has its turn after each round."""

    def __init__(self, model: Model) -> None:
        self._decoder = model.decoder

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float) -> bool:
        """See Driver."""
        return self._decoder.wait(tickets, at_most_s=0)


def test_a_cancel_leaves_the_decoder_to_others(
    demo_model: Model, hear: Callable[..., Recognition], decoded: Callable[..., Audio], tmp_path: Path
) -> None:
    """In the middle of the batch; what is asked next is answered."""
    recording = Recording(Whole(decoded(HELD_OUT[20]).samples), "a recording")
    journal = Journal(tmp_path / "0.jsonl", run=run_name(demo_model, recording.sha256, FAST))
    piece = recognize(demo_model, recording, FAST, journal=journal, emit=lambda _: None)
    steps = side_by_side([lambda: piece], driver=RoundByRound(demo_model), may_begin=lambda: True)
    assert len(list(islice(steps, 12))) == 12
    steps.close()
    short = decoded(HELD_OUT[8])
    assert errors(hear(short.samples), said_in(HELD_OUT[8])) == 0


@pytest.mark.parametrize("options", [FAST, EXACT], ids=["fast", "exact"])
def test_no_window_is_encoded_twice(
    options: Options, demo_model: Model, decoded: Callable[..., Audio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for its language and its text, nor for its words."""
    encoded = 0
    encode = Network.encode

    def counting(network: Network, mel: torch.Tensor) -> torch.Tensor:
        nonlocal encoded
        encoded += len(mel)
        return encode(network, mel)

    monkeypatch.setattr(Network, "encode", counting)
    ours(demo_model, decoded(HELD_OUT[20]).samples, options, tmp_path / "0.jsonl")
    assert encoded == len((tmp_path / "0.jsonl").read_bytes().splitlines())


def test_the_language_is_that_of_most_windows(
    demo_model: Model, hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """English speech after a long noise is English."""
    samples = np.concatenate([noise(45, loudness=300, seed=3), decoded(HELD_OUT[12]).samples])
    assert hear(samples).language == "en"


def test_each_window_may_have_a_language_of_its_own(
    demo_model: Model, hear: Callable[..., Recognition], decoded: Callable[..., Audio]
) -> None:
    """Where all of them have the same, the text is the same, and every segment says which it is."""
    samples = np.concatenate([decoded(path).samples for path in HELD_OUT[8:11]])
    one, each = hear(samples), hear(samples, replace(FAST, language=EACH_WINDOW))
    assert each.text == one.text
    assert {segment.language for segment in one.segments} == {""}
    assert {segment.language for segment in each.segments} == {each.language} == {"en"}
    translated = hear(samples, replace(FAST, language=EACH_WINDOW, task="translate"))
    assert {segment.language for segment in translated.segments} == {""}


def test_languages_of_windows_do_not_depend_on_a_crash(
    demo_model: Model, decoded: Callable[..., Audio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the model is unsure of is that of the window before, also where an attempt goes on behind it."""
    monkeypatch.setattr(language, "SURE", 0.999)
    parts = [np.concatenate([noise(25, loudness=300, seed=seed), decoded(HELD_OUT[seed]).samples]) for seed in range(5)]
    samples, options = np.concatenate(parts), replace(FAST, language=EACH_WINDOW)
    path = tmp_path / "whole.jsonl"
    whole = ours(demo_model, samples, options, path)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 4
    for count in (1, 3):
        again = tmp_path / f"{count}.jsonl"
        again.write_bytes(b"".join(lines[:count]))
        resumed = ours(demo_model, samples, options, again)
        assert [(one.text, one.language) for one in resumed.segments] == [
            (one.text, one.language) for one in whole.segments
        ]
        assert resumed.language == whole.language
