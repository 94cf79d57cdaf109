"""Where recordings begin in a file, by its bytes alone."""

import struct
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.sound import reader as sound_reader
from btworker.engine.sound.parts import Part, parts_of
from btworker.engine.sound.reader import Reader
from btworker.engine.sound.walks import walked_end


def chunk(name: bytes, content: bytes, order: str = "<") -> bytes:
    """As RIFF has them, or IFF."""
    return name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(sound: bytes, *, form: bytes = b"WAVE", size: int | None = None) -> bytes:
    """A WAV; `size` is what its header and its data claim."""
    body = form + chunk(b"fmt ", bytes(16)) + chunk(b"data", sound)
    data = chunk(b"RIFF", body)
    if size is None:
        return data
    at = data.index(b"data") + 4
    return data[:4] + struct.pack("<I", size) + data[8:at] + struct.pack("<I", size) + data[at + 4 :]


def box(name: bytes, content: bytes = b"") -> bytes:
    """As MP4 has them."""
    return struct.pack(">I", len(content) + 8) + name + content


MP4 = box(b"ftyp", b"isom") + box(b"free") + box(b"mdat", bytes(500)) + box(b"moov", bytes(100))
FRAGMENTED = box(b"ftyp", b"iso5") + box(b"moov", bytes(50)) + (box(b"moof", bytes(20)) + box(b"mdat", bytes(300))) * 3
EBML = b"\x1aE\xdf\xa3\x8b\x42\x82\x84webm\x42\x87\x81\x04"
MATROSKA = EBML + b"\x18\x53\x80\x67\x01" + struct.pack(">Q", 400)[1:] + bytes(400)
LIVE = EBML + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\x1f\x43\xb6\x75" + bytes(400)
FLAC = b"fLaC\0\0\0\x22" + bytes(34) + b"\xff\xf8" * 200
OGG_FIRST = b"OggS\0\x02" + bytes(20) + b"\x01\x13" + bytes(19)
OGG_PAGE = b"OggS\0\0" + bytes(20) + b"\x01\xff" + bytes(255)
OGG = OGG_FIRST + OGG_FIRST + OGG_PAGE * 3
AIFF = chunk(b"FORM", b"AIFF" + chunk(b"SSND", bytes(301), ">"), ">")
AU = b".snd" + struct.pack(">IIIII", 28, 300, 3, 16000, 1) + bytes(4 + 300)
AU_STREAMED = b".snd" + struct.pack(">IIIII", 28, 2**32 - 1, 3, 16000, 1) + bytes(4 + 300)
CAF = b"caff\0\1\0\0" + b"desc" + struct.pack(">q", 32) + bytes(32) + b"data" + struct.pack(">q", 300) + bytes(300)
ASF_ID = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
ASF_DATA = bytes.fromhex("3626B2758E66CF11A6D900AA0062CE6C")
ASF = ASF_ID + struct.pack("<Q", 100) + bytes(76) + ASF_DATA + struct.pack("<Q", 424) + bytes(400)
WAVPACK = b"".join(b"wvpk" + struct.pack("<IHHII", 124, 0, 0, 9, n * 5) + bytes(112) for n in range(4))
AMR = b"#!AMR\n" + b"\x3c" + bytes(300)
TTA = b"TTA1\1\0" + bytes(300)
FLV = b"FLV\1\4\0\0\0\x09" + bytes(300)
AVI = chunk(b"RIFF", b"AVI " + bytes(301)) + chunk(b"RIFF", b"AVIX" + bytes(99))

WHOLE = {
    "wav": riff(bytes(400)), "odd wav": riff(bytes(401)), "streamed wav": riff(bytes(400), size=2**32 - 1),
    "unset wav": riff(bytes(400), size=0), "lying wav": riff(bytes(400), size=100), "mp4": MP4,
    "fragmented": FRAGMENTED, "matroska": MATROSKA, "live": LIVE, "flac": FLAC, "ogg": OGG, "aiff": AIFF, "au": AU,
    "streamed au": AU_STREAMED, "caf": CAF, "asf": ASF, "wavpack": WAVPACK, "amr": AMR, "tta": TTA, "flv": FLV,
    "avi": AVI,
}  # fmt: skip


def parts(data: bytes, folder: Path) -> list[Part]:
    """Of a file with this content."""
    path = folder / "0"
    path.write_bytes(data)
    with path.open("rb") as file:
        return parts_of(Reader(file, lambda: None))


