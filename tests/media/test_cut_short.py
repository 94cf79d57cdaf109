"""R30: an ffmpeg that this machine cuts short (the out-of-memory killer, a limit, a crash, a failing disk) never ends
in a transcript of the part that it had decoded."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from btworker.engine.sound import one_recording
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, Limits
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import find_ffmpeg
from tests.media.recordings import SAMPLE, Decoded, programs_using
from tests.slices import luck_of

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]

KINDS = {
    "long.wav": [],
    "no-xing.mp3": ["-write_xing", "0"],
    "long.aac": [],
    "live.mkv": ["-c:a", "aac", "-live", "1"],
    "long.m4a": ["-c:a", "aac"],
}
SIGNALS = (signal.SIGKILL, signal.SIGXCPU, signal.SIGSEGV, signal.SIGTERM, signal.SIGABRT)
SECONDS = 60
TARGET = Path("scratch") / "x.s16"


@pytest.fixture(scope="module")
def recordings(ffmpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of each kind."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, options in KINDS.items():
        source = ["-stream_loop", "-1", "-i", str(SAMPLE), "-t", str(SECONDS)]
        subprocess.run([str(ffmpeg), "-nostdin", "-v", "error", *source, *options, str(folder / name)], check=True)
    return folder


@pytest.fixture(params=KINDS)
def recording(request: pytest.FixtureRequest, recordings: Path, tmp_path: Path) -> Path:
    """One of them."""
    return copied(recordings / request.param, tmp_path)


def copied(recording: Path, folder: Path) -> Path:
    """Under a name of the test's own, by which its ffmpeg is found."""
    return Path(shutil.copy(recording, folder))


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the runs."""
    monkeypatch.setattr(one_recording, "RETRY_AFTER_S", (0.0, 0.0))


class Killer:
    """Sends a signal to the ffmpeg of a recording once so many bytes are decoded, at most `times`.

    As decode()'s `canceled`, which it asks between two reads: ffmpeg then waits at a full pipe.
    """

    def __init__(self, number: signal.Signals, source: Path, *, times: int = 1) -> None:
        self._number = number
        self._source = source
        self._target = source.parent / TARGET
        self._times = times
        luck = luck_of(f"ffmpeg killed {number.name} {source.name}")
        self._at_bytes = luck.randrange(SECONDS * 32_000 // 2)
        self.killed: set[int] = set()

    def __call__(self) -> bool:
        """Never canceled."""
        if self._target.stat().st_size >= self._at_bytes and len(self.killed) < self._times:
            for pid in set(programs_using(self._source, "ffmpeg")) - self.killed:
                self.killed.add(pid)
                os.kill(pid, self._number)
        return False


def failed(decoded: Decoded, source: Path, canceled: Callable[[], bool]) -> BtworkerError:
    """The error that decoding ends in; nothing of it is left."""
    with pytest.raises(BtworkerError) as caught:
        decoded(source, canceled=canceled)
    assert not list((source.parent / "scratch").iterdir())
    assert str(source.parent) not in caught.value.message
    return caught.value


@pytest.mark.sliced("ffmpeg killed", 8)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_run_that_was_cut_short_is_repeated(number: signal.Signals, recording: Path, decoded: Decoded) -> None:
    """The sound is the whole one, byte by byte, and there is nothing to warn of."""
    whole = bytes(decoded(recording).samples)
    killer = Killer(number, recording)
    audio = decoded(recording, canceled=killer)
    assert len(killer.killed) == 1
    assert bytes(audio.samples) == whole
    assert audio.warnings == ()


@pytest.mark.sliced("ffmpeg killed", 8)
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_an_ffmpeg_that_dies_each_time_is_an_error(number: signal.Signals, recording: Path, decoded: Decoded) -> None:
    """Of the worker and not of the file, in a sentence that says what happened."""
    killer = Killer(number, recording, times=99)
    error = failed(decoded, recording, killer)
    assert len(killer.killed) == 3
    if number is signal.SIGKILL:
        assert error.code is ErrorCode.OUT_OF_MEMORY
        assert "no memory" in error.message
    else:
        assert error.code is ErrorCode.PROCESSING_ERROR
        assert number.name in error.message


def test_what_others_read_meanwhile_stays_as_it_is(recordings: Path, tmp_path: Path) -> None:
    """Windows are decoded while ffmpeg is at work: the repeated run takes no sample back, and no progress."""
    source = copied(recordings / "live.mkv", tmp_path)
    killer, target = Killer(signal.SIGXCPU, source), tmp_path / TARGET
    counts, seen = [], b""
    steps = decode(source, target, limits=Limits(3600), canceled=killer)
    while True:
        try:
            counts.append(next(steps).sample_count)
        except StopIteration as end:
            audio: Audio = end.value
            break
        assert target.stat().st_size >= 2 * counts[-1]
        if killer.killed and not seen:
            seen = target.read_bytes()[: 2 * counts[-1]]
    assert counts == sorted(counts)
    assert seen
    assert target.read_bytes().startswith(seen)
    assert counts[-1] == audio.sample_count


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a script be the ffmpeg; $FFMPEG in it is the true one."""
    true = find_ffmpeg()
    path = folder / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\nFFMPEG={shlex.quote(str(true))}\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ('"$FFMPEG" "$@" | head -c 1000000; exit 1', ErrorCode.PROCESSING_ERROR, "gave up (status 1)"),
        ('"$FFMPEG" "$@"; exit 183', ErrorCode.PROCESSING_ERROR, "gave up (status 183)"),
        ("exit 127", ErrorCode.PROCESSING_ERROR, "could not be started (status 127)"),
        ("echo 'no such library' >&2; exit 1", ErrorCode.PROCESSING_ERROR, "could not be started (status 1)"),
        ("kill -BUS $$", ErrorCode.PROCESSING_ERROR, "SIGBUS"),
        (
            '"$FFMPEG" "$@"; echo "[error] Error during demuxing: Cannot allocate memory" >&2',
            ErrorCode.OUT_OF_MEMORY,
            "ran out of memory",
        ),
        (
            "echo '[error] pthread_create() failed: Resource temporarily unavailable' >&2; exit 245",
            ErrorCode.PROCESSING_ERROR,
            "Resource temporarily unavailable",
        ),
    ],
    ids=["in the middle", "at the end", "loader", "no ffmpeg", "bus error", "no memory", "no threads"],
)
def test_other_ends_that_no_file_brings_about(
    script: str,
    code: ErrorCode,
    words: str,
    original: Path,
    decoded: Decoded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An ffmpeg that does not start, or gives up with sound on its hands; whatever of the sound had come."""
    program(tmp_path, monkeypatch, script)
    (tmp_path / "0").write_bytes(original.read_bytes())
    error = failed(decoded, tmp_path / "0", lambda: False)
    assert error.code is code
    assert words in error.message


DECODE = """
import sys
from pathlib import Path
from btworker.engine.sound import decoding, one_recording
from btworker.engine.sound.ffmpeg import Limits
from btworker.errors import BtworkerError
one_recording.RETRY_AFTER_S = ()
source = Path(sys.argv[1])
try:
    list(decoding.decode(source, source.with_name("x.s16"), limits=Limits(3600), canceled=lambda: False))
except BtworkerError as error:
    print(error.code.value, error.message)
"""


@pytest.mark.system("strace")
@pytest.mark.parametrize("first", [1, 2], ids=["from the beginning", "in the middle"])
def test_a_disk_that_does_not_give_the_file_is_no_damage_of_it(first: int, recording: Path) -> None:
    """Not to ffmpeg, which then ends as if the file did (status 0), and not to us: EIO for each read from the n-th."""
    strace = ["strace", "-f", "-o", "/dev/null", "-P", recording, "-e", f"inject=read:error=EIO:when={first}+"]
    command = [*strace, sys.executable, "-c", DECODE, recording]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.splitlines()[-1].startswith("PROCESSING_ERROR the worker cannot read the file from its disk")


@pytest.mark.system("strace")
def test_reads_that_fail_for_ffmpeg_alone_are_found(
    recording: Path, decoded: Decoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk gives the file to us afterwards, as it is with one that is cut off: with the warning for those."""
    strace = f'exec strace -f -o /dev/null -P "{recording}" -e inject=read:error=EIO:when=5+ "$FFMPEG" "$@"'
    program(tmp_path, monkeypatch, strace)
    audio = decoded(recording)
    assert audio.duration_s < SECONDS - 2
    assert "cut off" in audio.warnings[0]
