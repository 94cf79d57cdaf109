"""The Triton kernels of a step, by Triton's interpreter, beside the plain path: numbers, states and tokens."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.graphs import Recording
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.choosing import SHARES, Sizes, differing
from btworker.engine.asr.decoding.kernels.plain import PlainKernels
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.layers import Norm
from btworker.engine.asr.decoding.rules import History, TokenRules, Vocabulary
from btworker.engine.asr.weights import load_model
from btworker.engine.sound.ffmpeg import Audio
from btworker.errors import BtworkerError
from btworker.specs import EngineSettings
from tests.slices import FULL, luck_of, slice_of
from tests.speech.decoder_cases import SEEDS, Case, all_of, cases
from tests.speech.emulated_graphs import EmulatedRecorder
from tests.speech.interpreted import has_interpreter, interpreted
from tests.speech.lively_model import Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300), has_interpreter]
PLAIN = PlainKernels()
TOLERANCE = {torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
CPU = torch.device("cpu")
DEMO = (("demo", Path("btworker/demo/whisper-tiny-words.pt")),)


@pytest.fixture(scope="module", autouse=True)
def fused() -> Iterator[Any]:
    """The module of the kernels."""
    with interpreted(sound_lanes=64, rule_lanes=128) as module:
        yield module


def shapes(purpose: str) -> list[tuple[int, int, int, int, torch.dtype]]:
    """(rows, heads, head size, longest past, dtype): the corners, and some by chance, small ones in a slice."""
    luck = luck_of(purpose)
    corners = [(1, 2, 64, 1, torch.float32), (2, 6, 64, 448, torch.float16), (1, 3, 64, 96, torch.bfloat16)]
    if not FULL:
        return corners
    chosen = [
        (luck.randint(1, 4), luck.randint(6, 20), 64, luck.randint(1, 448), luck.choice(list(TOLERANCE)))
        for _ in range(6)
    ]
    return [*corners, (64, 6, 64, 70, torch.float16), *chosen]


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Within the rounding of the dtype."""
    return torch.allclose(found.float(), wanted.float(), atol=TOLERANCE[found.dtype], rtol=TOLERANCE[found.dtype])


@pytest.mark.parametrize(("rows", "heads", "width", "length", "dtype"), shapes("past"))
def test_the_past_is_kept_and_attended_to(
    fused: Any, rows: int, heads: int, width: int, length: int, dtype: torch.dtype
) -> None:
    """To each row's own end, whatever is beyond it; rows that are idle keep nothing, nor do those behind."""
    qkv = (torch.randn(rows, 3 * heads * width) * 0.5).to(dtype)
    own = torch.randn(2, rows + 2, heads, length, width).to(dtype)
    positions = torch.tensor([luck_of(f"{row}").randrange(length) if row else length - 1 for row in range(rows)])
    idle = torch.tensor([row % 5 == 1 for row in range(rows)])
    mine, theirs = own.clone(), own.clone()
    for row in range(rows):
        mine[:, row, :, positions[row] + 1 :] = torch.nan
    found = fused.FusedKernels(132).to_past(positions, idle, reach=length)(qkv, mine)
    wanted = PLAIN.to_past(positions, idle, reach=length)(qkv, theirs)
    busy = (~idle).nonzero()[:, 0].tolist()
    assert close(found[busy], wanted[busy]) and not found[idle].any()
    for row in range(rows):
        kept = positions[row] + (0 if idle[row] else 1)
        assert torch.equal(mine[:, row, :, :kept], (own if idle[row] else theirs)[:, row, :, :kept])
    assert torch.equal(mine[:, rows:], own[:, rows:])


@pytest.mark.parametrize(("rows", "heads", "width", "positions", "dtype"), shapes("sound"))
@pytest.mark.parametrize("shares", [1, 4, 16] if FULL else [1, 4])
def test_the_sound_is_attended_to(
    fused: Any, shares: int, rows: int, heads: int, width: int, positions: int, dtype: torch.dtype
) -> None:
    """In one piece or shared out, also where a share has nothing; rows that are idle have none."""
    query = (torch.randn(rows, heads * width) * 0.3).to(dtype)
    sound = torch.randn(2, rows + 1, heads, positions, width).to(dtype)[:, :rows]
    idle = torch.tensor([row % 5 == 1 for row in range(rows)])
    for kept in (KeptSound(sound), in_bytes(sound)):
        found = fused.FusedKernels(132).attend_to_sound(query, kept, idle, shares)
        assert close(found[~idle], PLAIN.to_sound(idle)(query, kept)[~idle]) and not found[idle].any()


