"""What is no recording, or more of one than allowed, is refused with a sentence; and ffmpeg can reach nothing else."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, Limits
from btworker.errors import BtworkerError, ErrorCode
from tests.media.recordings import programs_using
from tests.slices import FULL
from tests.speech.conftest import Make, write_wav
from tests.waiting import until

pytestmark = pytest.mark.speech

Decoded = Callable[..., Audio]


def refusal(decoded: Decoded, source: Path, **limits: float) -> BtworkerError:
    """The error that a file ends in; nothing of it is left in the scratch folder."""
    with pytest.raises(BtworkerError) as caught:
        decoded(source, **limits)
    scratch = source.parent / "scratch"
    assert not scratch.exists() or not list(scratch.iterdir())
    return caught.value


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world\n" * 5000, os.urandom(300_000), b"\0" * 100_000, b"RIFF\x24\0\0\0WAVE", b"ID3"],
    ids=["empty", "text", "noise", "zeros", "half a header", "tag only"],
)
def test_what_is_no_recording_is_corrupt(content: bytes, tmp_path: Path, decoded: Decoded) -> None:
    """Whatever its name was."""
    path = tmp_path / "0"
    path.write_bytes(content)
    error = refusal(decoded, path)
    assert error.code is ErrorCode.CORRUPT_AUDIO
    assert str(tmp_path) not in error.message


def test_a_video_without_sound(make: Make, decoded: Decoded) -> None:
    """It says that there is no sound, and not that it is broken."""
    error = refusal(decoded, make("mute.mp4", "-f", "lavfi", "-i", "testsrc=duration=2:size=64x64:rate=5"))
    assert error.code is ErrorCode.NO_AUDIO
    assert "no sound" in error.message


def test_a_wav_without_a_sample(make: Make, original: Path, decoded: Decoded) -> None:
    """An empty recording is no transcript."""
    assert refusal(decoded, make("none.wav", "-i", original, "-t", "0")).code is ErrorCode.CORRUPT_AUDIO


def test_a_cut_off_file_without_its_index(make: Make, original: Path, decoded: Decoded) -> None:
    """An m4a whose moov atom was at the end cannot be read at all; the sentence says to upload it again."""
    path = make("cut.m4a", "-i", original, "-c:a", "aac")
    os.truncate(path, path.stat().st_size // 2)
    error = refusal(decoded, path)
    assert error.code is ErrorCode.CORRUPT_AUDIO
    assert "cut off" in error.message


@pytest.mark.parametrize("name", ["cut.m4a", "cut.mp3", "cut.flac", "cut.wav", "cut.ogg", "cut.mkv"])
def test_a_cut_off_file_gives_what_it_holds(name: str, make: Make, original: Path, decoded: Decoded) -> None:
    """With a warning."""
    path = make(name, "-i", original, *(["-movflags", "+faststart"] if name.endswith("m4a") else []))
    os.truncate(path, path.stat().st_size // 2)
    audio = decoded(path)
    assert 2 < audio.duration_s < 10
    assert "cut off" in audio.warnings[0]


def test_a_playlist_reads_no_file_and_calls_nobody(tmp_path: Path, original: Path, decoded: Decoded) -> None:
    """Named .mp3 or not: it points at a real recording beside it, and at a port where somebody listens."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        threading.Thread(target=lambda: calls.append(_accepted(server)), daemon=True).start()
        port = server.getsockname()[1]
        lists = {
            "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{original}\n#EXTINF:10,\n"
            f"http://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
            "concat": f"ffconcat version 1.0\nfile '{original}'\nfile 'http://127.0.0.1:{port}/a.ts'\n",
            "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        }
        for name, text in lists.items():
            path = tmp_path / f"{name}.mp3"
            path.write_text(text)
            assert refusal(decoded, path).code is ErrorCode.CORRUPT_AUDIO, name
        assert calls == []


def _accepted(server: socket.socket) -> object:
    try:
        return server.accept()
    except OSError:
        return None


def test_the_limit_holds_for_a_day_of_silence(make: Make, decoded: Decoded) -> None:
    """A small file, and quick to refuse: decoding stops at the limit. (Two hours of it where time is short.)"""
    silence = ("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", (24 if FULL else 2) * 3600)
    path = make("silence.flac", *silence, "-compression_level", "0")
    assert path.stat().st_size < 20_000_000
    began = time.monotonic()
    error = refusal(decoded, path, max_audio_s=60)
    assert error.code is ErrorCode.AUDIO_TOO_LONG
    assert "60 seconds" in error.message
    assert time.monotonic() - began < 20


def test_the_limit_counts_samples_and_not_a_header(make: Make, original: Path, decoded: Decoded) -> None:
    """A header that promises one second."""
    path = make("lies.wav", "-i", original)
    data = bytearray(path.read_bytes())
    where = data.index(b"data") + 4
    data[where : where + 4] = (32_000).to_bytes(4, "little")
    path.write_bytes(data)
    assert refusal(decoded, path, max_audio_s=5).code is ErrorCode.AUDIO_TOO_LONG
    assert decoded(original, max_audio_s=12).duration_s == 12


def test_cancel_stops_decoding_and_leaves_nothing(tmp_path: Path) -> None:
    """Asked between two reads of the pipe."""
    path = _long_recording(tmp_path)
    target = tmp_path / "scratch" / "x.s16"
    asked: list[bool] = []
    steps = decode(path, target, limits=Limits(9999), canceled=lambda: bool(asked) or asked.append(True) or False)
    with pytest.raises(BtworkerError) as caught:
        list(steps)
    assert caught.value.code is ErrorCode.CANCELED
    assert not target.exists()
    assert programs_using(path) == []


def test_a_closed_generator_kills_its_ffmpeg(tmp_path: Path) -> None:
    """So does the death of its parent, see the next test."""
    path = _long_recording(tmp_path)
    steps = decode(path, tmp_path / "scratch" / "x.s16", limits=Limits(9999), canceled=lambda: False)
    next(steps)
    steps.close()
    assert programs_using(path) == []
    assert not list((tmp_path / "scratch").iterdir())


def test_ffmpeg_dies_with_its_parent(tmp_path: Path, ffmpeg: Path) -> None:
    """kill -9 of a child leaves no ffmpeg behind. It waits on a pipe here, so that it is surely there."""
    fifo = tmp_path / "0"
    os.mkfifo(fifo)
    code = (
        "import sys; from pathlib import Path\n"
        "from btworker.engine.sound import process; from btworker.ffmpeg import *\n"
        "path = Path(sys.argv[1]); command = decode_command(find_ffmpeg(), Clip(path))\n"
        "process.start(command, cpu_s=60, source=path).wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(fifo)])
    try:
        until(lambda: bool(programs_using(fifo, name=ffmpeg.name)))
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not programs_using(fifo, name=ffmpeg.name))


def _long_recording(folder: Path) -> Path:
    """Nine hours of zeros that take no room."""
    path = write_wav(folder / "0", np.zeros(0, dtype=np.int16))
    os.truncate(path, 2**30)
    return path
