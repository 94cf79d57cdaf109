"""Tables on stdout: fitted to a terminal; in a pipe as wide as they need, so that grep and awk see whole values."""

import sys

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 400


def print_table(table: Table) -> None:
    """Print a table without borders."""
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(highlight=False, width=PIPE_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())
