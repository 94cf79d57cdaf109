"""S7, S8: media reads nothing, calls nobody, and is never longer than allowed, whatever its headers say."""

import ctypes
import os
import select
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from btworker.engine.sound import process
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, Limits
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import Clip, decode_command, find_ffmpeg
from tests.media.recordings import decode_whole
from tests.security.hostile_media import hostile_files
from tests.security.secrets_of_test import SECRETS
from tests.security.wire import Memory
from tests.slices import FULL, slice_of
from tests.speech.conftest import write_wav

pytestmark = pytest.mark.speech
REFUSALS = {ErrorCode.CORRUPT_AUDIO, ErrorCode.NO_AUDIO}
OWN_BYTES = 2000
"""More sound than any hostile file holds itself; the canary holds 32,000 bytes."""
IN_ACCESS, IN_OPEN = 0x1, 0x20
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A good recording that no hostile file may reach."""
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000).astype(np.int16)
    return write_wav(tmp_path / "canary.wav", noise)


@pytest.fixture
def listeners() -> Iterator[tuple[int, Callable[[], bool]]]:
    """A port where TCP and UDP are listened on, and whether anybody came."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        yield port, lambda: bool(select.select([tcp, udp], [], [], 0)[0])


class Watch:
    """Whether a file was opened or read by anyone, by inotify."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._descriptor, os.fsencode(path), IN_ACCESS | IN_OPEN) >= 0

    def touched(self) -> bool:
        """Since the last look."""
        try:
            return bool(os.read(self._descriptor, 4096))
        except BlockingIOError:
            return False


def attempt(source: Path, target: Path) -> Audio | BtworkerError:
    try:
        return decode_whole(source, target, max_audio_s=600.0)
    except BtworkerError as error:
        return error


def users_of(path: Path) -> list[str]:
    """Processes with this path on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(path) in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_the_canaries_work(canary: Path, listeners: tuple[int, Callable[[], bool]], tmp_path: Path) -> None:
    """An ffmpeg that is allowed everything reads the file and calls the port: else the next test proves nothing."""
    port, called = listeners
    watch = Watch(canary)
    for number, target in enumerate((str(canary), f"http://127.0.0.1:{port}/a.ts")):
        path = tmp_path / f"{number}.txt"
        path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
        command = [str(find_ffmpeg()), "-nostdin", "-v", "quiet", "-safe", "0", "-protocol_whitelist", "file,http,tcp"]
        program = subprocess.Popen([*command, "-f", "concat", "-i", str(path), "-f", "null", "-"])
        try:
            end = time.monotonic() + 60
            while not (called() if number else watch.touched()):
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            program.kill()
            program.wait()


