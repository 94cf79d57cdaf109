"""`make image-test`: builds worker/Dockerfile without registry or Docker engine, and uses the image as operators do.

    debootstrap -> base image -> buildah bud (the very Dockerfile) -> runc (read-only root, no capabilities, user 10001)
        -> imports, demo, a server with an upload from outside, health check, SIGTERM, a volume that belongs to root

Root only: debootstrap and chroot need it. Takes up to 36 GB of disk for a while, all in one folder, removed at the end;
with --keep it stays (8 GB), and --again goes through the checks alone, on the image that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from image_build import IMAGE, ROOT, Buildah, Identity, ImageError, build, clean_up, make_base
from image_checks import Image, all_checks

TOOLS = {"buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc"}
FREE_GB = 40
WORK = Path("/var/tmp/btworker-image-test")  # noqa: S108 - made by root, refused where it is there already


def main(argv: Sequence[str] | None = None) -> int:
    """Build, check, clean up; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=("cu121", "cu130"), default="cu121")
    parser.add_argument("--work", type=Path, default=WORK, help=f"folder for everything ({WORK})")
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look into the image, or for --again")
    parser.add_argument("--again", action="store_true", help="check the image of a folder that was kept; build nothing")
    args = parser.parse_args(argv)
    # Ctrl-C and `kill` both end in the clean-up below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        check_machine(args.work, again=args.again)
        args.work.mkdir(mode=0o755, exist_ok=args.again)
        try:
            work(args.work, args.stack, again=args.again)
        finally:
            if not args.keep:
                clean_up(args.work)
    except ImageError as error:
        print(f"image-test: {error}", file=sys.stderr)
        return 1
    print("image-test: all good")
    return 0


def check_machine(folder: Path, *, again: bool) -> None:
    """Say at once what is missing. Raises ImageError."""
    if os.geteuid() != 0:
        raise ImageError("needs root, since debootstrap and chroot do: sudo make image-test")
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool, path=search_path()) is None]
    if missing:
        raise ImageError(f"needs {', '.join(missing)}: apt-get install {' '.join(missing)}")
    if again:
        if not (folder / "identity.json").is_file():
            raise ImageError(f"{folder} has no image of a run with --keep")
        return
    if folder.exists():
        raise ImageError(f"{folder} is there already; another run, or one that was kept: remove it, or name another")
    free_gb = shutil.disk_usage(folder.parent).free / 2**30
    if free_gb < FREE_GB:
        raise ImageError(f"needs {FREE_GB} GB of free disk for a while, {folder.parent} has {free_gb:.0f} GB")


def search_path() -> str:
    """PATH with the folders of root's programs, which a login shell may leave out."""
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def work(folder: Path, stack: str, *, again: bool) -> None:
    """Everything that happens in the folder. Raises ImageError."""
    os.environ["PATH"] = search_path()
    buildah, kept = Buildah(folder), folder / "identity.json"
    if not again:
        identity, began_s = Identity.of_checkout(), time.monotonic()
        make_base(buildah)
        build(buildah, stack, identity)
        kept.write_text(json.dumps(asdict(identity)))
        print(f"Built in {time.monotonic() - began_s:.0f} s")
    began_s = time.monotonic()
    with opened(buildah, stack, Identity(**json.loads(kept.read_text()))) as image:
        failures = sum(not passes(name, check) for name, check in all_checks(image))
        size = size_gb(image.root)
    print(f"Checked in {time.monotonic() - began_s:.0f} s")
    print(f"Size {size:.2f} GB unpacked, {platform.machine()}, stack {stack}")
    log = (buildah.logs / "build.log").read_text(errors="replace")
    print(next(line for line in log.splitlines() if line.startswith("torch: came from")))
    if failures:
        raise ImageError(f"{failures} checks failed")


def passes(name: str, check: Callable[[], str]) -> bool:
    """Whether a check passes; prints what it found."""
    try:
        found = check()
    except ImageError as error:
        print(f"  FAILS {name}: {error}", flush=True)
        return False
    print(f"  ok    {name}{f': {found}' if found else ''}", flush=True)
    return True


@contextmanager
def opened(buildah: Buildah, stack: str, identity: Identity) -> Iterator[Image]:
    """The image, unpacked for running."""
    config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    container = buildah("from", "--pull-never", IMAGE)
    try:
        yield Image(Path(buildah("mount", container)), config, buildah.folder / "containers", stack, identity)
    finally:
        buildah("rm", container)


def size_gb(root: Path) -> float:
    """What the image takes on disk, in 10^9 bytes as Docker prints it."""
    du = subprocess.run(["du", "--summarize", "--block-size=1", str(root)], capture_output=True, text=True, check=True)
    return int(du.stdout.split()[0]) / 1e9


if __name__ == "__main__":
    assert ROOT.is_dir()
    sys.exit(main())
