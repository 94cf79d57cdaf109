"""R33: any number of channels is decoded, in whichever of them the voice is, and also where they cancel each other."""

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from tests.media.recordings import SAMPLE, Decoded, Make, write_channels

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120), pytest.mark.sliced("channels", 8)]

COUNTS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 18, 24, 32, 64)
CANCELED = "the recording's channels cancel each other"


@pytest.fixture(scope="module")
def voice(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.int16]:
    """Ten seconds of speech."""
    import subprocess

    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    subprocess.run([str(ffmpeg), "-nostdin", "-v", "error", "-i", str(SAMPLE), "-t", "10", str(path)], check=True)
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(10**9), dtype="<i2")


def likeness(found: npt.NDArray[np.int16], wanted: npt.NDArray[np.int16]) -> float:
    """Whether it is the same sound, however loud and whichever way round."""
    count = min(len(found), len(wanted))
    return abs(float(np.corrcoef(found[:count].astype(float), wanted[:count].astype(float))[0, 1]))


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "mask 0"])
@pytest.mark.parametrize("count", COUNTS)
def test_a_voice_in_any_channel_is_decoded(
    count: int, extensible: bool, voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """In the first or in the last, which may be one that ffmpeg takes for a subwoofer's and leaves out of its sum."""
    for place in {0, count // 2, count - 1}:
        channels = np.zeros((len(voice), count), dtype=np.int16)
        channels[:, place] = voice
        audio = decoded(write_channels(tmp_path / "0", channels, extensible=extensible))
        assert audio.sample_count == len(voice)
        assert likeness(audio.samples, voice) > 0.98


@pytest.mark.parametrize("count", COUNTS)
def test_a_voice_against_its_own_inverse_is_decoded(
    count: int, voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """In two neighbours, or in the first and the last; with a warning where the sum is silent."""
    for pair in {(0, 1), (0, count - 1), (count - 2, count - 1)}:
        channels = np.zeros((len(voice), count), dtype=np.int16)
        channels[:, pair[0]] += voice
        channels[:, pair[1]] -= voice
        audio = decoded(write_channels(tmp_path / "0", channels, extensible=False))
        assert likeness(audio.samples, voice) > 0.97, pair
        if pair == (0, 1):
            assert CANCELED in audio.warnings[0]


@pytest.mark.parametrize("codec", ["m4a", "mp3", "opus", "flac"])
def test_an_inverse_survives_its_codec(
    codec: str, voice: npt.NDArray[np.int16], make: Make, decoded: Decoded, tmp_path: Path
) -> None:
    """Lossy ones leave a rest in the sum."""
    wav = write_channels(tmp_path / "inverse.wav", np.stack([voice, -voice], axis=1), extensible=False)
    audio = decoded(make(f"inverse.{codec}", "-i", wav, "-b:a", "96k"))
    assert likeness(audio.samples, voice) > 0.9
    assert CANCELED in audio.warnings[0]


def test_only_the_part_that_cancels_is_taken_from_the_difference(
    voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """One of two speakers has a swapped wire; with some noise of each channel's own."""
    half, random = len(voice) // 2, np.random.default_rng(0)
    sign = np.where(np.arange(len(voice)) < half, 1, -1)
    channels = np.stack([voice, voice * sign], axis=1) + random.normal(0, 15, (len(voice), 2))
    audio = decoded(write_channels(tmp_path / "0", channels.astype(np.int16), extensible=False))
    assert likeness(audio.samples[:half], voice[:half]) > 0.97
    assert likeness(audio.samples[half:], voice[half:]) > 0.97
    assert CANCELED in audio.warnings[0]


@pytest.mark.parametrize(
    "other", [1.0, 0.5, 0.0, -0.4], ids=["the same", "half as loud", "silent", "a weak echo of the inverse"]
)
def test_ordinary_stereo_has_its_sum(
    other: float, voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """Without a warning."""
    channels = np.stack([voice, voice * other], axis=1).astype(np.int16)
    audio = decoded(write_channels(tmp_path / "0", channels, extensible=False))
    assert likeness(audio.samples, voice) > 0.99
    assert audio.warnings == ()


def test_hum_that_cancels_in_the_pauses_is_not_worth_a_word(
    voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """It is weaker than a voice."""
    hum = 100 * np.sin(2 * np.pi * 50 * np.arange(len(voice)) / SAMPLE_RATE)
    channels = np.stack([voice + hum, voice - hum], axis=1).astype(np.int16)
    assert decoded(write_channels(tmp_path / "0", channels, extensible=False)).warnings == ()


@pytest.mark.parametrize("place", [0, 3], ids=["all around", "one direction"])
def test_a_sound_field_is_decoded(
    place: int, voice: npt.NDArray[np.int16], make: Make, decoded: Decoded, tmp_path: Path
) -> None:
    """Of a film of 360 degrees: ambisonics, which ffmpeg does not mix. It writes them as channels without names."""
    channels = np.zeros((len(voice), 4), dtype=np.int16)
    channels[:, 0] = channels[:, place] = voice
    wav = write_channels(tmp_path / "field.wav", channels, extensible=False)
    options = ("-c:a", "libopus", "-mapping_family", "255", "-write_crc32", "0")
    path = make("field.mka", "-i", wav, *options)
    data = bytearray(path.read_bytes())
    data[data.index(b"OpusHead") + 18] = 2
    path.write_bytes(data)
    audio = decoded(path)
    assert likeness(audio.samples, voice) > 0.9
    assert audio.warnings == ()


def test_channels_that_come_and_go_are_decoded(make: Make, decoded: Decoded, tmp_path: Path) -> None:
    """A broadcast that changes between mono, stereo and surround."""
    parts = [
        make(f"{number}.ts", "-i", SAMPLE, "-t", "5", "-ar", "48000", "-ac", count, "-c:a", "ac3").read_bytes()
        for number, count in enumerate((2, 1, 6, 2))
    ]
    for order in (parts, parts[1:] + parts[:1]):
        (tmp_path / "0").write_bytes(b"".join(order))
        audio = decoded(tmp_path / "0")
        assert audio.duration_s == pytest.approx(20, abs=0.3)
        assert audio.warnings == ()


def test_more_channels_than_ffmpeg_mixes_is_named(
    voice: npt.NDArray[np.int16], decoded: Decoded, tmp_path: Path
) -> None:
    """It is not called damage."""
    channels = np.tile(voice[:, None], (1, 65))
    with pytest.raises(BtworkerError) as caught:
        decoded(write_channels(tmp_path / "0", channels, extensible=False))
    assert caught.value.code is ErrorCode.CORRUPT_AUDIO
    assert "64 channels" in caught.value.message
    assert "damaged" not in caught.value.message
