"""One real server process for the security tests, with secrets in it that must never come out.

Whatever the tests did to it, at the end it stops in good order, every line of its log is one JSON object, and no
secret stands in its log or in its data folder.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.server_of import Server, serving
from tests.security.records import assert_no_secret, log_records
from tests.security.secrets_of_test import ENVIRONMENT, SECOND_TOKEN, THIRD_TOKEN


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`btworker serve` with the scripted engine; shared, since every test leaves it as good as new or fails."""
    folder = tmp_path_factory.mktemp("security")
    tokens = folder / "tokens"
    tokens.write_text(f"{SECOND_TOKEN}\n{THIRD_TOKEN}\n")
    with serving(folder, WORKER_TOKEN_FILE=str(tokens), **ENVIRONMENT) as server:
        yield server
        assert server.process.poll() is None, "the server died"
        assert server.stop() == 0
        assert log_records(server.log)
        assert_no_secret(server.log)
        assert_no_secret(folder / "data")


@pytest.fixture
def port(app: Server) -> int:
    """Where it listens."""
    return int(app.url.rsplit(":", 1)[1])


@pytest.fixture
def jobs_folder(app: Server) -> Path:
    """Where it keeps the files of jobs."""
    return app.log.parent / "data" / "jobs"