@pytest.mark.parametrize("first", WHOLE)
@pytest.mark.parametrize("second", ["itself", "wav", "matroska", "mp4"])
def test_each_recording_is_found(first: str, second: str, tmp_path: Path) -> None:
    """One, two or three of a kind; and others behind one, but for samples that do not say how long they are."""
    data = WHOLE[first]
    assert parts(data, tmp_path) == [Part(0, len(data))]
    other = data if second == "itself" else WHOLE[second]
    has_end = first not in {"streamed wav", "unset wav", "lying wav", "streamed au"}
    if second == "itself" or has_end:
        ends = [len(data), len(data) + len(other), len(data) + 2 * len(other)]
        assert parts(data + other, tmp_path) == [Part(0, ends[0]), Part(ends[0], ends[1])]
        assert [one.end for one in parts(data + other + other, tmp_path)] == ends


@pytest.mark.parametrize("kind", WHOLE)
def test_what_is_cut_off_is_one_recording(kind: str, tmp_path: Path) -> None:
    """At any byte."""
    data = WHOLE[kind]
    for length in range(1, len(data), 7):
        assert parts(data[:length], tmp_path) == [Part(0, length)], length


@pytest.mark.parametrize("rest", [b"TAG" + bytes(125), bytes(3000), b"\xff" * 99, b"RIFF", MP4[:50]])
@pytest.mark.parametrize("kind", ["wav", "mp4", "matroska", "aiff", "au", "caf", "asf"])
def test_what_is_too_little_for_a_recording_is_none(kind: str, rest: bytes, tmp_path: Path) -> None:
    """Tags, padding, the first bytes of something."""
    data = WHOLE[kind]
    assert parts(data + rest, tmp_path) == [Part(0, len(data) + len(rest))]


@pytest.mark.parametrize("kind", ["wav", "mp4", "matroska", "aiff", "au", "caf"])
def test_much_that_is_not_known_is_given_to_ffmpeg(kind: str, tmp_path: Path) -> None:
    """A recording of a kind that is not known here, say; but no padding, of which there may be any amount."""
    data, rest = WHOLE[kind], b"\x7f\x7e" * 50_000
    for padding in (bytes(300_000), b"\xff" * 300_000):
        assert parts(data + padding, tmp_path) == [Part(0, len(data) + len(padding))]
    assert parts(data + rest, tmp_path) == [Part(0, len(data)), Part(len(data), len(data) + len(rest))]


@given(
    st.lists(st.sampled_from(sorted(WHOLE)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=12),
)
def test_whatever_is_damaged_the_parts_are_all_of_the_file(kinds: list[str], damage: list[tuple[int, int]]) -> None:
    """In order, without a hole between them; and nothing but an error of the disk is raised."""
    data = bytearray(b"".join(WHOLE[kind] for kind in kinds))
    for place, value in damage:
        data[place % len(data)] = value
    with TemporaryFile() as file:
        file.write(data)
        file.flush()
        found = parts_of(Reader(file, lambda: None))
    assert [one.start for one in found] == [0, *(one.end for one in found[:-1])]
    assert found[-1].end == len(data)
    assert all(one.start < one.end for one in found)


def test_an_ogg_with_damaged_pages_is_one_recording(tmp_path: Path) -> None:
    """And the one behind it is found; a file of damage is given up, and not searched at each of its pages."""
    damaged = OGG_FIRST + OGG_PAGE + b"Xgg" + OGG_PAGE[3:] + OGG_PAGE * 2
    assert parts(damaged + OGG, tmp_path) == [Part(0, len(damaged)), Part(len(damaged), len(damaged) + len(OGG))]
    ruin = OGG_FIRST + (OGG_PAGE[:40] + bytes(20)) * 1000
    (tmp_path / "1").write_bytes(ruin)
    with (tmp_path / "1").open("rb") as file:
        assert walked_end(Reader(file, lambda: None), 0) is None
    assert parts(ruin, tmp_path) == [Part(0, len(ruin))]


def test_a_wav_past_4_gib_is_one_recording(tmp_path: Path) -> None:
    """Its sizes have wrapped around, and agree with each other."""
    path = tmp_path / "0"
    path.write_bytes(riff(bytes(400)))
    with path.open("r+b") as file:
        file.truncate(2**32 + len(riff(bytes(400))))
    with path.open("rb") as file:
        size = path.stat().st_size
        assert parts_of(Reader(file, lambda: None)) == [Part(0, size)]


def test_a_sign_is_found_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it lies; block by block, so that a cancel comes between."""
    monkeypatch.setattr(sound_reader, "BLOCK_BYTES", 10)
    path, asked = tmp_path / "0", list[bool]()
    for place in range(40):
        path.write_bytes(b"." * place + b"sign" + b"." * 20)
        with path.open("rb") as file:
            found = list(Reader(file, lambda: asked.append(True)).all((b"sign", b"si"), 0))
            assert found == [(place, b"si"), (place, b"sign")]
    assert len(asked) > 100
