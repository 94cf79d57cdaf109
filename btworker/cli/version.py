"""`btworker version`: what to put into a bug report. Reads package metadata and imports none of the packages."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from btworker import __version__

PACKAGES = ("torch", "torchaudio", "openai-whisper", "pyannote.audio", "aiohttp")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`btworker version` takes no arguments."""
    parser = subparsers.add_parser("version", description="Print the versions of btworker and what it runs on.")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print one line for each version."""
    print(f"btworker {__version__}")
    print(f"Python {platform.python_version()} on {platform.machine()}")
    for package in PACKAGES:
        print(f"{package} {installed(package) or 'is not installed'}")
    return 0


def installed(package: str) -> str | None:
    """The version of an installed package, without its build tag ("2.2.2", not "2.2.2+cu121"); None where it is not."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None
