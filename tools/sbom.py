"""`make sbom`: a CycloneDX bill of materials for each stack into dist/, from its lock: names, versions, hashes.

The library that writes it is pip-audit's, and stands in the environment of `make audit`: this file starts itself there.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import audit
import locks

ROOT = Path(__file__).resolve().parent.parent
ENTRY = re.compile(r"^([a-z0-9][\w.-]*)==([^ ;\\\n]+)[^\n]*\n((?: +--hash=sha256:[0-9a-f]{64}[ \\]*\n)+)", re.MULTILINE)
HASH = re.compile(r"sha256:([0-9a-f]{64})")
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def main() -> int:
    """Write one file for each stack; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--venv", type=Path, help="folder of the environment of `make audit`, made where it is missing")
    venv = parser.parse_args().venv
    if venv is not None:
        prepared = audit.prepare(venv.absolute())
        return 1 if prepared is None else subprocess.run([prepared[0], __file__], check=False).returncode
    (version,) = VERSION.findall((ROOT / "btworker" / "__init__.py").read_text())
    (ROOT / "dist").mkdir(exist_ok=True)
    for stack in locks.STACKS:
        path, text = ROOT / "dist" / f"btworker-{version}-{stack}.cdx.json", (locks.LOCKS / f"{stack}.txt").read_text()
        path.write_text(bill(version, text) + "\n")
        print(path)
    return 0


def bill(version: str, lock: str) -> str:
    """What an installation is made of; a package of which Pythons need several versions is there with each."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    def component(name: str, version: str, kind: Any, hashes: str = "") -> Component:
        purl = PackageURL("pypi", None, name, version)
        found = [HashType(alg=HashAlgorithm.SHA_256, content=one) for one in HASH.findall(hashes)]
        return Component(name=name, version=version, type=kind, purl=purl, bom_ref=str(purl), hashes=found)

    bom = Bom()
    bom.metadata.component = component("btworker", version, ComponentType.APPLICATION)
    parts = [component(name, pin, ComponentType.LIBRARY, hashes) for name, pin, hashes in ENTRY.findall(lock)]
    bom.components.update(parts)
    bom.register_dependency(bom.metadata.component, parts)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


if __name__ == "__main__":
    sys.exit(main())
