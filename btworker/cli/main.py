"""`btworker`: finds the command, runs it, and turns what goes wrong into one sentence and an exit code.

Each command is a module with `add_parser(subparsers)`, which sets `run=` to a function of the parsed arguments that
returns the exit code. Only the module of the command that was asked for is imported: `btworker version` loads neither
the server nor the client, and `serve` loads no client.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from btworker import __version__
from btworker.errors import StartupError

COMMANDS = {
    "serve": "run the worker",
    "demo": "transcribe a sample recording through a real worker",
    "transcribe": "transcribe recordings, by a worker or on this machine",
    "watch": "transcribe whatever arrives in a folder",
    "jobs": "list, show, cancel, remove or fetch a worker's jobs",
    "bench": "measure a worker, or this machine",
    "models": "list, fetch or verify the models that jobs may ask for",
    "keys": "list, add, change or revoke the keys of this machine's worker",
    "fleet": "list, drain or resume the boxes of this machine's worker",
    "usage": "show what each key of a worker used",
    "voices": "list, add or remove people whom jobs may know by name",
    "backup": "copy this machine's jobs, inputs and results",
    "restore": "take a backup back",
    "doctor": "check this machine, and say how to mend what is wrong",
    "completion": "print what a shell needs to complete these commands",
    "version": "print the versions of btworker and what it runs on",
}
"""Every command, with the line that `btworker --help` shows; each is the module btworker.cli.<name>."""

EXIT_CODES = """\
exit codes:
  0    all is well
  1    a job failed, or a check did
  2    wrong arguments
  3    the worker cannot be reached, or refused; a model cannot be had
  64   wrong or missing settings
  65   the job database, or that of a backup, is damaged
  69   serve: the address is in use
  73   the data folder, or the place of a backup, cannot be used
  130  stopped with Ctrl-C
"""
EXAMPLES = """\
examples:
  btworker demo                                see it work, with nothing set up
  btworker transcribe talk.mp3 --model small   on this machine, with no server
  WORKER_TOKEN=secret btworker serve           run a worker on 127.0.0.1:8477
  export WORKER_URL=http://gpu-box:8477 WORKER_TOKEN=secret
  btworker transcribe talk.mp3 --live          send a recording there
  btworker bench                               and see how fast it is
"""
ALL = "*"
"""No command's name: every one of them."""
SETUP_HINT = (
    "in a checkout `make setup` installs all that is needed into .venv: use .venv/bin/btworker; elsewhere: "
    'pip install "btworker[cu121]"'
)
USAGE = 2
WIDEST_HELP = 100
"""Columns; longer lines are hard to read."""
INTERRUPTED = 130


class Help(argparse.HelpFormatter):
    """Help that fits the terminal, with the examples as they are written, and room for the names of the commands."""

    def __init__(self, prog: str) -> None:
        width = min(WIDEST_HELP, shutil.get_terminal_size().columns) - 2
        super().__init__(prog, max_help_position=28, width=width)

    def add_argument(self, action: argparse.Action) -> None:
        """argparse forgets that the names of commands are indented once more."""
        super().add_argument(action)
        if action.nargs == argparse.PARSER:
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """The parser of every command: argparse makes those below it of the same class."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"formatter_class": Help, **arguments})


class Commands(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001 - for add_subparsers(action=)
    """The commands, each with its line in the help, whichever module its parser comes from."""

    def add_parser(self, name: str, **arguments: Any) -> Any:
        """As argparse has it."""
        return super().add_parser(name, **{"help": COMMANDS[name], **arguments})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = build_parser(chosen=next((word for word in arguments if not word.startswith("-")), None))
    except ModuleNotFoundError as error:
        print(f"btworker: {error.name} is not installed here; {SETUP_HINT}", file=sys.stderr)
        return USAGE
    if not arguments:
        parser.print_help(sys.stderr)
        return USAGE
    args = parser.parse_args(arguments)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except StartupError as error:
        print(f"btworker: {error.message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `btworker jobs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser(chosen: str | None = ALL) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of the chosen one, or of all."""
    parser = Parser(
        prog="btworker",
        description="A self-hosted transcription worker: recordings in over HTTP, transcripts out.",
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"btworker {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, action=Commands)
    for name in COMMANDS:
        if chosen in (name, ALL):
            import_module(f"btworker.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name)
    return parser
