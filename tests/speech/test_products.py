"""Products by oneDNN, with weights and in the encoder's attention: decoding goes on with them as with torch's own."""

from dataclasses import replace

import pytest
import torch

from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.kernels.encoding import by_torch
from btworker.engine.asr.decoding.kernels.encoding_on_cpu import ByProducts
from btworker.engine.asr.decoding.kernels.products import BY_ONEDNN, BY_TORCH, soonest
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.requests import LanguageRequest
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(120),
    # whisper's beam search hands tensors to numpy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights, in our hands by oneDNN, the encoder's attention as well."""
    made = lively_pair(seed=3, ends=SEEDS[3])
    network = Network(made.whisper.state_dict(), DIMS, device=CPU, dtype=torch.float32, products=BY_ONEDNN)
    network.encoder_attention = ByProducts(BY_ONEDNN)
    return replace(made, network=network)


@pytest.mark.parametrize(("timed", "beams"), [(True, None), (False, 3)], ids=["greedy", "beams"])
def test_tokens_equal_openai_whisper(pair: Pair, timed: bool, beams: int | None) -> None:
    """Of windows with prompts and without, in batches and alone: tokens, log-probabilities to 1e-4."""
    windows = cases(seed=1)[:5]
    requests = [window.request(pair.tokenizer, timed=timed, beams=beams or 1) for window in windows]
    wanted = [window.wanted(pair.whisper, timed=timed, beams=beams) for window in windows]
    for batch_size in (1, 3):
        decoder = Decoder(pair.network, pair.tokenizer, batch_size=batch_size * (beams or 1))
        for mine, theirs in zip(all_of(decoder, requests), wanted, strict=True):
            assert list(mine.tokens) == theirs.tokens and mine.tokens
            assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-4
            assert abs(mine.no_speech_prob - theirs.no_speech_prob) <= 1e-5


def test_languages_and_times_are_those_of_torchs_products(pair: Pair) -> None:
    """Chances of languages to 1e-5, the words' times to the frame."""
    window = cases(seed=2)[0]
    text = Text(window.signs(timed=False), tuple(range(1000, 1008)), 3000)
    found = []
    for products in (BY_ONEDNN, BY_TORCH):
        network = Network(pair.whisper.state_dict(), DIMS, device=CPU, dtype=torch.float32, products=products)
        network.encoder_attention = by_torch if products is BY_TORCH else ByProducts(products)
        decoder = Decoder(network, pair.tokenizer, batch_size=2)
        ticket = decoder.detect_language(LanguageRequest(window.mel))
        decoder.wait([ticket])
        request = replace(window.request(pair.tokenizer), to_align=lambda _: text)
        (decoded,) = all_of(decoder, [request])
        assert decoded.alignment is not None
        found.append((ticket.answer.languages, decoded.alignment.starts_s.tolist()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert found[0][1] == found[1][1]


def test_a_window_that_is_no_number_stays_alone(pair: Pair) -> None:
    """A row of NaN makes none of the others one, whatever its weights are arranged for."""
    weight, x = torch.randn(96, 32), torch.randn(16, 32)
    x[3] = torch.nan
    is_nan = BY_ONEDNN.linear(x, BY_ONEDNN.arrange(weight), torch.randn(96)).isnan()
    assert is_nan[3].all() and not is_nan[[*range(3), *range(4, 16)]].any()


def test_products_of_other_devices_and_numbers_are_torchs() -> None:
    """What was compared with openai-whisper on a CPU, in float32, is used there alone; there, the one that is chosen
    gives what torch gives."""
    assert soonest(64, torch.device("cuda:0"), torch.float16) is BY_TORCH
    assert soonest(64, CPU, torch.bfloat16) is BY_TORCH
    chosen = soonest(64, CPU, torch.float32)
    weight, x, bias = torch.randn(64, 64), torch.randn(5, 64), torch.randn(64)
    assert torch.allclose(
        chosen.linear(x, chosen.arrange(weight), bias), BY_TORCH.linear(x, weight, bias), atol=1e-5, rtol=1e-5
    )