def in_bytes(sound: torch.Tensor) -> KeptSound:
    """Keys and values in eight bits a number, behind a place that is empty."""
    shape = (2, sound.shape[1] + 1, *sound.shape[2:])
    kept = KeptSound.empty(shape, sound.dtype, CPU, bits=8)
    kept.keep(torch.arange(sound.shape[1]), sound)
    return kept.first(sound.shape[1])


@pytest.mark.parametrize("shares", [1, 4])
def test_beams_attend_to_the_sound_of_their_window(fused: Any, shares: int) -> None:
    """Three rows to each of two windows."""
    query, sound = torch.randn(6, 2 * 64) * 0.3, torch.randn(2, 3, 2, 100, 64)[:, :2]
    idle = torch.tensor([False] * 5 + [True])
    for kept in (KeptSound(sound), in_bytes(sound)):
        found = fused.FusedKernels(132).attend_to_sound(query, kept, idle, shares)
        assert close(found[:5], PLAIN.to_sound(idle)(query, kept)[:5]) and not found[5].any()


def test_small_batches_share_the_sound_out(fused: Any) -> None:
    """In as many parts as keep an H200 busy, and in none where the batch alone does."""
    kernels = fused.FusedKernels(132)
    assert [kernels.shares(rows * 20) for rows in (1, 2, 4, 8, 16, 24, 64, 128)] == [16, 8, 4, 2, 1, 1, 1, 1]
    assert {kernels.shares(heads) for heads in range(1, 3000)} == set(SHARES)


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")  # numpy's word about the NaN window
def test_no_number_stays_no_number(fused: Any) -> None:
    """In the row that has it, and in no other."""
    query, sound, idle = torch.randn(2, 64), torch.randn(2, 2, 1, 70, 64), torch.zeros(2, dtype=torch.bool)
    sound[0, 1, :, 66] = torch.nan
    for shares in (1, 2):
        for kept in (KeptSound(sound), in_bytes(sound)):
            found = fused.FusedKernels(132).attend_to_sound(query, kept, idle, shares)
            assert found[1].isnan().all() and not found[0].isnan().any()


@pytest.mark.parametrize("size", [64, 384, 1280])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("shape", "at_once"), [((5,), 1), ((2, 3), 4)])
def test_residual_and_norm_are_torchs(
    fused: Any, monkeypatch: pytest.MonkeyPatch, size: int, dtype: torch.dtype, shape: tuple[int, ...], at_once: int
) -> None:
    """The sum to the last bit, its norm within rounding, also far from zero, whatever the shape and the order in
    memory. The interpreter cuts bfloat16 off."""
    monkeypatch.setattr(fused, "NORM_ROWS", at_once)
    x, part = (torch.randn(*shape, size) * 3 + 20).to(dtype), torch.randn(size, *shape).to(dtype).movedim(0, -1)
    norm = Norm(torch.randn(size), torch.randn(size))
    total, normed = fused.FusedKernels(132).add_and_norm(x, part, norm)
    wanted_total, wanted = PLAIN.add_and_norm(x, part, norm)
    exact = dtype is not torch.bfloat16
    assert torch.equal(total, wanted_total) if exact else close(total, wanted_total)
    assert torch.allclose(normed.float(), wanted.float(), atol=1e-4 if dtype is torch.float32 else 0.1, rtol=1e-2)


VOCABULARY = Vocabulary(
    end=500, timestamps=540, no_timestamps=539, no_speech=538, blank=(3, 7), suppressed=(5, 9, 505, 538), latest_first=6
)
SIZE = 600