@pytest.mark.timeout(600)
def test_hostile_files_are_refused_and_reach_nothing(
    canary: Path, listeners: tuple[int, Callable[[], bool]], tmp_path: Path
) -> None:
    """Over a hundred (every fifth reduced), in the sandbox and, for the whitelists' sake, also without it."""
    port, called = listeners
    files = list(hostile_files(canary, port))
    assert len(files) >= 100
    watch, memory = Watch(canary), Memory(os.getpid())
    ffmpeg = find_ffmpeg()
    assert ffmpeg is not None
    for number, (name, content) in enumerate(slice_of(files, len(files) // 5, "hostile media")):
        path = tmp_path / ("-i.mp3" if number % 2 else "list.mp3")
        path.write_bytes(content)
        outcome = attempt(path, tmp_path / "scratch" / "x.s16")
        if isinstance(outcome, Audio):
            # a QuickTime file whose reference is ignored has its own few bytes as sound; any noise is sound to AMR
            assert name.startswith(("mov ", "magic")), name
            assert outcome.sample_count < OWN_BYTES / 2 or name.startswith("magic"), name
            outcome.discard()
        else:
            assert outcome.code in REFUSALS, name
            assert str(tmp_path) not in outcome.message
        if not name.startswith(("magic", "zip", "gzip", "png", "mov compressed")):
            plain = subprocess.run(decode_command(ffmpeg, Clip(path)), capture_output=True, timeout=60, check=False)
            assert len(plain.stdout) < (OWN_BYTES if name.startswith("mov ") else 1), name
        assert not watch.touched(), name
        assert not called(), name
        assert users_of(path) == [], name
        assert memory.grown_bytes < 16 * 2**20, name
    assert not list((tmp_path / "scratch").iterdir())


def test_ffmpeg_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S14: neither its command line nor its environment holds a token of the worker that started it."""
    for name, secret in zip(("WORKER_TOKEN", "HF_TOKEN", "HUGGINGFACE_TOKEN", "OTHER"), SECRETS, strict=True):
        monkeypatch.setenv(name, secret)
    fifo = tmp_path / "0"
    os.mkfifo(fifo)
    ffmpeg = find_ffmpeg()
    assert ffmpeg is not None
    program = process.start(decode_command(ffmpeg, Clip(fifo)), cpu_s=60, source=fifo)
    try:
        end = time.monotonic() + 60
        while ffmpeg.name not in str(Path(f"/proc/{program.pid}/exe").readlink()):
            assert time.monotonic() < end
            time.sleep(0.01)
        for name in ("cmdline", "environ"):
            while not (content := Path(f"/proc/{program.pid}/{name}").read_bytes()):  # while it is exchanged
                assert time.monotonic() < end
            assert not [secret for secret in SECRETS if secret.encode() in content]
    finally:
        program.kill()
        program.communicate()


def silent_flac(seconds: int, *, claimed_samples: int) -> bytes:
    """Hours of silence in a few KB: frames of one constant each, behind a header that may lie."""
    rate, block = 8000, 65_535
    info = struct.pack(">HH", block, block) + bytes(6)
    info += ((rate << 44) | (15 << 36) | claimed_samples).to_bytes(8, "big") + bytes(16)
    frames = [b"fLaC\x80\0\0\x22" + info]
    for number in range(seconds * rate // block + 1):
        text = chr(number).encode("utf-8", "surrogatepass")
        start = b"\xff\xf8\x74\x08" + text + struct.pack(">H", block - 1)
        body = start + bytes([_crc(start, 0x07, 8)]) + b"\0\0\0"
        frames.append(body + _crc(body, 0x8005, 16).to_bytes(2, "big"))
    return b"".join(frames)


def _crc(data: bytes, polynomial: int, width: int) -> int:
    value, top, mask = 0, 1 << (width - 1), (1 << width) - 1
    for byte in data:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
    return value


@pytest.mark.parametrize("claimed_samples", [0, 8000, 2**36 - 1], ids=["unknown", "one second", "99 days"])
def test_a_day_of_silence_ends_at_the_limit(tmp_path: Path, claimed_samples: int) -> None:
    """24 h of FLAC in some KB: counted as it is decoded, the scratch file never longer than the limit and a buffer."""
    path = tmp_path / "0"
    path.write_bytes(silent_flac(24 * 3600 if FULL else 7200, claimed_samples=claimed_samples))
    assert path.stat().st_size < 400_000
    _assert_too_long(path, tmp_path)


def _assert_too_long(path: Path, folder: Path) -> None:
    memory, limit_s, target = Memory(os.getpid()), 900.0, folder / "scratch" / "x.s16"
    sizes: list[int] = []

    def looked() -> bool:  # asked after every read of the pipe
        sizes.append(target.stat().st_size)
        return False

    with pytest.raises(BtworkerError) as caught:
        list(decode(path, target, limits=Limits(limit_s), canceled=looked))
    assert caught.value.code is ErrorCode.AUDIO_TOO_LONG
    assert limit_s * 32_000 < max(sizes) < limit_s * 32_000 + 2 * 2**20
    assert not target.exists()
    assert users_of(path) == []
    assert memory.grown_bytes < 16 * 2**20


def _opus_packets(folder: Path) -> list[bytes]:
    """Six seconds of noise at 6 kbit/s, packet by packet."""
    made = folder / "short.opus"
    source = ["-f", "lavfi", "-i", "anoisesrc=r=16000:d=6"]
    options = ["-c:a", "libopus", "-b:a", "6k", "-vbr", "off", "-frame_duration", "60", "-ac", "1"]
    subprocess.run(
        [str(find_ffmpeg()), "-nostdin", "-v", "error", *source, *options, str(made)], check=True, timeout=100
    )
    data, at, packets, open_packet = made.read_bytes(), 0, [], b""
    while at < len(data):
        count = data[at + 26]
        sizes, at = data[at + 27 : at + 27 + count], at + 27 + count
        for size in sizes:
            open_packet, at = open_packet + data[at : at + size], at + size
            if size < 255:
                packets.append(open_packet)
                open_packet = b""
    return packets


def _ogg_page(packets: list[bytes], *, flags: int, granule: int, number: int) -> bytes:
    sizes = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    head = struct.pack("<4sBBQIII", b"OggS", 0, flags, granule, 7, number, 0) + bytes([len(sizes)]) + sizes
    page = head + b"".join(packets)
    reflected = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF  # Ogg's CRC is zlib's, mirrored
    crc = int(f"{reflected:032b}"[::-1], 2)
    return page[:22] + struct.pack("<I", crc) + page[26:]


@pytest.mark.parametrize("granules", ["true", "zero"])
def test_25_mb_of_opus_at_6_kbit_end_at_the_limit(tmp_path: Path, granules: str) -> None:
    """Nine hours in what looks like a small upload; also where its time stamps stand still."""
    head, tags, *sound = _opus_packets(tmp_path)
    pages = [
        _ogg_page([head], flags=2, granule=0, number=0),
        _ogg_page([tags], flags=0, granule=0, number=1),
    ]
    group = (sound * 3)[:200]
    for number in range(2, 25_000_000 // sum(map(len, group)) if FULL else 100):
        granule = (number - 1) * len(group) * 2880 if granules == "true" else 0
        pages.append(_ogg_page(group, flags=0, granule=granule, number=number))
    path = tmp_path / "0"
    path.write_bytes(b"".join(pages))
    _assert_too_long(path, tmp_path)
