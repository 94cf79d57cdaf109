"""Tables on stdout: fitted to a terminal; in a pipe as wide as they need, so that grep and awk see whole values."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 400


def print_table(table: Table, *, fitted: bool = True) -> None:
    """Print a table without borders; `fitted=False`: whole rows on a narrow terminal too, which breaks them itself."""
    if fitted and sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(highlight=False, width=PIPE_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def print_facts(rows: Sequence[tuple[str, str]]) -> None:
    """Names with their values, one below the other; a long value goes on beside its name."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    print_table(table)
