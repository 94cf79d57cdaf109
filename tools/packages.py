"""`make wheel`: the packages of a release in dist/: btworker as wheel and source, and the wheel that cu121 names.

openai-whisper 20231117 is a source package whose build imports what setuptools 81 dropped, and no metadata can ask for
an older one. So its wheel is built here, unchanged but for its metadata: a local version, by which the extra names it,
and a marker at triton, which its build adds for the machine that it happens to run on.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import locks
import setup_env

ROOT = Path(__file__).resolve().parent.parent
NAME, _, VERSION = locks.COMPANION.partition("==")
UPSTREAM = VERSION.partition("+")[0]
PARTS = ("btworker", "locks/extras", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")
"""What a package is built from."""
TRITON = re.compile(r"^(Requires-Dist: triton[^;\n]*)$", re.MULTILINE)
ONLY_THERE = '; platform_machine == "x86_64" and sys_platform == "linux"'


def main() -> int:
    """Build everything anew; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where they go; what is there is deleted")
    args = parser.parse_args()
    shutil.rmtree(args.dist, ignore_errors=True)
    args.dist.mkdir(parents=True)
    for path in (*own(args.dist), companion(args.dist)):
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MB")
    return 0


def own(dist: Path) -> list[Path]:
    """The wheel and the source package of btworker, from the files that git knows."""
    with tempfile.TemporaryDirectory() as scratch:
        source = checkout(Path(scratch) / "btworker")
        for kind in ("sdist", "wheel"):
            run([sys.executable, "-c", f"import setuptools.build_meta as m; m.build_{kind}({str(dist)!r})"], source)
    return sorted(dist.iterdir())


def checkout(folder: Path) -> Path:
    """A copy of the work tree without what git ignores: an earlier build leaves modules that are no more."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def companion(dist: Path) -> Path:
    """The wheel of openai-whisper, from the source package with the lock's hash."""
    text = (locks.LOCKS / "cu121.txt").read_text()
    entry = re.search(rf"^{NAME}=={UPSTREAM}[^\n]*(?:\n +--hash[^\n]*)+", text, re.MULTILINE)
    assert entry, "the lock has no such package"
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{entry[0]}\n")
        pip = [*setup_env.pip(Path(sys.prefix)), "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        run([*pip, "--require-hashes", "--wheel-dir", scratch, "--requirement", str(wanted)], ROOT)
        (built,) = Path(scratch).glob("*.whl")
        return renamed(built, dist)


def renamed(wheel: Path, dist: Path) -> Path:
    """The same wheel under the local version. Its files keep their bytes; the metadata and the record are made anew."""
    old, new = (f"{NAME.replace('-', '_')}-{version}" for version in (UPSTREAM, VERSION))
    target = dist / wheel.name.replace(old, new)
    record = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for item in source.infolist():
            name, data = item.filename.replace(f"{old}.dist-info/", f"{new}.dist-info/"), source.read(item)
            if name.endswith(".dist-info/RECORD"):
                continue
            if name.endswith(".dist-info/METADATA"):
                data = relabelled(data.decode()).encode()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            record.append(f"{name},sha256={digest},{len(data)}\n")
            made.writestr(zipfile.ZipInfo(name, item.date_time), data, zipfile.ZIP_DEFLATED)
        name = f"{new}.dist-info/RECORD"
        made.writestr(name, "".join((*record, f"{name},,\n")))
    return target


def relabelled(metadata: str) -> str:
    """The metadata with the local version, and triton asked for where there is one."""
    metadata = metadata.replace(f"\nVersion: {UPSTREAM}\n", f"\nVersion: {VERSION}\n", 1)
    return TRITON.sub(rf"\1 {ONLY_THERE}", metadata)


def run(command: list[str], folder: Path) -> None:
    """Run a step with pip's own index and no other; it says why where it fails."""
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(Path(sys.prefix)))
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"make wheel: {' '.join(command[:4])} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
