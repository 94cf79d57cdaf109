"""Write the page's libraries again: `python tools/vendor_page.py` (needs npm); `--check` only compares.

    npm pack NAME@VERSION --> its integrity, as pinned here --> one module --> bare imports made relative --> vendor/

An import map would do the last step in the browser, but it would be an inline script, which the page's policy forbids.
"""

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[1] / "btworker/web/page/vendor"
INDEX = "vendor.json"
_IMPORT = re.compile(r"""((?:from|import)\s*)(["'])([@\w][\w./@-]*)\2""")
_SOURCE_MAP = re.compile(r"\n?//# sourceMappingURL=\S+\s*$")


@dataclass(frozen=True, slots=True)
class Package:
    """One package of npm's, as it is pinned."""

    name: str
    version: str
    licence: str
    integrity: str
    """Of the archive: npm's own notation."""
    files: dict[str, str]
    """What is taken out of it, and its name here; the licence's text among them."""


PACKAGES = (
    Package(
        "preact",
        "11.2.0",
        "MIT",
        "sha512-/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "preact-hooks.js", "LICENSE": "LICENSE.preact"},
    ),
    Package(
        "htm",
        "3.1.1",
        "Apache-2.0",
        "sha512-983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        {"dist/htm.module.js": "htm.js", "LICENSE": "LICENSE.htm"},
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "MIT",
        "sha512-vcRv7Ityz5JVmeiVqIluLFzT/PDS/AlhHUpw3/aUWqcVUs6bDGIPXE/6RSC4evBNWYvnniozg5Syfj33al3gkg==",
        {"dist/signals-core.mjs": "signals-core.js", "LICENSE": "LICENSE.signals-core"},
    ),
    Package(
        "@preact/signals",
        "2.11.4",
        "MIT",
        "sha512-Rb+5RPo9gWSaHtzJeauhHxiC8KP/IF2DEPkHPEOGOnuy2wnJzRqyeLRankUCYd6ADqtxS6GnWGv6Ie343d8aYw==",
        {"dist/signals.mjs": "signals.js", "LICENSE": "LICENSE.signals"},
    ),
    Package(
        "tus-js-client",
        "4.3.1",
        "MIT",
        "sha512-ZLeYmjrkaU1fUsKbIi8JML52uAocjEZtBx4DKjRrqzrZa0O4MYwT6db+oqePlspV+FxXJAyFBc/L5gwUi2OFsg==",
        {"dist/tus.min.js": "tus.js", "LICENSE": "LICENSE.tus"},
    ),
)
MODULES = {
    "preact": "./preact.js",
    "preact/hooks": "./preact-hooks.js",
    "@preact/signals-core": "./signals-core.js",
}
"""Bare names -> the files here."""


def main() -> int:
    """Fetch, check and write; 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    is_check = parser.parse_args().check
    files = {name: content for package in PACKAGES for name, content in vendored(package).items()}
    files[INDEX] = index(files)
    different = [name for name, content in files.items() if not _same(VENDOR / name, content)]
    different += sorted({path.name for path in VENDOR.iterdir()} - files.keys())
    if is_check:
        print("\n".join(different) or "the page's libraries are as they were vendored")
        return 1 if different else 0
    for name, content in files.items():
        (VENDOR / name).write_bytes(content)
    print(f"wrote {len(files)} files, {len(different)} of them changed")
    return 0


def vendored(package: Package) -> dict[str, bytes]:
    """The files of a package as they are served. Raises SystemExit where the archive is another one."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", wanted], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != package.integrity:
            raise SystemExit(f"{wanted}: the archive's integrity is {found}, not the pinned one")
        with tarfile.open(archive) as tar:
            return {name: _rewritten(name, _member(tar, inside)) for inside, name in package.files.items()}


def index(files: dict[str, bytes]) -> bytes:
    """What is here, for people and for the tests: package, version, licence and the hash of each file."""
    rows = [
        {
            "package": package.name,
            "version": package.version,
            "licence": package.licence,
            "integrity": package.integrity,
            "files": {name: hashlib.sha256(files[name]).hexdigest() for name in package.files.values()},
        }
        for package in PACKAGES
    ]
    return (json.dumps(rows, indent=2) + "\n").encode()


def _member(tar: tarfile.TarFile, inside: str) -> bytes:
    file = tar.extractfile(f"package/{inside}")
    if file is None:
        raise SystemExit(f"the archive has no {inside}")
    return file.read()


def _rewritten(name: str, content: bytes) -> bytes:
    """A module with relative imports and without its source map; anything else as it is. Raises KeyError."""
    if not name.endswith(".js"):
        return content
    text = _SOURCE_MAP.sub("\n", content.decode())
    if name == "tus.js":  # one bundle, which imports nothing
        return text.encode()
    return _IMPORT.sub(lambda found: f"{found[1]}{found[2]}{MODULES[found[3]]}{found[2]}", text).encode()


def _same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