class Rows:
    """Rows of a lane in every state that the rules know."""

    def __init__(self, rows: int, purpose: str) -> None:
        generator = torch.Generator().manual_seed(luck_of(purpose).randrange(2**31))

        def chance() -> torch.Tensor:
            return torch.rand(rows, generator=generator) < 0.5

        self.length = torch.randint(1, 20, (rows,), generator=generator)
        self.limit = self.length + torch.randint(1, 3, (rows,), generator=generator)
        self.done, self.sum_logprob = torch.arange(rows) % 7 == 3, torch.zeros(rows)
        self.tokens, self.logprobs = torch.zeros(rows, 30, dtype=torch.long), torch.zeros(rows, 30)
        latest = torch.randint(-1, 59, (rows,), generator=generator)
        first, stamped = chance() & chance(), chance()
        latest, before = latest.masked_fill(first, -1), chance() | first
        self.history = (first, stamped & ~first & (latest >= 0), before, latest, chance() | chance())
        self.logits = torch.randn(rows, SIZE, generator=generator) * 3
        self.logits[:, VOCABULARY.timestamps :] += torch.randn(rows, 1, generator=generator) * 4
        self.logits[::5, VOCABULARY.end] += 9.0


def test_the_rules_choose_the_same(fused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Token, log-probability and all that a row remembers, in every state; rows that are done are as they were."""
    monkeypatch.setattr(fused, "RULE_LANES", 128 if FULL else 512)
    count = 500 if FULL else 24
    mine, theirs = Rows(count, "rules"), Rows(count, "rules")
    rules = TokenRules(VOCABULARY, SIZE, CPU)
    fused.FusedKernels(132).append_best(rules)(mine.logits, History(*mine.history), mine)
    lane = Lane.__new__(Lane)
    lane.rules, lane.done = rules, theirs.done.clone()
    for name in ("length", "limit", "sum_logprob", "tokens", "logprobs"):
        setattr(lane, name, getattr(theirs, name))
    before = Rows(count, "rules")
    history = History(*theirs.history)
    chosen, logprob, _ = rules.choose(theirs.logits, history, None)
    lane._append(chosen, logprob, history)
    olds = (*before.history, before.tokens, before.logprobs)
    founds, wanteds = (*mine.history, mine.tokens, mine.logprobs), (*history.tensors, lane.tokens, lane.logprobs)
    for found, wanted, old in zip(founds, wanteds, olds, strict=True):
        assert torch.equal(found[before.done], old[before.done])
        assert torch.allclose(found[~before.done].float(), wanted[~before.done].float(), atol=1e-4, rtol=0)
    assert torch.equal(mine.length, lane.length) and torch.equal(mine.done, lane.done)
    assert torch.allclose(mine.sum_logprob, lane.sum_logprob, atol=1e-4)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    seed = slice_of(list(SEEDS), 1, "step kernels")[0]
    return lively_pair(seed=seed, ends=SEEDS[seed])


@pytest.fixture
def with_kernels(fused: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network makes its steps with the kernels, in blocks as large as the interpreter likes them."""
    monkeypatch.setattr(pair.network, "kernels", fused.FusedKernels(1))
    monkeypatch.setattr(fused, "SOUND_LANES", 2048)
    monkeypatch.setattr(fused, "RULE_LANES", 1 << 16)


@pytest.mark.full
@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("timed", [True, False])
def test_the_texts_are_whispers(pair: Pair, timed: bool) -> None:
    """By the real decoder: with and without timestamps, prompts of all lengths, and places that are taken again."""
    windows = cases(seed=1)
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=3)
    found = all_of(decoder, [window.request(pair.tokenizer, timed=timed) for window in windows])
    for window, mine in zip(windows, found, strict=True):
        theirs = window.wanted(pair.whisper, timed=timed, beams=None)
        assert list(mine.tokens) == theirs.tokens
        assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-4


