"""The boxes that get no new jobs: named by the operator, kept in a file, so that a restart of the front end changes
nothing. Front end; blocking, but small."""

import json
from pathlib import Path

from btworker.durable import publish, write_durably
from btworker.logs import get_logger

NAME = "fleet.json"
"""File in the data folder."""
log = get_logger()


class Cordon:
    """Names of boxes."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self._names = self._read()

    def __contains__(self, box: str) -> bool:
        return box in self._names

    @property
    def names(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self._names))

    def change(self, box: str, *, drained: bool) -> None:
        """Note durably whether a box is to get jobs. Raises OSError."""
        names = self._names | {box} if drained else self._names - {box}
        part = self._path.with_name(f"{NAME}.part")
        write_durably(part, json.dumps({"drained": sorted(names)}).encode())
        publish(part, self._path)
        self._names = names

    def _read(self) -> frozenset[str]:
        try:
            return frozenset(map(str, json.loads(self._path.read_bytes())["drained"]))
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cordon_unreadable", message=f"{self._path} cannot be read, so no box is drained ({error})")
            return frozenset()
