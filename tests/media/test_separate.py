"""Each channel by itself: the samples of a file that has it alone, whatever channels and tracks there are."""

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound.layout import Wanted
from btworker.engine.sound.recording import samples_of
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from tests.media.recordings import SAMPLE, Decoded, Make, write_channels, write_wav

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120), pytest.mark.sliced("separate", 4)]

SEPARATE = Wanted(separate=True)
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 32)
Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def voice(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Ten seconds of speech."""
    import subprocess

    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    subprocess.run([str(ffmpeg), "-nostdin", "-v", "error", "-i", str(SAMPLE), "-t", "10", str(path)], check=True)
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(10**9), dtype="<i2")


def voices(voice: Samples, count: int) -> Samples:
    """As many voices, each from another place on; shape (samples, count)."""
    return np.stack([np.roll(voice, -number * len(voice) // count) for number in range(count)], axis=1)


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "mask 0"])
@pytest.mark.parametrize("count", COUNTS)
def test_each_channel_is_there_as_it_is(
    count: int, extensible: bool, voice: Samples, decoded: Decoded, tmp_path: Path
) -> None:
    """Sample by sample, in the order of the recording."""
    channels = voices(voice, count)
    audio = decoded(write_channels(tmp_path / "0", channels, extensible=extensible), wanted=SEPARATE)
    assert [one.number for one in audio.channels] == list(range(1, count + 1))
    assert all(one.is_own for one in audio.channels)
    for one in audio.channels:
        assert (samples_of(one.path, audio.sample_count) == channels[:, one.number - 1]).all()
    assert audio.warnings == ()
    audio.discard()
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("form", ["wav", "flac", "m4a", "opus", "mka"])
def test_a_channel_is_what_a_file_of_it_alone_would_be(
    form: str, voice: Samples, make: Make, decoded: Decoded, tmp_path: Path
) -> None:
    """At another rate, through a lossless codec to the sample; a lossy one codes two channels together."""
    wav = write_channels(tmp_path / "voices.wav", voices(voice, 2), extensible=False)
    rate = ("-ar", "48000")
    both = make(f"both.{form}", "-i", wav, *rate)
    audio = decoded(both, wanted=SEPARATE)
    found = [np.array(samples_of(one.path, audio.sample_count), float) for one in audio.channels]
    for number, sound in enumerate(found):
        alone = make(f"{number}.{form}", "-i", wav, "-af", f"pan=mono|c0=c{number}", *rate)
        wanted = decoded(alone).samples.astype(float)
        if form in ("wav", "flac"):
            assert (sound == wanted).all()
        else:
            assert np.corrcoef(sound[: len(wanted)], wanted[: len(sound)])[0, 1] > 0.95


def test_more_channels_than_can_be_are_refused(voice: Samples, decoded: Decoded, tmp_path: Path) -> None:
    """With what to do."""
    source = write_channels(tmp_path / "0", np.tile(voice[:SAMPLE_RATE, None], (1, 33)), extensible=False)
    with pytest.raises(BtworkerError, match="more than the 32 channels") as caught:
        decoded(source, wanted=SEPARATE)
    assert (caught.value.code, caught.value.param) == (ErrorCode.BAD_OPTION, "channels")
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("form", ["wav", "mp3", "m4a", "opus", "ogg"])
def test_one_sound_in_two_channels_is_found(
    form: str, voice: Samples, make: Make, decoded: Decoded, tmp_path: Path
) -> None:
    """Also where a lossy codec has made two of it; with a warning. Its first channel is the one that counts."""
    three = np.stack([voice, np.zeros_like(voice), voice], axis=1)
    channels = three[:, [0, 2]] if form != "wav" else three
    source = make(
        f"dual.{form}", "-i", write_channels(tmp_path / "source.wav", channels, extensible=False), "-b:a", "96k"
    )
    audio = decoded(source, wanted=SEPARATE)
    last = audio.channels[-1]
    assert (last.same_as, last.is_own, audio.channels[0].is_own) == (1, False, True)
    assert f"channel {last.number} has the same sound as channel 1" in audio.warnings[0]
    assert [one.is_silent for one in audio.channels[1:-1]] == [True] * (form == "wav")


@pytest.mark.parametrize("other", [0.7, 0.0, -1.0], ids=["weaker", "silent", "inverse"])
def test_other_sound_is_not_taken_for_the_same(other: float, voice: Samples, decoded: Decoded, tmp_path: Path) -> None:
    """Nor is one that differs for half a second."""
    audio = decoded(
        write_channels(tmp_path / "0", np.stack([voice, (voice * other).astype(np.int16)], axis=1), extensible=False),
        wanted=SEPARATE,
    )
    assert [one.same_as for one in audio.channels] == [None, None]
    assert audio.channels[1].is_silent == (other == 0.0)
    loudest, briefly = int(np.abs(voice).argmax()), voice.copy()
    briefly[max(loudest - SAMPLE_RATE // 4, 0) : loudest + SAMPLE_RATE // 4] //= 2
    audio = decoded(
        write_channels(tmp_path / "1", np.stack([voice, briefly], axis=1), extensible=False), wanted=SEPARATE
    )
    assert audio.channels[1].is_own


def test_silence_in_all_channels(decoded: Decoded, tmp_path: Path) -> None:
    """None is another's."""
    audio = decoded(
        write_channels(tmp_path / "0", np.zeros((SAMPLE_RATE, 3), np.int16), extensible=False), wanted=SEPARATE
    )
    assert [(one.is_silent, one.same_as) for one in audio.channels] == [(True, None)] * 3
    assert audio.warnings == ()


def test_the_channels_of_all_tracks(voice: Samples, make: Make, decoded: Decoded, tmp_path: Path) -> None:
    """One behind the other, each on the recording's clock: the second track begins 1.5 s late and ends earlier."""
    stereo = write_channels(tmp_path / "stereo.wav", voices(voice, 2), extensible=False)
    mono = write_wav(tmp_path / "mono.wav", voice[: 4 * SAMPLE_RATE])
    source = make(
        "tracks.mkv", "-i", stereo, "-itsoffset", "1.5", "-i", mono, "-map", "0:a", "-map", "1:a", "-c:a", "flac"
    )
    audio = decoded(source, wanted=SEPARATE)
    assert audio.sample_count == len(voice)
    assert audio.warnings == ()
    found = [samples_of(one.path, audio.sample_count) for one in audio.channels]
    assert len(found) == 3
    assert (np.stack(found[:2], axis=1) == voices(voice, 2)).all()
    begin = 3 * SAMPLE_RATE // 2
    assert (found[2][: begin - 100] == 0).all()
    assert np.corrcoef(found[2][begin:][: 4 * SAMPLE_RATE], voice[: 4 * SAMPLE_RATE])[0, 1] > 0.9
    assert (found[2][begin + 4 * SAMPLE_RATE + 100 :] == 0).all()


def test_recordings_with_different_channels(voice: Samples, decoded: Decoded, tmp_path: Path) -> None:
    """One behind the other: the second channel is silent while there is none."""
    mono = write_wav(tmp_path / "mono.wav", voice)
    stereo = write_channels(tmp_path / "stereo.wav", voices(voice, 2), extensible=False)
    joined = tmp_path / "joined.wav"
    joined.write_bytes(mono.read_bytes() + stereo.read_bytes() + mono.read_bytes())
    audio = decoded(joined, wanted=SEPARATE)
    first, second = (samples_of(one.path, audio.sample_count) for one in audio.channels)
    silence = np.zeros_like(voice)
    assert (first == np.concatenate([voice, voices(voice, 2)[:, 0], voice])).all()
    assert (second == np.concatenate([silence, voices(voice, 2)[:, 1], silence])).all()


def test_a_range_of_each_channel(voice: Samples, decoded: Decoded, tmp_path: Path) -> None:
    """Both at once."""
    channels = voices(np.tile(voice, 5), 3)
    source = write_channels(tmp_path / "0", channels, extensible=False)
    audio = decoded(source, wanted=Wanted(((1.0, 2.0), (40.25, 45.0)), separate=True))
    wanted = np.concatenate(
        [channels[SAMPLE_RATE : 2 * SAMPLE_RATE], channels[int(40.25 * SAMPLE_RATE) : 45 * SAMPLE_RATE]]
    )
    for one in audio.channels:
        assert (samples_of(one.path, audio.sample_count) == wanted[:, one.number - 1]).all()


def test_channels_count_for_the_longest_recording(voice: Samples, decoded: Decoded, tmp_path: Path) -> None:
    """Each of them is work, and room on the disk."""
    source = write_channels(tmp_path / "0", voices(voice, 4), extensible=False)
    assert decoded(source, max_audio_s=41.0, wanted=SEPARATE).duration_s == 10
    with pytest.raises(BtworkerError) as caught:
        decoded(source, max_audio_s=39.0, wanted=SEPARATE)
    assert caught.value.code is ErrorCode.AUDIO_TOO_LONG
