"""What this child stands on: versions, and which parts of the stack work. Runs before any model is loaded.

A package that is missing or broken is a sentence here, never a crash: the child then reports why it cannot work, and
ping and preflight repeat it. pyannote is only looked for, since importing it takes seconds.
"""

import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from btworker.ffmpeg import INSTALL, ffmpeg_version, find_ffmpeg, why_unusable
from btworker.gpu_support import Problem, ask_driver, judge
from btworker.messages import EngineInfo
from btworker.specs import Device

PACKAGES = ("numpy", "torch", "torchaudio", "openai-whisper", "pyannote.audio", "silero-vad")
CRITICAL = ("numpy", "torch", "whisper")
"""Packages without which there is no transcript; there is none without ffmpeg either, which decodes every recording."""
LOADING = "the engine is being loaded"
REMEDIES = {"libgomp.so.1": "install it on this machine (Debian, Ubuntu: apt-get install libgomp1)"}
"""Library that a wheel asks of the machine, as torchaudio's for arm64 does -> what brings it."""
BROKEN = (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError, NameError, SystemError)
"""What an import of a broken or mismatched binary package has been seen to raise; torch without numpy: a NameError."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found; `info` adds what is known of the model."""

    device: Device
    versions: dict[str, str]
    checks: dict[str, bool] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    gpu_name: str | None = None

    @property
    def blocker(self) -> str | None:
        """Why this child cannot work at all; None when it can."""
        on_gpu = ("torch_cuda",) if self.device.kind == "cuda" else ()
        wanted = (*CRITICAL, *on_gpu, "ffmpeg")
        return next((self.errors[name] for name in wanted if not self.checks[name]), None)

    def info(self, *, model_error: str, no_speakers: str, speakers_at_fault: bool) -> EngineInfo:
        """Make the record for the parent; a reason is empty where that part works. That nobody set speakers up, or that
        all of it is loading, is a reason without being a fault."""
        later = {"model": model_error, "diarization": no_speakers}
        checks = {**self.checks, **{name: not error for name, error in later.items()}}
        errors = {**self.errors, **{name: error for name, error in later.items() if error}}
        return EngineInfo(
            versions=tuple(self.versions.items()),
            checks=tuple(checks.items()),
            errors=tuple(errors.items()),
            cuda=self.checks["torch_cuda"] and self.device.kind == "cuda",
            gpu_name=self.gpu_name,
            diarization=not no_speakers,
            diarization_error=no_speakers if no_speakers and speakers_at_fault else None,
        )


def look_around(device: Device) -> Surroundings:
    """Import what is critical, ask for the rest; ffmpeg starts beside that."""
    with ThreadPoolExecutor(1, thread_name_prefix="version") as beside:
        ffmpeg = beside.submit(_ffmpeg)
        found = _look_around(device)
        found.versions["ffmpeg"], problem = ffmpeg.result()
    found.checks["ffmpeg"] = problem is None
    if problem is not None:
        found.errors["ffmpeg"] = problem.sentence
    return found


def _look_around(device: Device) -> Surroundings:
    versions = _versions()
    checks: dict[str, bool] = {}
    errors: dict[str, str] = {}
    for name in CRITICAL:
        problem = _import_problem(name)
        checks[name] = problem is None
        if problem:
            errors[name] = problem
    gpu_name, cuda_problem = _look_at_gpu(device) if checks["torch"] else (None, "torch cannot be imported")
    checks["torch_cuda"] = cuda_problem is None
    if cuda_problem:
        errors["torch_cuda"] = cuda_problem
    else:
        versions["cuda"] = _cuda_version()
    mismatch = _mismatch(versions)
    if mismatch:
        errors["torchaudio"] = mismatch
    return Surroundings(device, versions, checks, errors, gpu_name)


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _ffmpeg() -> tuple[str, Problem | None]:
    """(version, what is wrong and what to do)."""
    ffmpeg = find_ffmpeg()
    version = ffmpeg_version(ffmpeg)
    if found := why_unusable(ffmpeg, version):
        return "broken" if ffmpeg else "missing", Problem(f"{found}, by which every recording is decoded", INSTALL)
    return version, None


def _import_problem(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except BROKEN as error:
        return unusable(name, error).sentence
    return None


def unusable(name: str, error: BaseException) -> Problem:
    """Say why an import failed, and what mends it: the package is broken, or the machine lacks a library."""
    reason = str(error)[:200]
    found = f"{name} cannot be imported ({type(error).__name__}: {reason})"
    return Problem(found, REMEDIES.get(reason.partition(":")[0], "install the pinned set again"))


def _cuda_version() -> str:
    """Return the CUDA that torch was built for, such as "12.1"."""
    import torch

    return str(torch.version.cuda)


def _look_at_gpu(device: Device) -> tuple[str | None, str | None]:
    """(name, what is wrong and what to do). Computes something: to be seen is not to be usable."""
    if device.kind != "cuda":
        return None, "this worker computes on the CPU"
    from btworker.engine.stack.gpu_probe import probe

    facts = probe()
    problem = judge(facts, ask_driver(device.uuid))
    return facts.name, None if problem is None else problem.sentence


def _mismatch(versions: dict[str, str]) -> str | None:
    """Compare torchaudio with torch, against which it is built; the local part (+cu121) does not count."""
    torch_release, audio_release = (versions[name].partition("+")[0] for name in ("torch", "torchaudio"))
    if torch_release == audio_release:
        return None
    return f"torch {torch_release} and torchaudio {audio_release} are no matched set; install the pinned set again"
