"""Builds worker/Dockerfile where there is no Docker engine and no registry: with buildah, on a base from debootstrap.

Used by image_test.py. Everything lies in one folder of its own (storage included), which is deleted afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import setup_env

ROOT = Path(__file__).resolve().parent.parent
BASE = "localhost/btworker-test-base"
IMAGE = "localhost/bulk-transcribe-worker:test"
SUITE = "bookworm"
# What python:3.11-slim-bookworm has as well: Debian's own Python is 3.11, too.
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
# Outside /etc/ssl/certs, which the image's own ca-certificates package writes anew.
CA_IN_IMAGE = "/usr/local/share/build-machine-ca.pem"
PIP_OPTIONS = {"PIP_INDEX_URL": "index-url", "PIP_TRUSTED_HOST": "trusted-host", "PIP_PROXY": "proxy"}


class ImageError(Exception):
    """The test cannot go on, or found something wrong: one sentence."""


@dataclass(frozen=True)
class Identity:
    """What the image is told about its origin, and ping has to repeat."""

    commit: str
    time: str

    @classmethod
    def of_checkout(cls) -> Identity:
        """The commit of this checkout, and now."""
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        return cls(commit or "unknown", datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))


class Buildah:
    """buildah with a storage of its own below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        (folder / "tmp").mkdir(exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        # vfs asks nothing of the kernel; chroot isolation needs no cgroups and shares the machine's network.
        self.command = [
            *("buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")),
            *("--storage-driver", "vfs"),
        ]
        self.environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments: str) -> str:
        """Run one of its commands; return what it printed. Raises ImageError."""
        result = subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise ImageError(f"buildah {arguments[0]} failed:\n{result.stderr.strip()[-4000:]}")
        return result.stdout.strip()

    def popen(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start one of its commands with the output in a file."""
        with log.open("wb") as output:
            return subprocess.Popen(
                [*self.command, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def make_base(buildah: Buildah) -> None:
    """A bookworm with Python, this machine's certificates and pip's index; no registry is asked. Raises ImageError."""
    container = buildah("from", "scratch")
    root = Path(buildah("mount", container))
    command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, str(root)]
    if mirror := os.environ.get("DEBIAN_MIRROR"):
        command.append(mirror)
    run_logged("the base image (debootstrap)", command, buildah.logs / "debootstrap.log")
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    write_pip_settings(root)
    buildah("umount", container)
    buildah("commit", "--quiet", "--rm", container, BASE)


def write_pip_settings(root: Path) -> None:
    """Give pip in the image the index and the certificates that pip has here. Second indexes and folders stay out."""
    variables = setup_env.installer_environment(os.environ, setup_env.pip_settings(Path(sys.prefix)))
    lines = [f"{option} = {variables[name]}" for name, option in PIP_OPTIONS.items() if name in variables]
    bundle = variables.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        shutil.copy(bundle, root / CA_IN_IMAGE.lstrip("/"))
        lines.append(f"cert = {CA_IN_IMAGE}")
    lines.append(f"timeout = {variables['UV_HTTP_TIMEOUT']}")
    (root / "etc/pip.conf").write_text("\n".join(("[global]", *lines, "")))


def build(buildah: Buildah, stack: str, identity: Identity) -> Path:
    """Build worker/Dockerfile, as it is; return the log. Raises ImageError."""
    arguments = {
        "BASE_IMAGE": BASE,
        "STACK": stack,
        "BUILD_COMMIT": identity.commit,
        "BUILD_TIME": identity.time,
    }
    log = buildah.logs / "build.log"
    command = [
        # The docker format, since OCI's has no HEALTHCHECK; no layers, since vfs copies the whole tree for each.
        *(*buildah.command, "bud", "--format", "docker", "--isolation", "chroot", "--layers=false", "--pull-never"),
        *(part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")),
        *("--tag", IMAGE, "--file", str(ROOT / "worker/Dockerfile"), str(ROOT)),
    ]
    run_logged("the image (buildah bud)", command, log, buildah.environment)
    return log


def run_logged(label: str, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
    """Run a long command with its output in a file; one line says how long it took. Raises ImageError."""
    print(f"  {label}: running, see {log}", flush=True)
    began_s = time.monotonic()
    with log.open("wb") as output:
        # A session of its own: debootstrap is a shell whose children would go on writing after it was ended.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise ImageError(f"{label} failed with exit code {code}; the end of {log}:\n{tail}")
    print(f"  {label}: done after {time.monotonic() - began_s:.0f} s", flush=True)


def clean_up(folder: Path) -> None:
    """Delete everything, once nothing is mounted below it any more: debootstrap mounts proc and sys while it works."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((point for point in mounted if Path(point).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", "--lazy", point], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        print(f"image-test: {folder} could not be removed wholly; remove it by hand", file=sys.stderr)
