"""Speech is found as silero-vad itself finds it, in recordings of any length, and the whole can be stopped."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from silero_vad import get_speech_timestamps, load_silero_vad
from silero_vad.utils_vad import get_speech_timestamps_from_probs

from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.stack.gpu_turns import all_bits
from btworker.engine.vad.detector import SpeechDetector
from btworker.engine.vad.network import SpeechNetwork
from btworker.engine.vad.spans import FRAME, SpeechThresholds, spans_of
from tests.slices import FULL
from tests.speech.conftest import noise_of

pytestmark = [pytest.mark.speech, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]

Samples = npt.NDArray[np.int16]
CPU = torch.device("cpu")
SILEROS = SpeechThresholds(fresh_threshold=None, min_speech_ms=250, min_silence_ms=100, pad_ms=30)
SAMPLE = Path("btworker/demo/sample.flac")
PEOPLE = sorted(Path("tests/data/real").glob("librivox-*.opus"))
RECORDINGS = [SAMPLE, *sorted(Path("tests/data/dialogues").glob("*.opus"))]
TOLERANCE = 1e-4
"""Float rounding, which the network remembers: one frame in 200 is more than 1e-5 apart."""
SECOND = 16_000


@pytest.fixture(scope="session")
def silero() -> Any:
    """The package's own module."""
    return load_silero_vad()


@pytest.fixture(scope="session")
def network() -> SpeechNetwork:
    """Ours, as it runs on a CPU."""
    return SpeechNetwork(CPU)


@pytest.fixture
def long(decoded: Callable[..., Audio]) -> Samples:
    """Speech, silence, soft and loud noise and tones by turns: five minutes, half an hour under BTWORKER_FULL=1."""
    speech = [np.array(decoded(path).samples) for path in RECORDINGS]
    tone = (np.sin(np.arange(3 * SECOND) * 0.1) * 8000).astype(np.int16)
    between = [np.zeros(2 * SECOND, np.int16), noise_of(5 * SECOND) // 60, noise_of(SECOND), tone, tone[:3000]]
    parts = [part for n in range(20) for part in (speech[n % len(speech)], between[n % len(between)])]
    return np.concatenate(parts)[: (1800 if FULL else 300) * SECOND + 77]


def theirs(silero: Any, samples: Samples) -> npt.NDArray[np.float32]:
    """One frame after the other through the package's module."""
    sound = torch.from_numpy(np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32) / 32768)
    silero.reset_states()
    with torch.no_grad():
        return np.array([silero(frame, SECOND).item() for frame in sound.view(-1, FRAME)], np.float32)


def timestamps(found: list[dict[str, int]]) -> list[tuple[int, int]]:
    return [(span["start"], span["end"]) for span in found]


@pytest.mark.sliced("spans of speech", 3)
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_spans_are_those_of_get_speech_timestamps(
    path: Path, decoded: Callable[..., Audio], silero: Any, network: SpeechNetwork
) -> None:
    """To the sample, with silero's own lengths and with ours."""
    samples = np.array(decoded(path).samples)
    probabilities = network.probabilities(samples)
    sound = torch.from_numpy(samples.astype(np.float32) / 32768)
    for rules in (SILEROS, SpeechThresholds()):
        wanted = get_speech_timestamps(
            sound, silero, min_speech_duration_ms=rules.min_speech_ms,
            min_silence_duration_ms=rules.min_silence_ms, speech_pad_ms=rules.pad_ms,
        )  # fmt: skip
        assert wanted
        assert [(span.start, span.end) for span in spans_of(probabilities, len(samples), rules)] == timestamps(wanted)


