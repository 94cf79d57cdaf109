"""Where ffmpeg is, and the one command line with which it decodes.

No torch here: `btworker doctor` asks this module, too. The system's ffmpeg comes first, else the static one that the
imageio-ffmpeg package carries. engine/sound/ffmpeg.py runs it, inside engine/sound/sandbox.py.
"""

import re
import shutil
import subprocess
from pathlib import Path

SAMPLE_RATE = 16_000
"""Samples a second of decoded audio; the rate that whisper, silero-vad and pyannote take."""

DEMUXERS = (
    # what the containers that people upload are called in ffmpeg; a name covers its group (mov: mp4, m4a, 3gp, …)
    "wav", "w64", "aiff", "au", "caf", "voc", "sox", "nistsphere",
    "mp3", "aac", "loas", "ac3", "eac3", "dts", "amr", "amrnb", "amrwb", "flac", "wv", "ape", "tta", "mpc", "mpc8",
    "tak", "ogg", "mov", "matroska", "asf", "avi", "flv", "mpeg", "mpegts", "mpegvideo", "mxf", "rm", "dsf", "gsm",
    "qcp",
)  # fmt: skip
"""Containers that are accepted. None can name another file or an address (no hls, dash, concat, sdp, image2)."""


def find_ffmpeg() -> Path | None:
    """The ffmpeg to use; None where there is none."""
    system = shutil.which("ffmpeg")
    if system:
        return Path(system)
    try:
        import imageio_ffmpeg

        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def ffmpeg_version(ffmpeg: Path) -> str:
    """What `ffmpeg -version` calls itself; empty when it does not run."""
    try:
        done = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"ffmpeg version (\S+)", done.stdout)
    return found[1] if found else ""


def decode_command(ffmpeg: Path, source: Path, *, ignore_wav_length: bool = False) -> list[str]:
    """Decode the first audio track of a local file to 16 kHz mono s16le on standard output.

    The conversion is openai-whisper's own (`load_audio`), so that the samples are the same.
    """
    return [
        str(ffmpeg), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-threads", "1",
        "-protocol_whitelist", "file", "-format_whitelist", ",".join(DEMUXERS),
        *(("-ignore_length", "1", "-f", "wav") if ignore_wav_length else ()),
        "-i", f"file:{source.absolute()}",
        "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1",
        "-f", "s16le", "-ac", "1", "-acodec", "pcm_s16le", "-ar", str(SAMPLE_RATE), "pipe:1",
    ]  # fmt: skip
