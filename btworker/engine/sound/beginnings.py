"""Signatures with which recordings begin, and the search for the next one in a file whose first has no length.

Each signature is long enough to be no chance, or is checked by a second look. Runs in the child, before ffmpeg.
"""

from collections.abc import Callable
from dataclasses import dataclass

from btworker.engine.sound.reader import Reader

W64_RIFF = bytes.fromhex("726966662E91CF11A5D628DB04C10000")
ASF_HEADER = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
WTV = bytes.fromhex("B7D800203749DA11A64E0007E95EAD8D")
EBML = b"\x1aE\xdf\xa3"
RIFFS = (b"RIFF", b"RF64", b"BW64")
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
ID3S = (b"ID3\x02\0", b"ID3\x03\0", b"ID3\x04\0")
ID3_HEADER_BYTES = 10
BEGINNINGS = (
    *RIFFS, b"FORM", b".snd", b"caff", b"fLaC", b"OggS", EBML, b"#!AMR", b"wvpk", b"TTA1", b"MAC ", b"FLV\x01", b"ID3",
    W64_RIFF, ASF_HEADER, WTV, b"DSD ", b".RMF", b"Creative Voice", b"NIST_1A",
)  # fmt: skip
OGG_PAGE = b"OggS\0"
FIRST_OGG_PAGE = OGG_PAGE + b"\x02"
LARGEST_FTYP_BYTES = 256


@dataclass(frozen=True, slots=True)
class Sign:
    """Bytes near the beginning of a recording, by which it is found in the middle of a file."""

    signature: bytes
    offset: int = 0
    """Bytes from the beginning to the signature."""
    check: Callable[[Reader, int], bool] = lambda _reader, _start: True
    """Second look at the beginning of a recording."""

    @property
    def needle(self) -> bytes:
        """Bytes that are searched for: few, which is fast, and in silence none of them."""
        return self.signature[:4]

    def is_at(self, reader: Reader, start: int) -> bool:
        """Whether a recording begins at `start`."""
        signature = reader.at(start + self.offset, len(self.signature))
        return signature == self.signature and self.check(reader, start)


def is_beginning(head: bytes) -> bool:
    """Whether a recording of a known kind begins with these 16 bytes."""
    return head.startswith(BEGINNINGS) or head[4:8] == b"ftyp" or _is_raw(head)


def next_beginning(reader: Reader, start: int) -> int | None:
    """Find where the next recording begins behind the one at `start`, which has no length; None where there is none."""
    signs = {sign.needle: sign for sign in _signs_behind(reader.at(start, 16))}
    if not signs:
        return None
    for place, needle in reader.all(tuple(signs), _behind_head(reader, start)):
        begins = place - signs[needle].offset
        if begins > start and signs[needle].is_at(reader, begins):
            return begins
    return None


def _signs_behind(head: bytes) -> tuple[Sign, ...]:
    """Choose the signs that are searched for behind a recording with these first 16 bytes.

    Behind samples only that of the same kind: they are large, and one behind another is what recorders make.
    """
    own = tuple(sign for name, sign in OWN.items() if head.startswith(name))
    if head.startswith(SAMPLES):
        return own
    if _is_raw(head):
        return STRONG
    return (*STRONG, *own, ID3) if is_beginning(head) else ()


def _behind_head(reader: Reader, start: int) -> int:
    """Skip what has signs of its own: a tag, and the first page of each track of an Ogg file."""
    position = max(behind_id3(reader, start), start + 1)
    while reader.at(start, 6) == FIRST_OGG_PAGE:
        position = start = ogg_page_end(reader, start)
    return position


def ogg_page_end(reader: Reader, start: int) -> int:
    """Compute where the Ogg page at `start` ends."""
    lengths = reader.at(start + 27, max(reader.number("B", start + 26), 0))
    return start + 27 + len(lengths) + sum(lengths)


