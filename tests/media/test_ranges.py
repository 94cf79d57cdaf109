"""A range of a recording: the samples of a cut of all of it, in each container that ffmpeg can enter in the middle."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound.layout import Stretch, Wanted
from btworker.engine.sound.seeking import Anchors
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, Clip
from tests.media.recordings import Decoded, Make, write_wav

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120), pytest.mark.sliced("ranges", 4)]

LENGTH_S = 75
RANGES = ((33.3, 36.789), (60.0, 62.5))
EXACT = (
    *("plain.wav", "plain.flac", "plain.aiff", "plain.caf", "plain.w64", "cbr.mp3", "vbr.mp3", "bare.mp3"),
    *("voice.opus", "music.ogg", "film.ts", "talk.wma"),
)
ROUNDED = ("talk.m4a", "talk.aac")
"""AAC, without the noise that its decoder may add by chance: a sample may differ by one."""
IN_MILLISECONDS = ("talk.mka", "opus.webm")
"""Containers whose stamps are whole milliseconds."""
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "cbr.mp3": ("-b:a", "64k"),
    "vbr.mp3": ("-q:a", "5"),
    "bare.mp3": ("-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0"),
    "voice.opus": ("-c:a", "libopus", "-b:a", "32k"),
    "music.ogg": ("-c:a", "libvorbis"),
    "talk.m4a": ("-c:a", "aac", "-b:a", "64k", "-aac_pns", "0"),
    "talk.aac": ("-c:a", "aac", "-b:a", "64k", "-aac_pns", "0"),
    "talk.mka": ("-c:a", "aac", "-b:a", "64k"),
    "opus.webm": ("-c:a", "libopus", "-b:a", "32k"),
    "film.ts": ("-c:a", "mp2", "-b:a", "96k"),
    "talk.wma": ("-c:a", "wmav2", "-b:a", "64k"),
}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that rises and falls: it is like itself nowhere else."""
    random = np.random.default_rng(5)
    loudness = 1500 * (1.2 + np.sin(np.arange(LENGTH_S * SAMPLE_RATE) / 9000))
    samples = random.normal(0, 1, LENGTH_S * SAMPLE_RATE) * loudness
    return write_wav(tmp_path_factory.mktemp("long") / "long.wav", samples.astype(np.int16))


def made(name: str, long: Path, make: Make) -> Path:
    """It as 44.1 kHz stereo in that container."""
    rate = () if "opus" in name else ("-ar", "44100")
    return make(name, "-i", long, "-ac", "2", *rate, *ARGUMENTS.get(name, ()))


def cut(samples: npt.NDArray[np.int16], ranges: tuple[tuple[float, float], ...] = RANGES) -> npt.NDArray[np.int32]:
    """The ranges of the whole."""
    parts = [samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in ranges]
    return np.concatenate(parts).astype(np.int32)


@pytest.mark.parametrize("name", [*EXACT, *ROUNDED])
def test_ranges_are_a_cut_of_the_whole(name: str, long: Path, make: Make, decoded: Decoded) -> None:
    """Sample by sample, one behind the other, wherever ffmpeg begins to read."""
    source = made(name, long, make)
    whole = cut(decoded(source).samples)
    audio = decoded(source, wanted=Wanted(RANGES))
    counts = [round(end * SAMPLE_RATE) - round(start * SAMPLE_RATE) for start, end in RANGES]
    assert audio.stretches == (Stretch(0, counts[0], RANGES[0][0]), Stretch(counts[0], counts[1], RANGES[1][0]))
    assert audio.warnings == ()
    assert np.abs(audio.samples - whole).max() <= (1 if name in ROUNDED else 0)


@pytest.mark.parametrize("name", IN_MILLISECONDS)
def test_ranges_are_as_exact_as_the_stamps(name: str, long: Path, make: Make, decoded: Decoded) -> None:
    """Within 2 ms, where these are milliseconds."""
    source = made(name, long, make)
    whole = np.array(decoded(source).samples)
    found = decoded(source, wanted=Wanted(RANGES[:1])).samples.astype(float)
    reach = SAMPLE_RATE // 500
    likenesses = {
        shift: np.corrcoef(
            found, cut(whole, ((RANGES[0][0] + shift / SAMPLE_RATE, RANGES[0][1] + shift / SAMPLE_RATE),))
        )
        for shift in range(-3 * reach, 3 * reach + 1)
    }
    best = max(likenesses, key=lambda shift: float(likenesses[shift][0, 1]))
    assert abs(best) <= reach
    assert likenesses[best][0, 1] > 0.7


@pytest.mark.parametrize("name", ["plain.flac", "cbr.mp3", "talk.m4a", "voice.opus", "opus.webm", "plain.wav"])
def test_only_the_range_is_decoded(name: str, long: Path, make: Make, decoded: Decoded, ffmpeg: Path) -> None:
    """ffmpeg enters the file seconds before the range."""
    clip = Clip(made(name, long, make))
    anchor = Anchors(ffmpeg, clip).of(0)
    assert anchor is not None
    entered, source = anchor.entry(clip, 60 * SAMPLE_RATE)
    assert entered.seek_s == 55.0
    assert source.at == 59 * SAMPLE_RATE


