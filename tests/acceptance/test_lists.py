"""Tables and lines of `btworker jobs`, on terminals of any width and in pipes."""

import json

import pytest

from tests.acceptance.conftest import Cli
from tests.acceptance.terminal import terminal

NAME = "An interview with the mayor of a town with a rather long name, part 1 of 7.mp3"


@pytest.fixture
def job_id(cli: Cli) -> str:
    """A complete job whose file has a long name."""
    (cli.folder / NAME).write_text("hello\n")
    return str(json.loads(cli("transcribe", NAME, "--json").stdout)[0]["workerJobId"])


@pytest.mark.parametrize("columns", [80, 200])
def test_a_narrow_terminal_costs_only_file_names(cli: Cli, job_id: str, columns: int) -> None:
    """Ids, times and states stand there in full, so that they can be copied."""
    with terminal(cli, columns, "jobs", "list", "--limit", "1") as running:
        assert running.wait() == 0
    assert running.widest <= columns
    (row,) = (line for line in running.plain.splitlines() if job_id in line)
    assert "complete" in row
    assert (NAME in row) is (columns == 200)
    assert NAME[:12] in row


@pytest.mark.parametrize("columns", [80, 200])
def test_all_of_a_job_is_shown_and_fits(cli: Cli, job_id: str, columns: int) -> None:
    """Long names go on in the next line."""
    with terminal(cli, columns, "jobs", "show", job_id) as running:
        assert running.wait() == 0
    assert running.widest <= columns
    assert NAME in " ".join(running.plain.split())


def test_a_pipe_gets_whole_lines_without_colours(cli: Cli, job_id: str) -> None:
    """grep and awk see all of it."""
    for words in (("jobs", "list"), ("jobs", "show", job_id)):
        done = cli(*words)
        assert NAME in done.stdout
        assert "\x1b" not in done.stdout + done.stderr