@pytest.mark.sliced("strips of sound", 1)
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("lanes", "lane_frames"), [(1, 500), (16, 250), (7, 1000)])
def test_strips_side_by_side_say_what_the_whole_says(lanes: int, lane_frames: int, long: Samples, silero: Any) -> None:
    """With strips far shorter than the network's memory, and over several stretches: the same chances and spans."""
    ours = SpeechNetwork(CPU, lanes=lanes, lane_frames=lane_frames).probabilities(long)
    wanted = theirs(silero, long)
    assert float(np.abs(ours - wanted).max()) <= TOLERANCE
    for rules in (SILEROS, SpeechThresholds()):
        assert spans_of(ours, len(long), rules) == spans_of(wanted, len(long), rules)


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 512 * 512 + 1, 512 * 4096, 512 * 4096 + 5])
def test_every_length_gives_a_value_for_each_frame(count: int, network: SpeechNetwork, silero: Any) -> None:
    """At the edges of frames, blocks and stretches."""
    samples = noise_of(max(count, 9000))[:count]
    ours = network.probabilities(samples)
    assert ours.shape == (-(-count // FRAME),)
    assert np.allclose(ours, theirs(silero, samples), rtol=0, atol=TOLERANCE)


def test_the_threads_of_torch_are_left_alone() -> None:
    """Importing silero_vad sets them to one for the whole process; our network only reads its file."""
    code = """
import torch
torch.set_num_threads(2)
from btworker.engine.vad.detector import SpeechDetector
SpeechDetector(torch.device("cpu"))
import sys
assert torch.get_num_threads() == 2 and "silero_vad" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=100)


def test_cudnns_precision_is_set_once_and_for_all(network: SpeechNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a while: it is that of all threads, so that two recordings at once, or one and its neighbour's speakers,
    would take it from each other in the middle."""
    flags = torch.backends.cudnn
    monkeypatch.setattr(flags, "allow_tf32", True)
    seen: list[bool] = []
    encode = network._encode
    monkeypatch.setattr(network, "_encode", lambda frames: (seen.append(flags.allow_tf32), encode(frames))[1])
    network.probabilities(noise_of(9000))
    assert seen == [True]
    all_bits(CPU)
    assert flags.allow_tf32
    all_bits(torch.device("cuda:0"))
    assert not flags.allow_tf32


def test_silence_and_noise_are_no_speech() -> None:
    """No windows, so nothing to invent text for."""
    detector = SpeechDetector(CPU)
    tone = (np.sin(np.arange(20 * SECOND) * 0.1) * 8000).astype(np.int16)
    for samples in (np.zeros(20 * SECOND, np.int16), noise_of(20 * SECOND) // 40, noise_of(90 * SECOND), tone):
        speech = detector.speech(samples)
        assert speech.spans == speech.windows() == ()
        assert speech.total_samples == len(samples)


def test_speech_behind_loud_noise_is_found(decoded: Callable[..., Audio]) -> None:
    """A minute of noise, three times as loud as the voice, hides at most a twentieth of what is found alone; silero
    alone misses a tenth and more."""
    white = np.fft.rfft(np.random.default_rng(7).standard_normal(60 * SECOND))
    pink = np.fft.irfft(white / np.sqrt(np.maximum(np.arange(len(white)), 1)))
    found = {"silero": 0, "ours": 0}
    wanted = 0
    for path in PEOPLE:
        voice = np.array(decoded(path).samples)
        noise = (pink / pink.std() * 3 * voice.std()).clip(-32768, 32767).astype(np.int16)
        behind = np.concatenate([noise, voice])
        alone = mask(SpeechDetector(CPU), voice)
        wanted += int(alone.sum())
        for name, rules in (("silero", SpeechThresholds(fresh_threshold=None)), ("ours", SpeechThresholds())):
            found[name] += int((alone & mask(SpeechDetector(CPU, rules), behind)[-len(voice) :]).sum())
    assert found["ours"] >= 0.95 * wanted
    assert found["silero"] < 0.9 * wanted


def mask(detector: SpeechDetector, samples: Samples) -> npt.NDArray[np.bool_]:
    """Which samples are speech."""
    those = np.zeros(len(samples), np.bool_)
    for span in detector.speech(samples).voiced:
        those[span.start : span.end] = True
    return those


@pytest.mark.parametrize("lane_frames", [1, 31, 100, 500])
def test_what_begins_afresh_does_not_depend_on_the_parts(lane_frames: int, network: SpeechNetwork) -> None:
    """Each frame lies in the same pieces, wherever a part of the recording begins."""
    samples = noise_of(600 * FRAME + 5)
    frames = 100 if lane_frames == 1 else 601
    parts = [
        np.concatenate([part.fresh for part in one.stretch(samples, 0, frames, state=one.initial_state())])
        for one in (network, SpeechNetwork(CPU, lane_frames=lane_frames))
    ]
    assert parts[0].shape == (frames,)
    assert np.allclose(*parts, rtol=0, atol=TOLERANCE)


def test_a_memory_map_is_read_in_pieces_and_can_be_stopped(tmp_path: Path, network: SpeechNetwork) -> None:
    """Each of about two minutes, after which whoever asked may leave."""
    path = tmp_path / "long.s16"
    noise_of(FRAME * 4096 * 3).tofile(path)
    samples = np.memmap(path, np.int16, "r")
    parts = network.stretch(samples, 0, 3 * 4096, state=network.initial_state())
    found = [next(parts).carried, next(parts).carried]
    parts.close()
    whole = network.probabilities(samples)
    assert [len(part) for part in found] == [4096, 4096]
    assert len(whole) == 3 * 4096
    assert np.array_equal(np.concatenate(found), whole[: 2 * 4096])


@settings(max_examples=200 if FULL else 50, deadline=None)
@given(
    runs=st.lists(st.tuples(st.sampled_from((0.0, 0.34, 0.35, 0.4, 0.5, 1.0)), st.integers(1, 30)), max_size=40),
    missing=st.integers(0, FRAME - 1),
    lengths_ms=st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500)),
)
def test_the_rules_are_sileros(runs: list[tuple[float, int]], missing: int, lengths_ms: tuple[int, int, int]) -> None:
    """On any probabilities and with any lengths."""
    probabilities = np.repeat([value for value, _ in runs], [count for _, count in runs]).astype(np.float32)
    total = max(len(probabilities) * FRAME - missing, 0)
    speech_ms, silence_ms, pad_ms = lengths_ms
    wanted = get_speech_timestamps_from_probs(
        probabilities.tolist(), min_speech_duration_ms=speech_ms, min_silence_duration_ms=silence_ms,
        speech_pad_ms=pad_ms, neg_threshold=0.35, audio_length_samples=total,
    )  # fmt: skip
    ours = spans_of(
        probabilities, total, SpeechThresholds(min_speech_ms=speech_ms, min_silence_ms=silence_ms, pad_ms=pad_ms)
    )
    assert [(span.start, span.end) for span in ours] == timestamps(wanted)