def test_damage_before_a_range_is_none_of_its_business(long: Path, make: Make, decoded: Decoded) -> None:
    """What is not decoded cannot be damaged."""
    source = made("plain.flac", long, make)
    wanted = cut(decoded(source).samples, RANGES[1:])
    data = bytearray(source.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 20_000] = bytes(20_000)
    source.write_bytes(data)
    assert decoded(source).warnings
    audio = decoded(source, wanted=Wanted(RANGES[1:]))
    assert audio.warnings == ()
    assert (audio.samples == wanted).all()


def test_a_range_goes_through_recordings_one_behind_the_other(long: Path, make: Make, decoded: Decoded) -> None:
    """On the clock of the file, which ffmpeg knows nothing of."""
    first = make("first.wav", "-i", long, "-t", "5")
    joined = first.with_name("joined.wav")
    joined.write_bytes(first.read_bytes() + long.read_bytes())
    ranges = ((1.5, 2.0), (4.5, 6.0), (30.0, 31.0))
    whole = decoded(joined)
    assert whole.sample_count == (5 + LENGTH_S) * SAMPLE_RATE
    wanted = cut(whole.samples, ranges)
    assert (decoded(joined, wanted=Wanted(ranges)).samples == wanted).all()


def test_a_range_of_joined_mp3s_of_two_rates(long: Path, make: Make, decoded: Decoded) -> None:
    """Whose stamps ffmpeg counts at the pace of the first."""
    parts = [make(f"{rate}.mp3", "-i", long, "-t", "40", "-ar", rate, "-b:a", "64k") for rate in ("44100", "22050")]
    joined = parts[0].with_name("joined.mp3")
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    ranges = ((10.0, 12.0), (70.0, 73.0))
    wanted = cut(decoded(joined).samples, ranges)
    assert (decoded(joined, wanted=Wanted(ranges)).samples == wanted).all()


def test_sound_that_begins_late_keeps_its_clock(long: Path, make: Make, decoded: Decoded) -> None:
    """In a film whose sound comes 3 s after its picture."""
    film = make(
        "film.mkv", "-f", "lavfi", "-i", f"color=s=16x16:r=5:d={LENGTH_S}", "-itsoffset", "3", "-i", long,
        "-map", "0:v", "-map", "1:a", "-c:a", "pcm_s16le", "-c:v", "mpeg4",
    )  # fmt: skip
    wanted = cut(decoded(film).samples, ((1.0, 4.0), (50.0, 51.0)))
    found = decoded(film, wanted=Wanted(((1.0, 4.0), (50.0, 51.0)))).samples
    assert (found[:SAMPLE_RATE] == 0).all()
    assert np.corrcoef(found, wanted)[0, 1] > 0.99


@pytest.mark.parametrize("name", ["plain.wav", "cbr.mp3", "talk.m4a", "voice.opus", "film.ts", "opus.webm"])
def test_a_range_behind_the_end_is_refused(name: str, long: Path, make: Make, decoded: Decoded, tmp_path: Path) -> None:
    """With how long the recording is; and nothing of it is left on the disk."""
    source = made(name, long, make)
    with pytest.raises(
        BtworkerError, match=r"is 75\.\d s long: the range from 90\.0 s on begins behind its end"
    ) as caught:
        decoded(source, wanted=Wanted(((10.0, 12.0), (90.0, 95.0))))
    with pytest.raises(BtworkerError, match=r"is 75\.\d s long"):
        decoded(source, wanted=Wanted(((90.0, None),)))
    assert (caught.value.code, caught.value.param) == (ErrorCode.BAD_OPTION, "ranges")
    assert not list((tmp_path / "scratch").iterdir())


def test_a_range_behind_the_place_where_a_file_is_cut_off(long: Path, make: Make, decoded: Decoded) -> None:
    """It is not the range that is wrong."""
    source = made("plain.flac", long, make)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(BtworkerError, match=r"from 60\.0 s on, though the file's header promises 75\.0 s") as caught:
        decoded(source, wanted=Wanted(((60.0, 61.0),)))
    assert caught.value.code is ErrorCode.CORRUPT_AUDIO


@pytest.mark.parametrize("name", ["plain.wav", "cbr.mp3", "talk.m4a", "film.ts"])
def test_a_range_that_the_recording_ends_in_is_decoded_to_its_end(
    name: str, long: Path, make: Make, decoded: Decoded
) -> None:
    """With a warning; one without an end has none."""
    source = made(name, long, make)
    audio = decoded(source, wanted=Wanted(((70.0, 200.0),)))
    assert audio.duration_s == pytest.approx(5, abs=0.2)
    assert "the recording ends at 75." in audio.warnings[0]
    assert decoded(source, wanted=Wanted(((70.0, None),))).warnings == ()