@pytest.mark.usefixtures("with_kernels")
def test_beams_are_whispers(pair: Pair) -> None:
    """By the same kernels; a prompt leaves room for few tokens."""
    window = replace(cases(seed=1)[0], prompt=tuple(range(1000, 1040)))
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=3)
    (found,) = all_of(decoder, [window.request(pair.tokenizer, beams=3)])
    wanted = window.wanted(pair.whisper, timed=True, beams=3)
    assert list(found.tokens) == wanted.tokens and abs(found.avg_logprob - wanted.avg_logprob) <= 1e-4


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")  # numpy's word about the NaN window
@pytest.mark.usefixtures("with_kernels")
def test_recorded_steps_give_the_same(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replayed as on a GPU, in one bucket for every length of the past, beside the plain path; a sample beside a greedy
    text, and a NaN window before both. Long prompts leave room for few tokens."""
    for owner, name in ((Decoder, "_round"), (Decoder, "prepare")):
        monkeypatch.setattr(owner, name, torch.no_grad()(getattr(owner, name).__wrapped__))
    recorder = EmulatedRecorder()
    windows = [replace(one, prompt=tuple(range(1000, 1084))) for one in cases(seed=2)[:2]]
    requests = [
        window.request(pair.tokenizer, temperatures=(0.7 * number,), seed="s") for number, window in enumerate(windows)
    ]
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2, recording=recorder.recording)
    poison = replace(windows[0], mel=torch.full_like(windows[0].mel, torch.nan)).request(pair.tokenizer)
    bad = decoder.submit(poison)
    decoder.wait([bad])
    found = [one.tokens for one in all_of(decoder, requests)]
    monkeypatch.setattr(pair.network, "kernels", PLAIN)
    plain = Decoder(pair.network, pair.tokenizer, batch_size=2, recording=Recording(None))
    assert found == [one.tokens for one in all_of(plain, requests)] and all(found)
    assert recorder.replayed > recorder.recorded > 0
    with pytest.raises(BtworkerError, match="no number"):
        _ = bad.answer


def test_wrong_numbers_are_found(fused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a model is loaded: kernels that are right pass, and one that is not is named."""
    monkeypatch.setattr(fused, "RULE_LANES", 1024)
    sizes, kernels = Sizes(heads=1, width=32, sound=40, text=9), fused.FusedKernels(1)
    assert differing(kernels, sizes, CPU) is None
    norm = kernels.add_and_norm
    wrongs = {
        "residual and norm": ("add_and_norm", lambda x, part, other: norm(x, part + 0.3, other)),
        "attention to the sound": ("attend_to_sound", lambda query, *_: query),
    }
    for name, (method, wrong) in wrongs.items():
        with monkeypatch.context() as patch:
            patch.setattr(kernels, method, wrong)
            assert (differing(kernels, sizes, CPU) or "").startswith(name)


@pytest.mark.full
def test_a_recordings_text_is_the_same(
    fused: Any, decoded: Callable[..., Audio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the embedded model, by the real decoder and with log-probabilities, beside the plain path."""
    monkeypatch.setattr(fused, "SOUND_LANES", 2048)
    monkeypatch.setattr(fused, "RULE_LANES", 1 << 16)
    model = load_model("demo", EngineSettings("demo", DEMO, Path("unused"), Path("unused"), offline=True), CPU)
    samples = decoded(min(Path("tests/data/heldout").glob("*.opus"), key=lambda path: path.stat().st_size)).samples
    mel = model.log_mel(samples).stretch(0, min(len(samples) // 160, 3000), size=3000)
    request = replace(
        Case(mel, "en", "transcribe", ()).request(model.tokens.tokenizer()),
        start=tuple(model.tokens.tokenizer("en", "transcribe").sot_sequence),
    )
    (wanted,) = all_of(model.decoder, [request])
    monkeypatch.setattr(model.network, "kernels", fused.FusedKernels(1))
    (found,) = all_of(Decoder(model.network, model.tokens.tokenizer(), batch_size=1), [request])
    assert found.tokens == wanted.tokens and len(found.tokens) > 5
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


def test_no_kernel_of_a_step_spills() -> None:
    """Compiled for Hopper and Blackwell, without a GPU: all are reported, and each has registers enough."""
    architectures = ["90", "100"] if FULL else slice_of(["90", "100"], 1, "spills")
    command = [sys.executable, "-W", "ignore", "bench/kernel_reports.py", "--batch", "64"]
    command += ["--architecture", *architectures]
    compiled = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, env=compiled, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"RESULT kernels={5 * len(architectures)} spilled_bytes=0"
