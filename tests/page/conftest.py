"""The real page in a real Chromium, with the real worker and the embedded model: one of each for all tests here.

Each test has a browser context of its own, and ends with a look for what no test may leave: a request to another place,
a violation of the page's policy, an error of a script.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.demo_worker import DEMO_WORKER
from tests.page.user import SAMPLE, User
from tests.process.server_of import Server, serving

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required"
).split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system("chromium"))


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The worker, with the demo's model and pipeline, and room for what full counts send."""
    with serving(tmp_path_factory.mktemp("page"), **DEMO_WORKER, WORKER_MAX_FILE_MB="8000") as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def talk(worker: Server) -> str:
    """The id of a finished job with two speakers; tests that change it restore it."""
    job_id = worker.upload("interview.flac", SAMPLE.read_bytes(), diarizationEnabled="true")
    assert worker.ended(job_id)["status"] == "complete"
    return job_id


@pytest.fixture
def user(worker: Server, browser: Browser) -> Iterator[User]:
    """Somebody with the page open, and the token typed in."""
    with User.at(worker, browser) as someone:
        someone.enter()
        yield someone


@pytest.fixture
def stranger(worker: Server, browser: Browser) -> Iterator[User]:
    """Somebody with the page open, who was not asked for a token yet."""
    with User.at(worker, browser) as someone:
        yield someone
