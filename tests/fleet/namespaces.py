"""Boxes in network namespaces: a machine each, as far as their lines go, which tests cut. Needs root."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ray_here import Network


@dataclass(frozen=True)
class Switch:
    """What joins this machine, where the head is, and the namespaces."""

    name: str
    networks: dict[str, Network]
    """Name of a box -> where it is; the first one is this machine itself."""

    def set(self, box: str, state: str) -> None:
        """Cut the line of a box ("down"), or mend it ("up")."""
        _ip("link", "set", _line(self.name, list(self.networks).index(box)), state)


@contextmanager
def switch_with(*boxes: str) -> Iterator[Switch]:
    """A switch with these boxes, until the end of the block."""
    number = os.getpid() % 250
    name = f"btw{number}"
    networks = {box: Network(f"10.77.{number}.{place + 1}") for place, box in enumerate(boxes)}
    head, *others = boxes
    try:
        _ip("link", "add", name, "type", "bridge")
        _ip("addr", "add", f"{networks[head].address}/24", "dev", name)
        _ip("link", "set", name, "up")
        for place, box in enumerate(others, 1):
            inside = f"{name}-{box}"
            _ip("netns", "add", inside)
            _ip("link", "add", _line(name, place), "type", "veth", "peer", "name", "eth0", "netns", inside)
            _ip("link", "set", _line(name, place), "master", name, "up")
            _ip("-n", inside, "addr", "add", f"{networks[box].address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                _ip("-n", inside, "link", "set", link, "up")
            networks[box] = Network(networks[box].address, ("ip", "netns", "exec", inside))
        yield Switch(name, networks)
    finally:
        for box in others:
            _ip("netns", "del", f"{name}-{box}", check=False)
        _ip("link", "del", name, check=False)


@contextmanager
def networks_of(*boxes: str) -> Iterator[Mapping[str, Network]]:
    """Where these boxes are, until the end of the block: a namespace each but for the first one; without root, or
    without `ip`, none is anywhere but on this machine's loopback."""
    if os.geteuid() or shutil.which("ip") is None:
        yield {}
        return
    with switch_with(*boxes) as switch:
        yield switch.networks


def _line(name: str, place: int) -> str:
    return f"{name}p{place}"


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)