def behind_id3(reader: Reader, start: int) -> int:
    """Find where a tag ends; `start` where there is none."""
    head = reader.at(start, ID3_HEADER_BYTES)
    sizes = head[6:]
    if not head.startswith(ID3S) or len(sizes) < 4 or max(sizes) > 0x7F:
        return start
    return start + ID3_HEADER_BYTES + sum(part << 7 * (3 - number) for number, part in enumerate(sizes))


def _is_raw(head: bytes) -> bool:
    """Whether MP3, AAC or AC-3 without a container begins with these bytes: ffmpeg goes on from one to the next."""
    if head.startswith((*ID3S, b"\x0b\x77")):
        return True
    if len(head) < 3 or head[0] != 0xFF or head[1] < 0xE0 or head[2] >> 4 == 0xF:
        return False
    is_adts = head[1] & 0xF6 == 0xF0
    return is_adts or head[2] >> 2 & 3 != 3


def _is_id3(reader: Reader, start: int) -> bool:
    """Whether it is a tag, and sound follows."""
    end = behind_id3(reader, start)
    return end > start and _is_raw(reader.at(end, 16))


def _is_wav(reader: Reader, start: int) -> bool:
    return reader.at(start, 4) in RIFFS


def _is_mp4(reader: Reader, start: int) -> bool:
    """Whether the box is small, and another one follows it."""
    size = reader.number(">I", start)
    return 8 <= size <= LARGEST_FTYP_BYTES and reader.at(start + size + 4, 4) in FIRST_BOXES


def _is_form(reader: Reader, start: int) -> bool:
    return reader.at(start, 4) == b"FORM"


def _is_au(reader: Reader, start: int) -> bool:
    return 0 < reader.number(">I", start + 12) < 28


def _is_matroska(reader: Reader, start: int) -> bool:
    """Whether the header names its kind."""
    head = reader.at(start, 64)
    return b"\x42\x82" in head and (b"webm" in head or b"matroska" in head)


def _is_ogg(reader: Reader, start: int) -> bool:
    """Whether the page is number 0 of its track."""
    return reader.number("<I", start + 18) == 0


def _is_flv(reader: Reader, start: int) -> bool:
    return reader.at(start + 4, 5) in (b"\1\0\0\0\x09", b"\4\0\0\0\x09", b"\5\0\0\0\x09")


def _is_ape(reader: Reader, start: int) -> bool:
    return 3800 <= reader.number("<H", start + 4) <= 3990


def _is_amr(reader: Reader, start: int) -> bool:
    return reader.at(start + 5, 1) in (b"\n", b"-", b"_")


STRONG = (
    Sign(b"WAVE", 8, _is_wav),
    Sign(b"ftyp", 4, _is_mp4),
    Sign(EBML, 0, _is_matroska),
    Sign(b"fLaC\0\0\0\x22"),
    Sign(FIRST_OGG_PAGE, 0, _is_ogg),
    Sign(b"caff\0\1\0\0"),
    Sign(ASF_HEADER),
    Sign(W64_RIFF),
    Sign(WTV),
    Sign(b"FLV\x01", 0, _is_flv),
)
"""Signs that are no chance behind any recording."""
ID3 = Sign(b"ID3", 0, _is_id3)
"""Sign of an MP3 behind another kind; behind MP3s, ffmpeg goes on by itself."""
OWN = {
    **dict.fromkeys(RIFFS, Sign(b"WAVE", 8, _is_wav)),
    b"Creative Voice": Sign(b"Creative Voice File\x1a"),
    b".snd": Sign(b".snd\0\0\0", 0, _is_au),
    b"#!AMR": Sign(b"#!AMR", 0, _is_amr),
    b"TTA1": Sign(b"TTA1\1\0"),
    b"MAC ": Sign(b"MAC ", 0, _is_ape),
    b".RMF": Sign(b".RMF\0\0\0"),
    b"NIST_1A": Sign(b"NIST_1A\n"),
    b"FORM": Sign(b"AIF", 8, _is_form),
}
"""First bytes of a file -> the sign of another one of the same kind."""
SAMPLES = (*RIFFS, b"FORM", b".snd", b"Creative Voice", b"NIST_1A")
