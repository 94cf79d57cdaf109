"""Log-probabilities of tokens, where a job asks for them: the model's own, and those of the text that is there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import whisper

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.recognition import Recognition
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.diarization.speakers import with_speakers
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import Options
from btworker.logprobs import TokenLogprob
from btworker.specs import EngineSettings
from btworker.transcript import Segment, Turn, Word
from tests.media.recordings import decode_whole
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.lively_model import Pair, lively_pair
from tests.speech.oracle import ours

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
TALK = Path("tests/data/heldout/20.opus")
JOB = Options(model="demo", language="en", token_logprobs=True)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    return lively_pair(seed=3, ends=SEEDS[3])


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """The embedded one."""
    settings = EngineSettings("demo", (("demo", CHECKPOINT),), Path("unused"), Path("unused"), offline=True)
    return load_model("demo", settings, torch.device("cpu"))


@pytest.mark.parametrize(("timed", "beams"), [(True, 1), (False, 3)], ids=["greedy", "beams"])
@torch.no_grad()
def test_each_token_has_openai_whispers_log_probability(pair: Pair, timed: bool, beams: int) -> None:
    """By its logits and filters after the same tokens; their sum, with the end of the text, is that of the text."""
    window = cases(seed=4)[2]
    (found,) = all_of(
        Decoder(pair.network, pair.tokenizer, batch_size=beams),
        [window.request(pair.tokenizer, timed=timed, beams=beams)],
    )
    options = whisper.DecodingOptions(
        task=window.task, language=window.language, without_timestamps=not timed, fp16=False
    )
    task = whisper.decoding.DecodingTask(pair.whisper, options)
    sound = pair.whisper.embed_audio(window.mel[None])
    tokens = torch.tensor([[*window.signs(timed=timed), *found.tokens]])
    before = tokens.shape[1] - len(found.tokens)
    logits = pair.whisper.logits(tokens, sound)[0]
    assert len(found.logprobs) == len(found.tokens) > 5
    for number, (token, logprob) in enumerate(zip(found.tokens, found.logprobs, strict=True)):
        row = logits[before + number - 1][None].clone()
        for rule in task.logit_filters:
            rule.apply(row, tokens[:, : before + number])
        assert abs(float(row.log_softmax(-1)[0, token]) - logprob) <= 1e-3
    total = found.avg_logprob * (len(found.tokens) + 1)
    assert sum(found.logprobs) >= total - 1e-3


@pytest.fixture
def transcribe(demo_model: Model, tmp_path: Path) -> Callable[[Options], Recognition]:
    """A recording under some options."""
    samples = decode_whole(TALK, tmp_path / "talk.s16").samples[: 12 * SAMPLE_RATE]
    return lambda options: ours(demo_model, samples, options, tmp_path / "journal.jsonl")


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_their_bytes_are_the_text(transcribe: Callable[[Options], Recognition], mode: str) -> None:
    """Of each segment, without timestamps and other signs; a job that does not ask has the same text and none."""
    found = transcribe(replace(JOB, decode=mode))
    assert found.segments
    for segment in found.segments:
        assert b"".join(token.data for token in segment.logprobs).decode() == segment.text
        assert all(token.logprob <= 0 for token in segment.logprobs)
    plain = transcribe(replace(JOB, decode=mode, token_logprobs=False))
    assert [replace(one, logprobs=()) for one in found.segments] == list(plain.segments)


def test_a_segment_of_two_speakers_keeps_each_ones_tokens() -> None:
    """By where the words end; none is lost."""
    words = (Word(" Hello", 0.0, 0.5, 1.0), Word(" there.", 0.5, 1.0, 1.0), Word(" Hi!", 2.0, 2.5, 1.0))
    tokens = tuple(TokenLogprob(data, -0.5) for data in (b" Hel", b"lo", b" there", b".", b" Hi", b"!"))
    segment = Segment(0, 0, 0.0, 2.5, " Hello there. Hi!", words=words, logprobs=tokens)
    found = with_speakers((segment,), (Turn(0.0, 1.2, "SPEAKER_00"), Turn(1.8, 3.0, "SPEAKER_01")))
    assert [b"".join(token.data for token in one.logprobs).decode() for one in found] == [" Hello there.", " Hi!"]
