"""The versions of this machine's installation, without importing any of it. Front end and box."""

import platform
from importlib.metadata import PackageNotFoundError, version

from btworker import __version__
from btworker.fleet.records import Versions


def versions_here(model: str) -> Versions:
    """What is installed here; empty for what is not."""
    return Versions(
        btworker=__version__,
        python=".".join(platform.python_version_tuple()[:2]),
        whisper=_version("openai-whisper"),
        torch=_version("torch").partition("+")[0],
        ray=_version("ray"),
        model=model,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
