"""Names in the environment that look like settings and are none: a slip is an error, a stranger a warning. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PREFIX = "WORKER_"
SLIP_LETTERS = 2
"""Letters by which a name may differ from a setting's, be they wrong, missing, too many or in the wrong order."""
KUBERNETES_NAME = re.compile(r"WORKER_(SERVICE_.*|PORT_.*|.*_SERVICE_(HOST|PORT.*)|.*_PORT_\d+_(TCP|UDP|SCTP).*)")
"""What a pod gets for each service of its namespace; here for one that is called worker, or worker-something."""
KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://.*")
"""The value of such a variable where its name alone says too little: WORKER_PORT, which is a setting as well."""


@dataclass(frozen=True, slots=True)
class Strays:
    """Names that no setting has."""

    slips: tuple[tuple[str, str], ...]
    """Each with the setting that was probably meant."""
    unknown: tuple[str, ...]


def strays(environment: Mapping[str, str], known: Iterable[str]) -> Strays:
    """Whatever begins with WORKER_ and is no setting; names are compared as settings are, without case."""
    settings = sorted(known)
    names = [
        name
        for name, value in sorted(environment.items())
        if name.upper().startswith(PREFIX) and name.upper() not in settings and not _is_kubernetes(name.upper(), value)
    ]
    meant = {name: closest(name.upper(), settings) for name in names}
    slips = tuple((name, setting) for name, setting in meant.items() if setting is not None)
    return Strays(slips, tuple(name for name in names if meant[name] is None))


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The first of the nearest candidates; None where all are further away than a slip."""
    best = min(candidates, key=lambda candidate: letters_between(name, candidate), default=None)
    return best if best is not None and letters_between(name, best) <= SLIP_LETTERS else None


def letters_between(one: str, other: str) -> int:
    """Letters to change, insert, delete, or exchange with their neighbour, to make one of the other."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        now = [row]
        for column, wanted in enumerate(other, start=1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def _is_kubernetes(name: str, value: str) -> bool:
    return bool(KUBERNETES_NAME.fullmatch(name) or KUBERNETES_ADDRESS.match(value))
