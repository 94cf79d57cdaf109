"""Containers without Docker: what compose files and manifests start, as programs of this machine. Each has a network
namespace and a host name, sees its own /tmp, /run and /var and names of the others, cannot write elsewhere, and is run
by the image's user, who has no rights. Needs root.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ray_here import session_of
from tests.fleet.namespaces import Switch, switch_with
from tests.process.server_of import ROOT, plain_environment

MACHINE = "machine"
"""What the tests themselves are called among the containers."""
USER = "10001"
OWN = ("tmp", "run", "var/lib/btworker", "var/cache/btworker")
"""Folders that are each container's own."""
ENTER = """
set -e
hostname "$1"; mount --bind "$2" /mnt; root=/mnt/$1; shift 2
for file in hosts passwd; do mount --bind "$root/etc/$file" "/etc/$file"; done
for folder in tmp run var; do mount --bind "$root/$folder" "/$folder"; done
while [ "$1" != -- ]; do mount --bind "/mnt/$2" "$1"; shift 2; done
shift
umount /mnt
mount -o remount,bind,ro /
exec unshare --user --map-user=10001 --map-group=10001 -- "$@"
"""


def of_image() -> dict[str, str]:
    """The environment that worker/Dockerfile gives, with the programs that are here."""
    text = (ROOT / "worker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.removeprefix("ENV ") for line in text.splitlines() if line.startswith("ENV PATH=/opt/btworker")]
    given = dict(word.split("=", 1) for word in shlex.split(lines[0]))
    programs = f"{Path(sys.executable).parent}:{given['PATH'].partition(':/usr/local/sbin')[2]}"
    return {**given, "PATH": programs, "HOME": given["XDG_CACHE_HOME"]}


def entrypoint() -> list[str]:
    """What Docker starts below tini, where a manifest does not name another command."""
    return ["sh", str(ROOT / "worker" / "entrypoint.sh")]


@dataclass
class Container:
    """One, which is started again when it ends. `volumes`: paths inside, and the folders of the test that they are."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    volumes: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    """The container whose network it shares; empty: its own."""
    process: "subprocess.Popen[bytes] | None" = None


@dataclass
class Containers:
    """All of them, on one network. `names`: further names by which a container is known to the others."""

    folder: Path
    switch: Switch
    names: Mapping[str, str]
    running: dict[str, Container] = field(default_factory=dict)

    def address(self, name: str) -> str:
        """Where a container is."""
        return self.switch.networks[name].address

    def start(self, container: Container) -> None:
        """Start it; returns at once."""
        self.running[container.name] = container
        self._lay_out(container)
        with open(self.log(container.name), "ab") as log:
            container.process = subprocess.Popen(
                self._inside(container, container.command),
                env=self._environment(container),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def restart_ended(self) -> None:
        """Do what a restart policy does."""
        for container in self.running.values():
            if container.process is not None and container.process.poll() is not None:
                self._kill(container)
                self.start(container)

    def run_in(self, name: str, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a program in a container, as `docker compose exec` does."""
        container = self.running[name]
        line, environment = self._inside(container, command), self._environment(container)
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def log(self, name: str) -> Path:
        """What a container prints."""
        return self.folder / f"{name}.log"

    def pids(self, name: str) -> list[int]:
        """Processes of a container."""
        process = self.running[name].process
        return [] if process is None else session_of(process.pid)

    def stop(self) -> None:
        """End all."""
        for container in self.running.values():
            self._kill(container)

    def _lay_out(self, container: Container) -> None:
        root = self.folder / container.name
        for folder in (*OWN, "etc"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        own = {name: network.address for name, network in self.switch.networks.items() if name != MACHINE}
        hosts = {"localhost": "127.0.0.1", **own, **{name: own[known] for name, known in self.names.items()}}
        hosts[container.name] = own[container.network or container.name]
        (root / "etc/hosts").write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
        home = of_image()["HOME"]
        user = f"btworker:x:{USER}:{USER}::{home}:/usr/sbin/nologin\n"
        (root / "etc/passwd").write_text(Path("/etc/passwd").read_text() + user)

    def _inside(self, container: Container, command: Sequence[str]) -> list[str]:
        enter = self.switch.networks[container.network or container.name].enter
        mounts = [part for path, folder in container.volumes.items() for part in (path, folder)]
        begin = ["unshare", "--mount", "--uts", "--", "sh", "-c", ENTER, "sh", container.name, str(self.folder)]
        return [*enter, *begin, *mounts, "--", *command]

    @staticmethod
    def _environment(container: Container) -> dict[str, str]:
        kept = {name: plain_environment()[name] for name in ("PYTHONPATH",)}
        return {**kept, **of_image(), "HOSTNAME": container.name, **container.environment}

    def _kill(self, container: Container) -> None:
        for pid in self.pids(container.name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if container.process is not None:
            container.process.wait()


@contextmanager
def containers_on(folder: Path, *networks: str, names: Mapping[str, str] | None = None) -> Iterator[Containers]:
    """Room for containers with these names, until the end of the block."""
    with switch_with(MACHINE, *networks) as switch:
        found = Containers(folder, switch, names or {})
        try:
            yield found
        finally:
            found.stop()


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """A text of a compose file with the variables of its .env file. Raises KeyError where one is missing."""

    def value(match: "re.Match[str]") -> str:
        name, default = match[1], match[2]
        return "$" if name is None else variables[name] if default is None else variables.get(name, default)

    return re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", value, text)
