"""One container of the built image, run by runc as Docker runs it hardened: read-only root, no capabilities, no root.

buildah's own `run` knows no read-only root. Network and cgroups are the machine's: neither is what is tested here.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image_build import ImageError

UID = 10001
KERNEL_MOUNTS = (
    ("/proc", "proc", ()),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/dev/shm", "tmpfs", ("nosuid", "noexec", "nodev", "mode=1777", "size=65536k")),  # noqa: S108 - Docker's own
    ("/sys", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    ("/tmp", "tmpfs", ("nosuid", "nodev", "mode=1777")),  # noqa: S108 - as `--tmpfs /tmp`
)
DOCKERS_ROOT = tuple(f"CAP_{name}" for name in "CHOWN DAC_OVERRIDE FOWNER SETGID SETUID SETPCAP".split())
"""What a root of Docker's may do, as far as the entrypoint needs it."""


@dataclass
class Container:
    """A container to run once. `config` is the image's; `volumes` maps paths in it to folders of this machine."""

    folder: Path
    root: Path
    config: Mapping[str, Any]
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    uid: int = UID
    capabilities: Sequence[str] = ()
    name: str = field(default_factory=lambda: f"btworker-image-test-{secrets.token_hex(4)}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / f"{self.name}.log"

    def spec(self) -> dict[str, Any]:
        """The OCI runtime's configuration."""
        mounts = [
            {"destination": where, "type": kind, "source": kind, "options": list(options)}
            for where, kind, options in KERNEL_MOUNTS
        ]
        volumes = [
            {"destination": where, "type": "none", "source": str(folder), "options": ["rbind", "rw"]}
            for where, folder in self.volumes.items()
        ]
        rights = {kind: list(self.capabilities) for kind in ("bounding", "effective", "permitted")}
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in self.environment.items())]
        return {
            "ociVersion": "1.0.2",
            "hostname": "worker",
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [*mounts, *volumes],
            "process": {
                "user": {"uid": self.uid, "gid": self.uid},
                "args": [*self.config["Entrypoint"], *self.arguments],
                "env": environment,
                "cwd": self.config["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": rights,
            },
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }

    def start(self) -> Container:
        """Start it; its output goes to `log`."""
        bundle = self.folder / self.name
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(self.spec(), indent=1))
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*self._runc(), "run", "--bundle", str(bundle), self.name],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def run(self, within_s: float) -> tuple[int, str]:
        """Run it to its end; return exit code and output. Raises ImageError."""
        self.start()
        return self.wait(within_s), self.output()

    def wait(self, within_s: float) -> int:
        """Wait for its end; return the exit code. Raises ImageError."""
        assert self.process is not None
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.remove()
            raise ImageError(f"`{self.arguments[0]}` did not end within {within_s:.0f} s:\n{self.output()}") from None

    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def exec(self, *command: str) -> tuple[int, str]:
        """Run a program inside, as `docker exec` does; return exit code and output."""
        result = subprocess.run(
            [*self._runc(), "exec", self.name, *command], capture_output=True, text=True, check=False, timeout=120
        )
        return result.returncode, result.stdout + result.stderr

    def kill(self, signal: str) -> None:
        """Send a signal to its first process, as `docker stop` does."""
        subprocess.run([*self._runc(), "kill", self.name, signal], check=True)

    def remove(self) -> None:
        """End it, whatever it does."""
        if self.process is not None and self.process.poll() is None:
            subprocess.run([*self._runc(), "kill", self.name, "KILL"], check=False, capture_output=True)
            self.process.wait()

    def _runc(self) -> list[str]:
        return ["runc", "--root", str(self.folder / "runc")]


def owned_folder(folder: Path, uid: int) -> Path:
    """A new folder to mount, which belongs to that user and is closed to others."""
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, uid, uid)
    return folder


def until(condition: Any, what: str, within_s: float) -> Any:
    """Ask until the answer is true; return it. Raises ImageError."""
    deadline_s = time.monotonic() + within_s
    while not (answer := condition()):
        if time.monotonic() > deadline_s:
            raise ImageError(f"not within {within_s:.0f} s: {what}")
        time.sleep(0.1)
    return answer
