"""What a command may leave behind."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.conftest import Cli, leaves_no_process


@contextmanager
def leaves_nothing(cli: Cli) -> Iterator[None]:
    """No process and no file is left of what is done in the block."""
    with leaves_no_process(cli.folder / "tmp"):
        yield
    assert list((cli.folder / "tmp").iterdir()) == []
