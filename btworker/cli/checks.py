"""The doctor's checks that need no GPU: packages, ffmpeg, model, disk, file system, port."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import btworker
from btworker.cli.model_files import describe, model_files
from btworker.cli.probing import ask
from btworker.cli.version import installed
from btworker.cli.wording import megabytes
from btworker.config import Settings
from btworker.ffmpeg import INSTALL, ffmpeg_version, find_ffmpeg, why_unusable
from btworker.processor import bfloat16_problem

STACKS = {
    "cu121": {
        "torch": "2.2.2", "torchaudio": "2.2.2", "openai-whisper": "20231117", "pyannote.audio": "3.1.1",
    },
    "cu130": {
        "torch": "2.11.0", "torchaudio": "2.11.0", "openai-whisper": "20250625", "pyannote.audio": "4.0.7",
    },
}  # fmt: skip
"""The sets that are known to work together (locks/); any other mixture crashes sooner or later."""
INSTALL_AGAIN = 'in a checkout make setup (or STACK=cu130 make setup); else pip install "btworker[cu121]" (or [cu130])'
IMPORT_PROBE = "btworker.engine.stack.import_probe"
"""Named, not imported: the command line holds no torch."""
IMPORT_TIMEOUT_S = 900.0
"""Five seconds on a laptop, more than two minutes where another architecture is emulated on a busy machine."""
SPEECH = frozenset({"torch", "whisper"})
"""Modules without which there is no transcript; the others tell speakers apart."""
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "afs", "gpfs", "beegfs", "ncpfs", "ocfs2"}
)
"""SQLite's write-ahead log needs memory shared between processes, which these do not have."""
FOREIGN_FILE_SYSTEMS = frozenset({"9p", "virtiofs", "vboxsf", "drvfs", "fuseblk"})
"""A host's folder in a virtual machine: works as far as is known, but slowly, and fsync may promise too much."""


SANDBOX = Path(btworker.__file__).parent / "engine" / "sound" / "sandbox.py"
WHOLE_LANDLOCK = 6
"""The version from which on it holds all that docs/security.md says."""


