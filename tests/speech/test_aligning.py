"""Word alignment recorded as on a GPU: windows and texts of any length in one graph have the times that each has by
itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from btworker.engine.asr.decoding import aligning
from btworker.engine.asr.decoding.aligning import Aligning
from btworker.engine.asr.decoding.alignment import Attention, Text, attend
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.graphs import Graphs, Recording
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.decoding.warping import keep_compiled
from tests.slices import FULL, luck_of
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.emulated_graphs import EmulatedRecorder
from tests.speech.lively_model import Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]
SIGNS = (50258, 50259, 50359, 50363)
WINDOWS = 5


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    keep_compiled()
    return lively_pair(seed=3, ends=SEEDS[3])


@pytest.fixture(scope="module")
def sound(pair: Pair) -> list[KeptSound]:
    """Keys and values of some windows' sound."""
    with torch.no_grad():
        mels = torch.stack([window.mel for window in cases(seed=1)[:WINDOWS]])
        return [KeptSound(one) for one in pair.network.cross_keys_values(pair.network.encode(mels))]


@pytest.fixture(autouse=True)
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of fewer tokens: the model's texts are short."""
    monkeypatch.setattr(aligning, "LENGTHS", (16, 48))


def texts() -> list[Text]:
    """Of one token and of many, of windows of 30 s and of a moment."""
    luck = luck_of("alignment")
    sizes = [(1, 3000), (40, 3000), (11, 1234), (10, luck.randint(300, 2999)), (7, 90), (3, 14), (4, 9), (5, 6), (2, 2)]
    more = [(luck.randint(1, 43), luck.randint(20, 3000)) for _ in range(20 if FULL else 3)]
    return [Text(SIGNS, tuple(luck.randint(0, 50_000) for _ in range(count)), frames) for count, frames in sizes + more]


def assert_same(found: Sequence[Attention], wanted: Sequence[Attention]) -> None:
    """The same times, and numbers within rounding."""
    for one, other in zip(found, wanted, strict=True):
        assert one.matrix.shape == other.matrix.shape and one.text == other.text
        assert torch.allclose(one.matrix, other.matrix, atol=2e-3, rtol=2e-3, equal_nan=True)
        assert torch.allclose(one.probabilities, other.probabilities, atol=1e-6, rtol=1e-4)
        assert torch.allclose(one.most, other.most, atol=1e-6, rtol=1e-4)
        mine, theirs = one.alignment(), other.alignment()
        assert list(mine.starts_s) == list(theirs.starts_s) and mine.tokens == theirs.tokens


@pytest.mark.parametrize("count", [1, 3, 5])
def test_each_text_has_the_times_that_it_has_alone(pair: Pair, sound: list[KeptSound], count: int) -> None:
    """Whatever stands beside it, and stood there before; also where a graph has room for more."""
    recorder = EmulatedRecorder()
    with torch.no_grad():
        found = Aligning(pair.network, Graphs(recorder.recording), windows=WINDOWS, end=pair.tokenizer.eot)
        found.record(sound)
        before = recorder.recorded
        every = texts()
        for first in range(0, len(every), count):
            some = every[first : first + count]
            places = [(first + 3 * number) % WINDOWS for number in range(len(some))]
            wanted = attend(
                pair.network, some, [kept.numbers[:, places] for kept in sound], end=pair.tokenizer.eot
            )  # one after the other
            assert_same(found.attend(sound, places, some) or [], wanted)
    assert recorder.recorded == before and recorder.replayed >= len(every) // count


def test_what_no_graph_has_room_for_is_read_without(pair: Pair, sound: list[KeptSound]) -> None:
    """Too many windows, too long a text, or all heads of the upper half of a large model."""
    graphs = Graphs(EmulatedRecorder().recording)
    few = Aligning(pair.network, graphs, windows=2, end=pair.tokenizer.eot)
    text = Text(SIGNS, (1000,), 3000)
    assert few.attend(sound, [0, 1, 2], [text] * 3) is None
    assert few.attend(sound, [0], [replace(text, tokens=(1000,) * 44)]) is None
    assert Aligning.where_it_can(pair.network, None, windows=2, end=pair.tokenizer.eot) is None
    pair.network.align_by([(0, head) for head in range(aligning.MOST_HEADS + 1)])
    assert Aligning.where_it_can(pair.network, graphs, windows=2, end=pair.tokenizer.eot) is None
    pair.network.align_by([(1, 0), (1, 1)])


def to_align(decoded: Decoded) -> Text:
    """Some words of a text."""
    found = tuple(token for token in decoded.tokens if token < 50_257)[:30] or (1000,)
    return Text(SIGNS, found, 3000 - 400 * (len(found) % 5))


def test_windows_of_the_decoder_have_their_own_times(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without graphs, in places that are taken again, while the next windows are decoded."""
    for name in ("_round", "prepare"):  # operations on inference tensors cannot be looked at on their way
        monkeypatch.setattr(Decoder, name, torch.no_grad()(getattr(Decoder, name).__wrapped__))
    requests = [replace(one.request(pair.tokenizer), to_align=to_align) for one in cases(seed=2)[: 12 if FULL else 4]]
    found: list[Any] = []
    for recording in (Recording(None), EmulatedRecorder().recording):
        decoder = Decoder(pair.network, pair.tokenizer, batch_size=2, recording=recording)
        found.append([list(one.alignment.starts_s) for one in all_of(decoder, requests)])
    assert found[0] == found[1] and len({tuple(starts) for starts in found[0]}) == len(requests)
