"""A pickle that shows that it was loaded."""

import os
import pickle
from pathlib import Path


class Canary:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def planted(folder: Path) -> tuple[bytes, Path]:
    """A pickle, and what is there once somebody has loaded it."""
    sprung = folder / "sprung"
    return pickle.dumps(Canary(sprung)), sprung