class Verdict(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `mend` says what to do about it."""

    name: str
    verdict: Verdict
    found: str
    mend: str = ""

    def wire(self) -> dict[str, str]:
        """For --json."""
        return {"check": self.name, "verdict": self.verdict.value, "found": self.found, "mend": self.mend}


def package_checks() -> Iterator[Check]:
    """The speech stack and ffmpeg."""
    packages = stack_check({name: installed(name) for name in STACKS["cu121"]})
    yield packages
    if packages.verdict is Verdict.OK:
        yield _imports()
    yield _ffmpeg()
    yield _sandbox()


def box_checks(settings: Settings) -> Iterator[Check]:
    """What depends on the settings and the box."""
    yield _model(settings)
    if settings.cpu_precision == "half":
        yield bfloat16_check(bfloat16_problem())
    yield _data_folder(settings.data_dir)
    yield _disk(settings)
    yield file_system_check(settings.data_dir, Path("/proc/mounts"))
    yield _port(settings)


def bfloat16_check(problem: str | None) -> Check:
    """Whether a CPU can do what WORKER_CPU_PRECISION asks for."""
    if problem is None:
        return Check("processor", Verdict.OK, "multiplies in half precision, as WORKER_CPU_PRECISION asks for on a CPU")
    found = f"half precision: {problem}"
    return Check("processor", Verdict.WARN, found, "WORKER_CPU_PRECISION=single, unless it has a GPU")


def stack_check(versions: dict[str, str | None]) -> Check:
    """Whether the installed versions (None: not installed) are one of the two stacks."""
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    for name, stack in STACKS.items():
        if versions == stack:
            return Check("packages", Verdict.OK, f"stack {name}: {found}")
    return Check("packages", Verdict.FAIL, f"{found}: no set that works together", INSTALL_AGAIN)


def _imports() -> Check:
    """Whether the packages can be imported: some ask the machine for libraries that their wheels do not bring."""
    answer = ask(IMPORT_PROBE, {}, timeout_s=IMPORT_TIMEOUT_S)
    if isinstance(answer, str):
        return Check("imports", Verdict.FAIL, answer, INSTALL_AGAIN)
    if not answer:
        return Check("imports", Verdict.OK, "torch, torchaudio, whisper and pyannote.audio can be imported")
    found = "; ".join(problem["found"] for problem in answer.values())
    mend = "; ".join(dict.fromkeys(problem["mend"] for problem in answer.values()))
    if SPEECH.isdisjoint(answer):
        return Check("imports", Verdict.WARN, f"{found}: speakers cannot be told apart", mend)
    return Check("imports", Verdict.FAIL, found, mend)


def _ffmpeg() -> Check:
    path = find_ffmpeg()
    version = ffmpeg_version(path)
    if problem := why_unusable(path, version):
        return Check("ffmpeg", Verdict.FAIL, problem, INSTALL)
    return Check("ffmpeg", Verdict.OK, f"{version}, {path}")


def _sandbox() -> Check:
    """How closely this kernel can hold ffmpeg; the script is asked, since no module of the engine is loaded here."""
    asked = subprocess.run([sys.executable, "-I", "-S", SANDBOX, "--about"], capture_output=True, check=False)
    about = json.loads(asked.stdout or "{}")
    landlock, seccomp = int(about.get("landlock", 0)), bool(about.get("seccomp"))
    found = f"Landlock {landlock or 'missing'}, seccomp {'yes' if seccomp else 'missing'}"
    if landlock >= WHOLE_LANDLOCK and seccomp:
        return Check("sandbox", Verdict.OK, f"{found}: ffmpeg reads its input alone and starts nothing")
    mend = "Linux 6.12 or newer holds it closest; docs/security.md says what is missing here"
    return Check("sandbox", Verdict.WARN, f"{found}: ffmpeg is held less closely than it could be", mend)


def _model(settings: Settings) -> Check:
    model = next((item for item in model_files(settings) if item.name == settings.model), None)
    if model is None:
        mend = "set WORKER_MODEL to one of `btworker models list`"
        return Check("model", Verdict.FAIL, f"{settings.model} is not known to the installed whisper", mend)
    found = f"{model.name}: {describe(model, offline=settings.offline).strip().replace('  ', ' ', 1)}"
    if model.size_bytes is not None:
        return Check("model", Verdict.OK, found)
    if model.own:
        return Check("model", Verdict.FAIL, found, "put it there, or correct WORKER_MODELS")
    if model.hub:
        return Check("model", Verdict.FAIL, found, f"btworker models fetch {model.name}, and start the worker again")
    if settings.offline:
        mend = f"put {model.path.name} into {model.path.parent}, or unset WORKER_OFFLINE"
        return Check("model", Verdict.FAIL, found, mend)
    return Check("model", Verdict.WARN, found, "the first start takes longer; the worker answers ping meanwhile")


def _data_folder(folder: Path) -> Check:
    place = _existing(folder)
    if not place.is_dir():
        return Check("data folder", Verdict.FAIL, f"{place} is no folder", "set WORKER_DATA_DIR")
    if not os.access(place, os.W_OK | os.X_OK):
        mend = f"chown it to the user that runs btworker (now: uid {os.getuid()}), or set WORKER_DATA_DIR"
        return Check("data folder", Verdict.FAIL, f"{place} cannot be written", mend)
    return Check("data folder", Verdict.OK, str(folder) if place == folder else f"{folder} (will be made)")


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_existing(settings.data_dir)).free
    reserve, largest = settings.disk_reserve_bytes, settings.max_file_bytes
    found = f"{megabytes(free)} free, {megabytes(reserve)} of it kept in reserve"
    if free <= reserve:
        mend = "free some, move WORKER_DATA_DIR to a larger disk, or lower WORKER_DISK_RESERVE_MB"
        return Check("disk space", Verdict.FAIL, f"{found}: every upload is refused", mend)
    if free - reserve < largest:
        return Check("disk space", Verdict.WARN, f"{found}: too little for the largest upload ({megabytes(largest)})",
                     "free some, or lower WORKER_MAX_FILE_MB")  # fmt: skip
    return Check("disk space", Verdict.OK, found)


def file_system_check(folder: Path, mounts: Path) -> Check:
    """Whether SQLite's write-ahead log works where the data folder is."""
    point, kind = mount_of(Path(os.path.realpath(_existing(folder))), mounts)
    if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse."):
        mend = "set WORKER_DATA_DIR to a folder on a local disk (ext4, xfs, btrfs, zfs)"
        return Check("file system", Verdict.FAIL, f"{kind} at {point}: not local, the job database would break", mend)
    if kind in FOREIGN_FILE_SYSTEMS:
        return Check("file system", Verdict.WARN, f"{kind} at {point}: shared with a host", "a local disk is safer")
    return Check("file system", Verdict.OK, f"{kind or 'unknown'} at {point}")


def mount_of(path: Path, mounts: Path) -> tuple[Path, str]:
    """The mount point that holds the path, and its file system, from a table like /proc/mounts."""
    best = (Path("/"), "")
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return best
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        where = Path(point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
        if path.is_relative_to(where) and len(where.parts) >= len(best[0].parts):
            best = (where, kind)  # a later mount at the same place covers the earlier one
    return best


def _port(settings: Settings) -> Check:
    return port_check(settings, "port", settings.host, settings.port, ("WORKER_HOST", "WORKER_PORT"))


def port_check(settings: Settings, name: str, host: str, port: int, setting: tuple[str, str]) -> Check:
    """Whether a port of the worker's is free; `setting` are those that name its address and number."""
    address = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if _is_ours(settings):
            return Check(name, Verdict.WARN, f"a btworker answers on {address} already", "stop it before another one")
        mend = f"set {setting[1]} (or {setting[0]}); `ss -ltnp 'sport = {port}'` shows who has it"
        return Check(name, Verdict.FAIL, f"{address}: {(error.strerror or str(error)).lower()}", mend)
    return Check(name, Verdict.OK, f"{address} is free" if port else f"any free one on {host}")


def _is_ours(settings: Settings) -> bool:
    """Whether what listens there calls itself a btworker."""
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=2)
    try:
        connection.request("GET", "/health")
        return b"bulk-transcribe-worker" in connection.getresponse().read(4096)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())
