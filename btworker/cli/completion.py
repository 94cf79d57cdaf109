"""`btworker completion SHELL`: the script by which a shell completes commands, options, choices and paths."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from btworker.cli.main import build_parser

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
examples:
  btworker completion bash > ~/.local/share/bash-completion/completions/btworker
  btworker completion zsh > "${fpath[1]}/_btworker"
  btworker completion fish > ~/.config/fish/completions/btworker.fish
"""
FOLDERS = frozenset({"DIR", "FOLDER"})
"""What arguments that name a folder are called in the help."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Which shell."""
    parser = subparsers.add_parser(
        "completion",
        description="Print the script by which a shell completes btworker's commands. A new shell knows it.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "shell", choices=SHELLS, metavar="SHELL", help=" or ".join((", ".join(SHELLS[:-1]), SHELLS[-1]))
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    parser = build_parser()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.DIRECTORY if action.metavar in FOLDERS else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser, and of all below it."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for child in action.choices.values():
                yield from _actions(child)
