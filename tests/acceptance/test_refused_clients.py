"""Unmodified clients whose whole upload is refused: each sees why, up to the largest file."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.acceptance.conftest import Worker
from tests.process.server_of import TOKEN
from tests.security.wire import Memory
from tests.slices import FULL

pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__).resolve().parents[1] / "clients"
MIB = 2**20
SIZE_MIB = 1900 if FULL else 64
"""Of the refused file; that of the largest one by default is 2000."""
COMMANDS = {
    "Node's fetch": ["node", HERE / "refused_fetch.mjs"],
    "Node's http": ["node", HERE / "refused_http.mjs"],
    **{
        name: [sys.executable, "-W", "ignore", HERE / "refused.py", name]
        for name in ("http.client", "requests", "httpx", "aiohttp")
    },
    "curl": ["curl"],
    "curl that does not ask first": ["curl", "-H", "Expect:"],
}
SETTINGS = {
    401: {"WORKER_MAX_FILE_MB": str(SIZE_MIB + 1)},
    413: {"WORKER_MAX_FILE_MB": str(SIZE_MIB * 3 // 5)},
    507: {"WORKER_MAX_FILE_MB": str(SIZE_MIB + 1), "WORKER_DISK_RESERVE_MB": "1000000000"},
}
CODES = {401: "UNAUTHORIZED", 413: "FILE_TOO_LARGE", 507: "DISK_FULL"}


@pytest.fixture(scope="module", params=SETTINGS)
def refusing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Worker]]:
    """A status, and a worker that answers this upload with it."""
    settings = {**SETTINGS[request.param], "WORKER_REFUSED_DRAIN_SECONDS": "300"}  # this machine may be busy
    worker = Worker(tmp_path_factory.mktemp("worker"), settings).start()
    yield request.param, worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file without content that takes no room."""
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    with path.open("wb") as file:
        file.truncate(SIZE_MIB * MIB)
    return path


def seen_by(client: str, worker: Worker, token: str, path: Path) -> str:
    """What a client prints: the status and the error's code."""
    command, url = list(map(str, COMMANDS[client])), f"{worker.url}/v1/jobs"
    if command[0] == "curl":
        shown = ["-sS", "-w", " %{http_code}", "-H", f"Authorization: Bearer {token}", "-F", f"file=@{path}", url]
        done = subprocess.run([*command, *shown], capture_output=True, text=True, check=False, timeout=300)
        code = next((code for code in CODES.values() if code in done.stdout), "")
        return f"{done.stdout.rpartition(' ')[2]} {code}"
    done = subprocess.run([*command, url, token, str(path)], capture_output=True, text=True, check=False, timeout=300)
    return done.stdout.strip() or done.stderr.strip()[-300:]


def skip_unless_there(client: str) -> None:
    """Node and curl are the machine's; two packages are pinned for Python 3.11 and later."""
    tool = COMMANDS[client][0]
    if tool in ("node", "curl") and shutil.which(str(tool)) is None:
        pytest.skip(f"needs {tool}")
    if client in ("requests", "httpx") and find_spec(client) is None:
        pytest.skip(f"the pinned {client} needs Python 3.11")


@pytest.mark.parametrize("client", COMMANDS)
def test_a_client_sees_its_refusal(client: str, refusing: tuple[int, Worker], recording: Path) -> None:
    """And no reset, whether it reads while it sends or after."""
    skip_unless_there(client)
    status, worker = refusing
    token = "wrong" if status == 401 else TOKEN
    assert seen_by(client, worker, token, recording) == f"{status} {CODES[status]}"


@pytest.mark.parametrize("refusing", [401, 507], indirect=True)
def test_memory_stays_flat(refusing: tuple[int, Worker], recording: Path) -> None:
    """Eight at once, the most that strangers may: what is dropped was never kept."""
    status, worker = refusing
    assert worker.process is not None
    token = "wrong" if status == 401 else TOKEN
    seen_by("http.client", worker, token, recording)
    memory = Memory(worker.process.pid)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: seen_by("http.client", worker, token, recording), range(8)))
    assert found == [f"{status} {CODES[status]}"] * 8
    assert memory.grown_bytes < 16 * MIB
    print(f"{status}: grown by {memory.grown_bytes / MIB:.1f} MiB")
