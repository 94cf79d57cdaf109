"""Which packages of the stack cannot be imported on this machine. Runs in a process of its own.

python -m btworker.engine.stack.import_probe    # one line of JSON; btworker doctor starts it so
"""

import dataclasses
import importlib
import json
import warnings

from btworker.engine.stack.surroundings import BROKEN, unusable
from btworker.gpu_support import Problem

MODULES = ("torch", "torchaudio", "whisper", "pyannote.audio")
"""Each after those that it imports, so that the first failure is the cause of the others."""


def probe() -> dict[str, Problem]:
    """Import everything; return what is wrong, by module."""
    problems = {}
    for name in MODULES:
        try:
            importlib.import_module(name)
        except BROKEN as error:
            problems[name] = unusable(name, error)
    return problems


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {name: dataclasses.asdict(problem) for name, problem in probe().items()}
    print(json.dumps(found))  # noqa: T201 - this is the answer
