"""What is learned from a file's header and from ffmpeg's own report, without running ffmpeg."""

import struct
from pathlib import Path

import pytest

from btworker.engine.sound import containers
from btworker.engine.sound.beginnings import W64_RIFF
from btworker.engine.sound.containers import Findings
from btworker.engine.sound.ffmpeg_log import HEAD_BYTES, TAIL_BYTES, BoundedLog, read_report
from btworker.engine.sound.parts import parts_of
from btworker.engine.sound.reader import Reader


def examine(path: Path) -> Findings:
    """The only recording of a file."""
    with path.open("rb") as file:
        reader = Reader(file, lambda: None)
        (part,) = parts_of(reader)
        return containers.examine(reader, part)


RIGHT = Findings()
TO_THE_END = Findings(ignore_wav_length=True)
CUT = Findings(ignore_wav_length=True, cut_off=True)
TAGS = b"LIST" + struct.pack("<I", 4) + b"INFO"


def wav(claimed: int, there: int, *, after: bytes = b"", head: bytes = b"RIFF", ds64: int | None = None) -> bytes:
    """A WAV of `there` bytes of sound (all 0x81, which is no chunk's name) whose header claims another number."""
    wide = b"" if ds64 is None else b"ds64" + struct.pack("<IQQQI", 28, 0, ds64, 0, 0)
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    return head + b"\0\0\0\0WAVE" + wide + fmt + b"data" + struct.pack("<I", claimed) + b"\x81" * there + after


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (wav(1000, 1000), RIGHT),
        (wav(1000, 1000, after=TAGS), RIGHT),
        (wav(1000, 1000, after=b"\0\0\0"), RIGHT),
        (wav(1000, 5000), TO_THE_END),
        (wav(0, 5000), TO_THE_END),
        (wav(2**32 - 1, 5000), TO_THE_END),
        (wav(9000, 5000), CUT),
        (wav(2**32 - 1, 5000, head=b"RF64", ds64=5000), RIGHT),
        (wav(2**32 - 1, 5000, head=b"RF64", ds64=2**33), CUT),
        (wav(2**32 - 1, 5000, head=b"RF64", ds64=100), TO_THE_END),
        (b"", RIGHT),
        (b"RIFF\0\0\0\0WAVE", RIGHT),
        (b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff", RIGHT),
        (b"ID3 something else", RIGHT),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_wav_header_is_compared_with_the_file(content: bytes, expected: Findings, tmp_path: Path) -> None:
    """Whatever it claims, the sound that is there is found."""
    path = tmp_path / "0"
    path.write_bytes(content)
    assert examine(path) == expected


def test_a_size_that_wrapped_past_4_gib(tmp_path: Path) -> None:
    """Even when what lies at the claimed end looks like a chunk."""
    path = tmp_path / "0"
    path.write_bytes(wav(8, 8, after=b"LIST" + struct.pack("<I", 2**32 - 16)))
    with path.open("r+b") as file:
        file.truncate(2**32 + 100)
    assert examine(path) == TO_THE_END


@pytest.mark.parametrize(("flags", "cut_off"), [(4, False), (5, False), (0, True)])
def test_an_ogg_without_an_end_was_cut_off(flags: int, cut_off: bool, tmp_path: Path) -> None:
    """The last page carries the flag."""
    path = tmp_path / "0"
    path.write_bytes(b"OggS\0\2" + b"x" * 200_000 + b"OggS\0" + bytes([flags]) + b"y" * 50)
    assert examine(path).cut_off is cut_off


LOG = """[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/x/0':
[info]   Metadata:
[info]     title           :   Stream #0:9: Audio: fake
[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 103 kb/s
[info]   Stream #0:0[0x1](und): Video: h264, yuv420p
[info]   Stream #0:1[0x2](und): Audio: aac (LC), 16000 Hz, mono, fltp
[info] Stream mapping:
[info]   Stream #0:1 -> #0:0 (aac (native) -> pcm_s16le (native))
[info] Output #0, s16le, to 'pipe:1':
[info]   Stream #0:0(und): Audio: pcm_s16le, 16000 Hz, mono, s16
"""


def test_tracks_and_duration_are_read() -> None:
    """Of the input, not of the output, and not of a title that looks like a track."""
    report = read_report(LOG)
    assert (report.opened, len(report.audio), report.video_tracks) == (True, 1, 1)
    assert report.duration_s == 3723.5
    assert not (report.damaged or report.cut_off or report.guessed or report.undecodable)


def test_a_duration_that_ffmpeg_guessed_is_none() -> None:
    """It is wrong by hours for some MP3 files."""
    assert read_report("[warning] Estimating duration from bitrate, this may be inaccurate\n" + LOG).duration_s is None


def test_nothing_is_learned_from_nothing() -> None:
    """ffmpeg died before it said a word."""
    assert not read_report("").opened


def test_a_log_is_bounded_and_keeps_both_ends() -> None:
    """A broken file can make ffmpeg talk for gigabytes."""
    log = BoundedLog()
    log.add(b"first line\n")
    for _ in range(1000):
        log.add(b"[error] Header missing\n" * 100)
    log.add(b"last line")
    assert log.text.startswith("first line")
    assert log.text.endswith("last line")
    assert len(log.text) <= HEAD_BYTES + TAIL_BYTES + 1


@pytest.mark.parametrize(("missing", "cut_off"), [(0, False), (8, False), (5000, True), (None, False)])
@pytest.mark.parametrize(
    ("head", "form"),
    [(b"RIFF%bAVI ", "<I"), (b"FORM%bAIFF", ">I"), (W64_RIFF + b"%b", "<Q"), (b"caff\0\1\0\0data%b", ">q")],
    ids=["avi", "aiff", "w64", "caf"],
)
def test_a_header_that_promises_more_is_noticed(
    head: bytes, form: str, missing: int | None, cut_off: bool, tmp_path: Path
) -> None:
    """By more than a writer's slip; a size that was never set promises nothing."""
    unset = {"<Q": 2**64 - 1, ">q": -1}.get(form, 2**32 - 1)
    size = 8000 if missing is None else 8000 - len(head) - 8 + missing
    path = tmp_path / "0"
    path.write_bytes((head % struct.pack(form, unset if missing is None else size)).ljust(8000, b"\x81"))
    assert examine(path).cut_off is cut_off
