"""What units, compose files and manifests ask of `ray start`, as Ray's own command line reads it: `make test-fleet`."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ray
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BARE = ("true", "false")
"""Values that KubeRay gives to a switch."""
VALUED = ("include-dashboard", "include-log-monitor")
"""Switches that want a value, for KubeRay as well (which drops the second one before 1.7: then there is a monitor)."""


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where each comes from, and its arguments behind `ray start`."""
    for unit in sorted((DEPLOY / "systemd" / "fleet").glob("*.service")):
        text = unit.read_text().replace("\\\n", " ")
        yield unit.name, _arguments(re.search(r"^ExecStart=.*?/ray start (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.fleet.yaml").read_text())
    for name, service in compose["services"].items():
        yield f"compose {name}", _arguments(re.search(r"ray start (.*)", service["command"][-1])[1])  # type: ignore[index]
    cluster = yaml.safe_load((DEPLOY / "kubernetes" / "fleet" / "raycluster.yaml").read_text())["spec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        parameters = group["rayStartParams"]
        switches = [f"--{name}" for name, value in parameters.items() if value == "true"]
        valued = [f"--{k}={v}" for k, v in parameters.items() if v not in BARE or k in VALUED]
        yield f"kuberay {group.get('groupName', 'head')}", [*switches, *valued]


def _arguments(line: str) -> list[str]:
    """As the shell, or systemd, splits them."""
    return shlex.split(line)


@pytest.mark.parametrize(
    ("where", "arguments"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_ray_knows_each_option(where: str, arguments: list[str]) -> None:
    """Each option is there and takes its value; one that is none of Ray's is noticed."""
    from click import NoSuchOption
    from ray.scripts.scripts import start

    assert arguments, where
    found = start.make_context("start", list(arguments), resilient_parsing=False).params
    assert found["disable_usage_stats"] and found["object_store_memory"] == 80_000_000
    with pytest.raises(NoSuchOption):
        start.make_context("start", [*arguments, "--nonsense"])
