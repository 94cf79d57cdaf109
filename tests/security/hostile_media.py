"""Files that ask a media library to look elsewhere, or to use up the machine; made here, for one canary and port."""

import base64
import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path


def hostile_files(canary: Path, port: int) -> Iterator[tuple[str, bytes]]:
    """(name, content): at least a hundred of them."""
    url = f"127.0.0.1:{port}"
    targets = [
        str(canary), f"file:{canary}", f"file://{canary}", f"http://{url}/a.ts", f"https://{url}/a.ts", f"tcp://{url}",
        f"udp://{url}", f"rtmp://{url}/a", f"ftp://{url}/a", f"concat:{canary}|{canary}", f"crypto+file:{canary}",
        f"subfile,,start,0,end,0,,:{canary}", f"cache:{canary}", f"async:file:{canary}", f"gopher://{url}/a",
        f"data:audio/wav;base64,{base64.b64encode(canary.read_bytes()[:2000]).decode()}",
    ]  # fmt: skip
    for number, target in enumerate(targets):
        for kind, text in _lists(target).items():
            yield f"{kind} {number}", text.encode()
    for kind, text in _others(canary, url).items():
        yield kind, text.encode()
    yield from _boxes(canary, url)
    yield from _bombs()


def _lists(target: str) -> dict[str, str]:
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "hls of lists": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "hls key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:9,\n{target}\n',
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "text": f"{target}\n",
    }


def _others(canary: Path, url: str) -> dict[str, str]:
    port = url.rpartition(":")[2]
    return {
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        "rtsp": f"rtsptext\nrtsp://{url}/a\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        f'<Representation id="0" bandwidth="1"><BaseURL>http://{url}/a</BaseURL></Representation></AdaptationSet>'
        f"</Period></MPD>",
        "entities": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file://{canary}">]><MPD>&e;</MPD>',
        "smil": f'<smil><body><audio src="{canary}"/></body></smil>',
        "asx": f'<asx version="3.0"><entry><ref href="http://{url}/a"/></entry></asx>',
        "pls": f"[playlist]\nFile1={canary}\nNumberOfEntries=1\n",
        "image2": "image%03d.png",
        "lavfi": f"amovie={canary}",
        "ffmetadata": ";FFMETADATA1\ntitle=x\n",
        "webvtt": "WEBVTT\n\n00:00.000 --> 00:01.000\nx\n",
        "svg": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{canary}"/></svg>',
        "imf": f'<?xml version="1.0"?><CompositionPlaylist><Id>urn:uuid:{canary}</Id></CompositionPlaylist>',
        "reference": f"[Reference]\nRef1=http://{url}/a\n",
        "hls behind a tag": "ID3\3\0\0\0\0\0\0" + f"#EXTM3U\n#EXTINF:9,\n{canary}\n",
        "hls with a mark": "\ufeff" + f"#EXTM3U\n#EXTINF:9,\n{canary}\n",
        "-i": f"-i {canary}\n",
    }


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", len(body) + 8) + name + body


def _boxes(canary: Path, url: str) -> Iterator[tuple[str, bytes]]:
    """QuickTime: references to other files and addresses, and a header that unpacks to far more."""
    brand = _box(b"ftyp", b"qt  \0\0\0\0qt  ")
    for kind, place in ((b"url ", str(canary)), (b"url ", f"http://{url}/a.mov"), (b"alis", str(canary))):
        reference = _box(kind, struct.pack(">I", 0), place.encode() + b"\0")
        data = _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1), reference))
        entry = _box(b"sowt", bytes(6), struct.pack(">H", 1), bytes(8), struct.pack(">HHHHI", 1, 16, 0, 0, 16000 << 16))
        table = _box(
            b"stbl",
            _box(b"stsd", struct.pack(">II", 0, 1), entry),
            _box(b"stts", struct.pack(">IIII", 0, 1, 16000, 1)),
            _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 16000, 1)),
            _box(b"stsz", struct.pack(">III", 0, 2, 16000)),
            _box(b"stco", struct.pack(">III", 0, 1, 0)),
        )
        handler = _box(b"hdlr", bytes(4), b"mhlrsoun", bytes(12), b"\0")
        times = _box(b"mdhd", bytes(12), struct.pack(">II", 16000, 16000), bytes(4))
        media = _box(b"mdia", times, handler, _box(b"minf", _box(b"smhd", bytes(8)), data, table))
        yield f"mov {kind.decode()} {place[:5]}", brand + _box(b"moov", _box(b"trak", _box(b"tkhd", bytes(84)), media))
        descriptor = _box(
            b"rmra", _box(b"rmda", _box(b"rdrf", bytes(4), kind, struct.pack(">I", len(place)), place.encode()))
        )
        yield f"mov rmra {kind.decode()} {place[:5]}", brand + _box(b"moov", descriptor)
    packed = zlib.compress(bytes(20_000_000))
    for claimed in (100, 2**31 - 1, 2**32 - 1):
        header = _box(b"dcom", b"zlib") + _box(b"cmvd", struct.pack(">I", claimed), packed)
        yield f"mov compressed {claimed}", brand + _box(b"moov", _box(b"cmov", header))
    yield "mov nested", brand + b"\0\0\x7f\xffmoov" * 3000
    yield "mov endless sizes", brand + b"\0\0\0\1moov" + b"\xff" * 8


def _bombs() -> Iterator[tuple[str, bytes]]:
    """Containers and archives that claim or unpack to much, and seeded noise behind each kind of magic number."""
    zeros = io.BytesIO()
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(30_000_000))
    yield "zip", zeros.getvalue()
    yield "gzip", gzip.compress(bytes(30_000_000))
    for width, height in ((65535, 65535), (2**31 - 1, 2**31 - 1), (30_000, 30_000)):
        head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
        chunk = b"IHDR" + head
        yield (
            f"png {width}",
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)),
        )
    rng = random.Random(7)
    magics = (
        b"RIFF\xff\xff\xff\xffWAVEfmt ", b"RF64\xff\xff\xff\xffWAVEds64",
        b"fLaC\0\0\0\x22", b"OggS\0\2", b"ID3\4\0\0\x7f\x7f\x7f\x7f",
        b"\x1a\x45\xdf\xa3\xff",
        b"FLV\1\5\0\0\0\x09", b"caff\0\1\0\0", b"FORM\xff\xff\xff\xffAIFF", b".snd\0\0\0\x18",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        b"#!AMR\n", b"wvpk\xff\xff\xff\x7f", b"MAC \x96\x0f", b"TTA1", b"MPCK",
        b".RMF\0\0\0\x12", b"\x06\x0e\x2b\x34", b"DSD \x1c", b"G@\0\x10",
    )  # fmt: skip
    for number, magic in enumerate(magics):
        yield f"magic {number}", magic + rng.randbytes(5000)
