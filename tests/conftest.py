"""For every test: what a marked test needs, and nothing left behind.

`system("strace", "root")` skips where a tool is missing, with a line that says what to install; under
BTWORKER_REQUIRE_TOOLS=1 (CI) it fails instead. `full` runs under BTWORKER_FULL=1 only. `gpu` needs one. `serial` is for
tests that measure, or that take the whole machine: tools/checks.py runs them one after the other.
"""

import asyncio
import inspect
import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from ctypes.util import find_library
from pathlib import Path

import pytest

from tests.process.memory_group import parent_folder
from tests.slices import FULL, dear_left_out, name_of_slice, slice_of

PACKAGES = {
    "promtool": "prometheus",
    "nginx": "nginx-light",
    "systemd-analyze": "systemd",
    "ps": "procps",
    "unshare": "util-linux",
    "ip": "iproute2",
    "node": "nodejs",
    "libseccomp": "libseccomp2",
    "libavcodec": "libavcodec-extra",
    "qemu-aarch64-static": "qemu-user-static",
    "dpkg-deb": "dpkg",
}
"""Debian's package, where it is not named like its tool."""
RIGHTS = frozenset({"root", "memory cgroup"})
"""What no package brings: a test that wants it is skipped, in CI too, where the machine does not give it."""
os.environ["PATH"] += ":/usr/sbin:/sbin"
# Triton looks when it is imported, which some package does for its own purposes
os.environ.setdefault("TRITON_INTERPRET", "0" if Path("/dev/nvidiactl").exists() else "1")


def pytest_configure() -> None:
    """Ctrl-C works in what the tests start, also where a shell started them in the background and so ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name_of_slice()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make test` adds."""
    parser.addoption(
        "--slice-dear", action="store_true", help="one in five of the tests that take longest: tests/dear.tsv"
    )


def pytest_report_header() -> str:
    """Say which of many cases are taken."""
    return "cases: all" if FULL else f"cases: a slice (SLICE={name_of_slice()} repeats it)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what of a `sliced` group this commit does not take."""
    groups: dict[tuple[str, int], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if mark := item.get_closest_marker("sliced"):
            groups[mark.args].append(item)
    taken = {item for (name, count), found in groups.items() for item in slice_of(found, count, name)}
    dear = dear_left_out() if config.getoption("--slice-dear") else frozenset()
    left_out = {item for found in groups.values() for item in found if item not in taken}
    left_out |= {item for item in items if item.nodeid in dear}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, what this machine cannot run."""
    if item.get_closest_marker("full") and not FULL:
        pytest.skip("runs with BTWORKER_FULL=1")
    if item.get_closest_marker("clients") and os.environ.get("BTWORKER_CLIENTS") not in ("1", "next"):
        pytest.skip("runs with `make test-clients`")
    if item.get_closest_marker("real") and os.environ.get("BTWORKER_REAL") != "1":
        pytest.skip("runs with `make real-check`, which fetches weights")
    if item.get_closest_marker("ray") and os.environ.get("BTWORKER_RAY") != "1":
        pytest.skip("runs with `make test-fleet`, which sets Ray up")
    if item.get_closest_marker("gpu") and not has_gpu():
        pytest.skip("needs an NVIDIA GPU and its driver")
    missing = [tool for marker in item.iter_markers("system") for tool in marker.args if not there(tool)]
    if not missing:
        return
    names = " ".join(PACKAGES.get(tool, tool) for tool in missing if tool not in RIGHTS)
    reason = f"needs {', '.join(missing)}" + (f": apt-get install {names}" if names else "")
    if os.environ.get("BTWORKER_REQUIRE_TOOLS") == "1" and names:
        pytest.fail(reason)
    pytest.skip(reason)


def there(tool: str) -> bool:
    """Whether a tool or a library is installed, we are root, or may make a memory cgroup."""
    if tool == "root":
        return os.geteuid() == 0
    if tool == "memory cgroup":
        folder = parent_folder()
        return folder is not None and os.access(folder, os.W_OK)
    if tool.startswith("lib"):
        return find_library(tool.removeprefix("lib")) is not None
    return shutil.which(tool) is not None


def has_gpu() -> bool:
    """Whether nvidia-smi names a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return "GPU" in listing.stdout


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail an async test that leaves a task running (sync ones have no loop)."""
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    request.getfixturevalue("_task_watch")
    yield


@pytest.fixture
async def _task_watch() -> AsyncIterator[None]:
    yield
    own = asyncio.current_task()
    leftover = [task for task in asyncio.all_tasks() if task is not own and not task.done()]
    assert not leftover, f"tasks left behind: {leftover}"
