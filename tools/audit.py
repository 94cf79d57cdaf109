"""`make audit`: known vulnerabilities of the pinned packages, by pip-audit; where its service cannot be reached, by the
list that is kept by hand (locks/advisories.json), which is said.

Exit status 1 where pip-audit names one that the list does not have: look what it means here, and write it down there
and in docs/security.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import locks
import setup_env

STACKS = ("cu121", "cu130")
LIST = setup_env.LOCKS / "advisories.json"
LOCK = setup_env.LOCKS / "audit.txt"
UNREACHABLE = """\
{stack}: the advisories' service cannot be asked from here. By the list of {as_of}, which is kept by hand and knows
nothing newer:"""


@dataclass(frozen=True)
class Advisory:
    """One that is known, with what it means here. `fixed_in` None: no release is named as the fix, and all have it, or
    those up to `last_affected`."""

    id: str
    package: str
    fixed_in: str | None
    what: str
    here: str
    last_affected: str | None = None

    def concerns(self, version: str) -> bool:
        """Whether this release of the package has it."""
        if self.last_affected is not None:
            return _numbers(version) <= _numbers(self.last_affected)
        return self.fixed_in is None or _numbers(version) < _numbers(self.fixed_in)


@dataclass(frozen=True)
class Found:
    """What pip-audit names: a package's release, and all the names of one advisory."""

    package: str
    version: str
    names: frozenset[str]


def main(argv: Sequence[str] | None = None) -> int:
    """Audit both locks; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="folder of pip-audit's own environment")
    as_of, advisories = known()
    environment = prepare(parser.parse_args(argv).venv.absolute())
    status = 0
    for stack in STACKS:
        found = None if environment is None else asked(stack, *environment)
        if found is None:
            print(UNREACHABLE.format(stack=stack, as_of=as_of))
            print(*by_hand(stack, advisories), sep="\n")
        else:
            lines, is_new = judged(found, advisories)
            print(f"{stack}, by pip-audit:", *(lines or ["  nothing is known"]), sep="\n")
            status = max(status, int(is_new))
    return status


def known(path: Path = LIST) -> tuple[str, list[Advisory]]:
    """The list's date, and what is in it."""
    raw = json.loads(path.read_text("utf-8"))
    return str(raw["as_of"]), [Advisory(**one) for one in raw["advisories"]]


def by_hand(stack: str, advisories: Sequence[Advisory]) -> list[str]:
    """A line for each advisory that a pin of the lock has."""
    pinned = [line.partition(";")[0].strip().partition("==") for line in locks.pins(setup_env.LOCKS, stack)]
    return [
        f"  {package} {version}: {_line(one)}"
        for package, _, version in pinned
        for one in advisories
        if one.package == package and one.concerns(version)
    ]


def judged(found: Sequence[Found], advisories: Sequence[Advisory]) -> tuple[list[str], bool]:
    """A line for each finding, and whether one of them is not in the list."""
    by_id = {one.id: one for one in advisories}
    lines, is_new = [], False
    for one in found:
        entry = next((by_id[name] for name in sorted(one.names) if name in by_id), None)
        is_new = is_new or entry is None
        words = "NEW: " + ", ".join(sorted(one.names)) if entry is None else _line(entry)
        lines.append(f"  {one.package} {one.version}: {words}")
    return lines, is_new


def prepare(venv: Path) -> tuple[Path, Mapping[str, str]] | None:
    """pip-audit's environment, made where it is missing: its Python and its variables. None where it cannot be had."""
    try:
        setup_env.create(venv)
        environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(venv))
        setup_env.install_locks(venv, [LOCK], environment)
    except setup_env.SetupError as error:
        print(f"make: {error}", file=sys.stderr)
        return None
    return venv / "bin" / "python", environment


def asked(stack: str, python: Path, environment: Mapping[str, str]) -> list[Found] | None:
    """What pip-audit says of a lock; None where its service cannot be reached."""
    lock = setup_env.LOCKS / f"{stack}.txt"
    command = [*(python, "-m", "pip_audit", "--disable-pip", "--require-hashes"), *("--requirement", lock)]
    options = ("--format", "json", "--progress-spinner", "off", "--timeout", "30")
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=dict(environment))
    try:
        return read(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        print(*done.stderr.strip().splitlines()[-1:], sep="\n", file=sys.stderr)
        return None


def read(dependencies: Sequence[Mapping[str, Any]]) -> list[Found] | None:
    """pip-audit's findings from its report; None where the service answered for no package at all.

    An index that is a mirror has no advisories: every package is skipped then, which must not look like good news.
    """
    audited = [one for one in dependencies if "skip_reason" not in one]
    if not audited:
        return None
    if skipped := len(dependencies) - len(audited):
        print(f"  {skipped} of {len(dependencies)} packages were not audited: the service does not know them")
    return [
        Found(one["name"], one["version"], frozenset((named["id"], *named["aliases"])))
        for one in audited
        for named in one.get("vulns", ())
    ]


def _line(one: Advisory) -> str:
    fixed = f"fixed in {one.fixed_in}" if one.fixed_in else "no fix"
    return f"{one.id} ({fixed}): {one.what}. Here: {one.here}."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))


if __name__ == "__main__":
    sys.exit(main())
