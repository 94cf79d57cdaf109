"""A real server on port 0 for every test, a real store and data folder, and no speech library within reach."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest
import structlog
import uvloop

from btworker.config import Settings
from tests.http.server import TOKEN, Running, serving
from tests.slices import FULL

BOTH_LOOPS = frozenset({"test_events"})
"""Modules whose subject is the connection itself."""
BOTH_WAYS = frozenset({"test_connections", "test_uploads", "test_tus", "test_refused_bodies"})
"""Modules whose subject is what is received: by the HTTP parser, and past it."""
BODY_WAYS: dict[str, dict[str, object]] = {"by size": {}, "parser": {"fast_uploads": 0}, "socket": {"fast_body_mb": 0}}
BANNED = frozenset({"torch", "torchaudio", "whisper", "pyannote", "numpy", "silero_vad"})


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the front end runs on; what depends on the loop, on asyncio's own as well."""
    both = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return both if FULL or item.path.stem in BOTH_LOOPS else {"uvloop": both["uvloop"]}


class ImportBan(MetaPathFinder):
    """Finds nothing, loudly: the front end must work where no speech library can be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] in BANNED:
            raise ImportError(f"{fullname} is banned from the front end")
        return None


@pytest.fixture(autouse=True)
def _no_speech_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ban the imports; what another test loaded is hidden meanwhile."""
    for name in list(sys.modules):
        if name.partition(".")[0] in BANNED:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [ImportBan(), *sys.meta_path])


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """JSON lines, as in service; structlog's own default paints every local variable of a traceback, for seconds."""
    shared = [structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info]
    structlog.configure(processors=[*shared, structlog.processors.JSONRenderer(default=repr)])
    yield
    structlog.reset_defaults()


@pytest.fixture
def overrides() -> dict[str, object]:
    """Settings of the test's server beside the usual ones; parametrize or override to change them."""
    return {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of BOTH_WAYS that has a server runs twice."""
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS and "body_way" in metafunc.fixturenames:
        metafunc.parametrize("body_way", ["parser", "socket"])


@pytest.fixture
def body_way() -> str:
    """Which of BODY_WAYS bodies take."""
    return "by size"


@pytest.fixture
def settings(tmp_path: Path, overrides: dict[str, object], body_way: str) -> Settings:
    base: dict[str, object] = {
        "token": TOKEN,
        "data_dir": tmp_path / "data",
        "port": 0,
        "model": "tiny",
        "disk_reserve_mb": 0,
        "max_file_mb": 4,
    }
    return Settings.model_validate({**base, **BODY_WAYS[body_way], **overrides})


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Running]:
    async with serving(settings) as running:
        yield running


@pytest.fixture
async def client(server: Running) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the right token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        yield session
