"""Where ffmpeg is, and the one command line with which it decodes.

No torch here: `btworker doctor` asks this module, too. The system's ffmpeg comes first, else the static one that the
imageio-ffmpeg package carries. engine/sound/ffmpeg.py runs it, inside engine/sound/sandbox.py.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

INSTALL = "apt-get install ffmpeg, or pip install imageio-ffmpeg"
SAMPLE_RATE = 16_000
"""Samples a second of decoded audio; the rate that whisper, silero-vad and pyannote take."""

DEMUXERS = (
    # ffmpeg's names of the containers that people upload; a name covers its group (mov: mp4, m4a, 3gp, …)
    "wav", "w64", "aiff", "au", "caf", "voc", "sox", "nistsphere", "ircam", "pvf", "sds",
    "mp3", "aac", "loas", "ac3", "eac3", "dts", "dtshd", "mlp", "truehd", "spdif", "flac", "wv", "ape", "tta", "mpc",
    "mpc8", "tak", "shn", "ogg", "dsf", "iff", "vqf", "xwma", "mmf",
    "mov", "matroska", "asf", "avi", "flv", "swf", "nut", "nsv", "smjpeg", "rm", "mpeg", "mpegts", "mpegvideo",
    "mxf", "gxf", "lxf",
    "dss", "act", "amr", "amrnb", "amrwb", "gsm", "qcp", "oma", "aea",  # dictation machines, telephones
    "dv", "dhav", "wtv", "ty", "nuv", "pva",  # cameras, television
)  # fmt: skip
"""Containers that are accepted. None can name another file or an address (no hls, dash, concat, sdp, image2, mlv): the
sources of ffmpeg 5.1.9's demuxers with these names open nothing. docs/formats.md has the list for users."""


def find_ffmpeg() -> Path | None:
    """The ffmpeg to use; None where there is none."""
    system = shutil.which("ffmpeg")
    return Path(system) if system else _packaged()


def _packaged() -> Path | None:
    """That of the imageio-ffmpeg package. Its own function tries the program, and where that once does not run, as on a
    machine that is short of memory, says for as long as the process lives that there is none."""
    package = importlib.util.find_spec("imageio_ffmpeg")
    if package is None or package.origin is None:
        return None
    programs = sorted((Path(package.origin).parent / "binaries").glob("ffmpeg-*"))
    return next((program for program in programs if os.access(program, os.X_OK)), None)


def ffmpeg_version(ffmpeg: Path | None) -> str:
    """What `ffmpeg -version` calls itself; empty where there is none, or it does not run."""
    if ffmpeg is None:
        return ""
    try:
        done = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"ffmpeg version (\S+)", done.stdout)
    return found[1] if found else ""


def why_unusable(ffmpeg: Path | None, version: str) -> str:
    """Say what is wrong with what find_ffmpeg and ffmpeg_version gave; empty where nothing is."""
    if version:
        return ""
    return f"{ffmpeg} does not run" if ffmpeg else "there is no ffmpeg"


@dataclass(frozen=True, slots=True)
class Clip:
    """What of a local file is decoded."""

    source: Path
    span: tuple[int, int] | None = None
    """From which byte to which; None: all of it."""
    ignore_wav_length: bool = False
    """Its size field is wrong: the sound goes to the end."""
    seek_s: float | None = None
    """Seconds behind its beginning at which ffmpeg begins to read; None: at the beginning."""
    cut_s: float | None = None
    """Time stamp before which samples are dropped."""

    @property
    def arguments(self) -> list[str]:
        """ffmpeg's, as an input."""
        url, protocols = f"file:{self.source.absolute()}", "file"
        if self.span:
            start, end = self.span
            url, protocols = f"subfile,,start,{start},end,{end},,:{url}", "file,subfile"
        lies = ("-ignore_length", "1", "-f", "wav") if self.ignore_wav_length else ()
        seek = () if self.seek_s is None else ("-noaccurate_seek", "-ss", f"{self.seek_s:.3f}")
        return ["-protocol_whitelist", protocols, "-format_whitelist", ",".join(DEMUXERS), *seek, *lies, "-i", url]

    @property
    def cut(self) -> str:
        """Filter that drops what lies before `cut_s`, in front of others; empty where nothing does."""
        return "" if self.cut_s is None else f"atrim=start={self.cut_s:.6f}"


def decode_command(
    ffmpeg: Path, clip: Clip, *, track: int = 0, mix: str | None = None, separate: bool = False
) -> list[str]:
    """Decode an audio track to 16 kHz s16le on standard output, in packets that tell their time.

    The conversion is openai-whisper's own (`load_audio`), so that the samples are the same; `mix` is a filter graph
    from [in] to [out] in place of its `-ac 1`, and with `separate` all channels come. Times are the file's own time
    stamps.
    """
    if mix is None:
        cut = ["-af", clip.cut] if clip.cut else []
        one = [] if separate else ["-ac", "1"]
        sound = ["-map", f"0:a:{track}", *cut, *one, "-ar", str(SAMPLE_RATE)]
    else:
        graph = f"[0:a:{track}]{clip.cut}[cut];{mix.replace('[in]', '[cut]')}" if clip.cut else mix
        sound = ["-filter_complex", graph.replace("[in]", f"[0:a:{track}]"), "-map", "[out]"]
    return [*_start(ffmpeg), "-copyts", *clip.arguments, *sound, *_PACKETS]


def first_packet_command(ffmpeg: Path, clip: Clip, *, track: int) -> list[str]:
    """Decode the beginning of a track, as decode_command does."""
    return [
        *_start(ffmpeg), "-copyts", *clip.arguments, "-map", f"0:a:{track}", "-ac", "1", "-ar", str(SAMPLE_RATE),
        "-frames:a", "1", *_PACKETS,
    ]  # fmt: skip


def encode_command(ffmpeg: Path, target: Path, *, kbit_s: int) -> list[str]:
    """Encode samples from standard input, as decode_command gives them, to AAC in an M4A file whose index comes first.

    `fast` costs a third of ffmpeg's usual coder, and cannot be distinguished from it in speech at these rates.
    """
    return [
        str(ffmpeg), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-threads", "1", "-y",
        "-protocol_whitelist", "pipe", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0",
        "-acodec", "aac", "-aac_coder", "fast", "-b:a", f"{kbit_s}k", "-map_metadata", "-1", "-fflags", "+bitexact",
        "-movflags", "+faststart", "-f", "ipod", f"file:{target.absolute()}",
    ]  # fmt: skip


_PACKETS = (
    "-vn", "-sn", "-dn", "-map_metadata", "-1",
    "-acodec", "pcm_s16le", "-avoid_negative_ts", "disabled", "-f", "smjpeg", "pipe:1",
)  # fmt: skip
"""Arguments of what comes out: samples alone, in packets."""


def tail_command(ffmpeg: Path, clip: Clip, *, from_s: float, track: int) -> list[str]:
    """List the packets after `from_s` seconds, but for those of one audio track, without decoding any."""
    return [
        *_start(ffmpeg), "-ss", f"{from_s:.3f}", *clip.arguments,
        "-map", "0:v?", "-map", "0:a?", "-map", "0:s?", "-map", f"-0:a:{track}",
        "-c", "copy", "-f", "framecrc", "pipe:1",
    ]  # fmt: skip


def _start(ffmpeg: Path) -> list[str]:
    return [str(ffmpeg), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info", "-threads", "1"]
