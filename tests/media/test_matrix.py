"""R36: 30 containers and codecs, each whole, beginning late, with a gap, cut off and joined, have the seconds, the time
of the first word and the warnings that they should; with the ffmpeg at hand, and with the one that ships."""

import os
import re
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest

from btworker.engine.sound.ffmpeg import Audio
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, find_ffmpeg
from tests.media.matrix import CUT, GAP, KINDS, MORE_SECONDS, SECONDS, Cut, Kind, Maker
from tests.media.recordings import Decoded

SHIPPED = Path(imageio_ffmpeg.get_ffmpeg_exe())
PROGRAMS = {"at hand": find_ffmpeg(), "shipped": SHIPPED}
FIRST_WORD_S = 0.84
"""Of the sample."""

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(120),
    pytest.mark.sliced("matrix of recordings", 24),
    pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys()),
    pytest.mark.parametrize("program", ["at hand"] if find_ffmpeg() == SHIPPED else ["at hand", "shipped"]),
]


@pytest.fixture
def maker(program: str, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Of the kind's recordings, by the ffmpeg that also decodes them."""
    if program == "shipped":
        folders = os.environ["PATH"].split(os.pathsep)
        monkeypatch.setenv("PATH", os.pathsep.join(one for one in folders if not (Path(one) / "ffmpeg").exists()))
    found = find_ffmpeg()
    assert found is not None
    assert found == PROGRAMS[program]
    return Maker(found, tmp_path, kind)


def first_word_s(samples: npt.NDArray[np.int16]) -> float:
    """Where the first sound begins."""
    return float(np.argmax(np.abs(samples.astype(np.int32)) > 500)) / SAMPLE_RATE


def assert_is(audio: Audio, seconds: float, *, late_s: float = 0.0) -> None:
    """So long, with its first word there."""
    assert audio.duration_s == pytest.approx(seconds, abs=0.25)
    assert first_word_s(audio.samples) == pytest.approx(FIRST_WORD_S + late_s, abs=0.15)


def test_whole(maker: Maker, decoded: Decoded) -> None:
    """Nobody is warned."""
    audio = decoded(maker.whole())
    assert_is(audio, SECONDS)
    assert audio.warnings == ()


def test_late(maker: Maker, kind: Kind, decoded: Decoded) -> None:
    """By as much as the container has; without a warning."""
    audio = decoded(maker.late())
    assert_is(audio, SECONDS + kind.late_s, late_s=kind.late_s)
    assert audio.warnings == ()


def test_gap(maker: Maker, kind: Kind, decoded: Decoded) -> None:
    """Silence of its length and a warning with its place where packets have times; elsewhere nobody can know."""
    audio = decoded(maker.gap())
    length_s = GAP[1] - GAP[0]
    if not kind.has_times:
        assert_is(audio, SECONDS - length_s)
        assert audio.warnings == ()
        return
    assert_is(audio, SECONDS)
    start, end = (int((moment + shift) * SAMPLE_RATE) for moment, shift in zip(GAP, (0.5, -0.5), strict=True))
    assert not audio.samples[start:end].any()
    assert audio.samples[end + SAMPLE_RATE :].any()
    gaps = [one for one in audio.warnings if "damaged" not in one]
    assert len(gaps) == 1
    assert re.search(r"no sound: (1\.9|2\.[01]) s from (4\.[89]|5\.[0-2]) s on;", gaps[0])


def test_cut(maker: Maker, kind: Kind, decoded: Decoded) -> None:
    """What is there is transcribed, with a warning where the file promises more; without an index there is nothing."""
    path = maker.cut()
    if kind.cut is Cut.REFUSED:
        with pytest.raises(BtworkerError, match="the file is cut off") as caught:
            decoded(path)
        assert caught.value.code is ErrorCode.CORRUPT_AUDIO
        return
    audio = decoded(path)
    assert audio.duration_s == pytest.approx(CUT * SECONDS, abs=1.0)
    assert first_word_s(audio.samples) == pytest.approx(FIRST_WORD_S, abs=0.15)
    if kind.cut is Cut.NOTICED:
        assert "cut off" in audio.warnings[0]
    else:
        assert not [one for one in audio.warnings if "damaged" not in one]


def test_joined(maker: Maker, decoded: Decoded) -> None:
    """Both are there; nobody is warned."""
    audio = decoded(maker.joined())
    assert_is(audio, SECONDS + MORE_SECONDS)
    assert np.abs(audio.samples[(SECONDS + 1) * SAMPLE_RATE :].astype(np.int32)).max() > 500
    assert audio.warnings == ()
