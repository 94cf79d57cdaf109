"""What a release is made of, and that it installs and transcribes where nothing of it was before."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.parser import Parser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import btworker
import image_build
import locks
import packages
import setup_env
from btworker.ffmpeg import find_ffmpeg
from tests.demo_worker import DEMO

ROOT = Path(__file__).resolve().parents[2]
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
INSTALL_S = 1800
REGISTER = """binfmt=/proc/sys/fs/binfmt_misc
if mount -t binfmt_misc binfmt_misc $binfmt; then grep -v '^#' /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register; fi
"""
"""Where a user namespace has no table of its own (before Linux 6.7), the machine's has to know qemu."""


@pytest.mark.parametrize("stack", locks.EXTRAS)
def test_an_extra_is_the_lock(stack: str) -> None:
    """Every pin of the lock with its marker, and no other; in place of the source package its wheel."""
    text = (locks.LOCKS / "extras" / f"{stack}.txt").read_text()
    assert text == locks.extra(locks.LOCKS, stack), "run make locks"
    lines = [line for line in text.splitlines() if line[:1].isalnum()]
    same = set(lines) & set(locks.pins(locks.LOCKS, stack))
    assert len(lines) - len(same) == (stack == "cu121") and (locks.COMPANION in lines) is (stack == "cu121")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Requires-Dist: triton<3,>=2.0.0\n", f"Requires-Dist: triton<3,>=2.0.0 {packages.ONLY_THERE}\n"),
        ("Requires-Dist: triton>=2 ; extra == 'x'\n", "Requires-Dist: triton>=2 ; extra == 'x'\n"),
        ("Requires-Dist: numba\n", "Requires-Dist: numba\n"),
    ],
)
def test_only_triton_is_asked_for_elsewhere(before: str, after: str) -> None:
    """The build asks for triton wherever it happens to run on x86-64; the wheel is for arm64 as well."""
    head = "Metadata-Version: 2.4\nName: openai-whisper\nVersion: {}\n"
    assert packages.relabelled(head.format("20231117") + before) == head.format(packages.VERSION) + after


CHANGELOG = """# Changelog

## [Unreleased]
{later}
## [1.2.3] - 2026-12-01

### Added

- One thing that takes
  two lines ([docs/one.md](docs/one.md), https://example.org).
- Another.

## [1.2.2] - 2026-11-01

- Before.
"""


def checkout_of_a_release(folder: Path, *, later: str = "", version: str = "1.2.3") -> Path:
    """What the release's scripts look at."""
    for name in ("release_check.sh", "release_notes.sh"):
        (folder / "tools").mkdir(exist_ok=True)
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    (folder / "btworker").mkdir()
    (folder / "btworker" / "__init__.py").write_text(f'__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG.format(later=later))
    return folder / "tools"


@pytest.mark.parametrize(
    ("tag", "more", "refusal"),
    [
        ("v1.2.3", {}, ""),
        ("v1.2.2", {}, "another version than 1.2.2"),
        ("v1.2.4", {"version": "1.2.4"}, "no date for 1.2.4"),
        ("v1.2.3", {"later": "\n### Fixed\n\n" + "- What came after.\n" * 10_000}, "entries under [Unreleased]"),
    ],
)
def test_a_tag_is_the_release_that_it_names(tmp_path: Path, tag: str, more: dict[str, str], refusal: str) -> None:
    """Its version and its entry in the changelog; what came after an entry is in no release that it describes."""
    tools = checkout_of_a_release(tmp_path, **more)
    done = subprocess.run([tools / "release_check.sh", tag], capture_output=True, text=True, check=False)
    assert (done.returncode, refusal in done.stderr) == (int(bool(refusal)), True), done.stderr


def test_the_text_of_a_release_page(tmp_path: Path) -> None:
    """What the changelog says of the tag alone, a line for each entry; links lead into the repository at the tag."""
    (tmp_path / "a+1.whl").write_bytes(b"x")
    tools = checkout_of_a_release(tmp_path)
    command = [tools / "release_notes.sh", "v1.2.3", "https://host/o/r", tmp_path / "a+1.whl"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256(b"x").hexdigest()
    assert [line for line in text.splitlines() if line] == [
        "### Added",
        "- One thing that takes two lines ([docs/one.md](https://host/o/r/blob/v1.2.3/docs/one.md), https://example.org).",
        "- Another.",
        "### Files",
        f'<a href="https://host/o/r/releases/download/v1.2.3/a%2B1.whl#sha256={digest}">a+1.whl</a><br>',
    ]


def metadata_of(wheel: Path) -> "Parser":
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


@pytest.mark.timeout(300)
def test_the_packages_of_a_release(dist: Path) -> None:
    """Three files: the wheel brings the extras and the embedded models; the source package builds; the companion has
    whisper's files as they are, its licence, and a record in which every hash is right."""
    version = btworker.__version__
    names = {f"btworker-{version}-py3-none-any.whl", f"btworker-{version}.tar.gz"}
    (companion,) = {path.name for path in dist.iterdir()} - names
    assert companion == f"openai_whisper-{packages.VERSION}-py3-none-any.whl"
    own = metadata_of(dist / f"btworker-{version}-py3-none-any.whl")
    for stack in locks.EXTRAS:
        asked = [one for one in own.get_all("Requires-Dist") if f'extra == "{stack}"' in one]
        lines = (locks.LOCKS / "extras" / f"{stack}.txt").read_text().splitlines()[1:]
        assert [one.partition(";")[0].strip() for one in asked] == [one.partition(";")[0].strip() for one in lines]
    with tarfile.open(dist / f"btworker-{version}.tar.gz") as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"locks/extras/cu121.txt", "btworker/demo/whisper-tiny-words.pt", "pyproject.toml", "LICENSE"} <= inside
    with zipfile.ZipFile(dist / companion) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    folder = f"openai_whisper-{packages.VERSION}.dist-info"
    assert b"MIT License" in files[f"{folder}/licenses/LICENSE"]
    for line in files.pop(f"{folder}/RECORD").decode().splitlines()[:-1]:
        name, digest, size = line.rsplit(",", 2)
        made = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={made}", len(files[name])), name
    assert metadata_of(dist / companion)["Version"] == packages.VERSION
    whisper = Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages", "whisper")
    if (whisper / "version.py").read_text().strip().endswith('"20231117"'):
        for name, data in files.items():
            if name.startswith("whisper/"):
                assert data == (whisper.parent / name).read_bytes(), name


@pytest.mark.timeout(300)
def test_the_command_is_there_without_a_checkout(dist: Path, tmp_path: Path) -> None:
    """In an environment of its own, from the wheel alone: `btworker` on its PATH starts, and says what is missing."""
    venv.create(tmp_path / "venv", with_pip=False)
    pip = [*setup_env.pip(Path(sys.prefix)), "--python", str(tmp_path / "venv"), "install", "--quiet", "--no-deps"]
    wheel = dist / f"btworker-{btworker.__version__}-py3-none-any.whl"
    subprocess.run([*pip, "--no-index", str(wheel)], check=True, timeout=120)
    command = [str(tmp_path / "venv" / "bin" / "btworker")]
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    asked = subprocess.run([*command, "version"], env=plain, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.stdout.startswith(f"btworker {btworker.__version__}\n"), asked.stderr
    asked = subprocess.run([*command, "serve"], env=plain, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 2 and 'pip install "btworker[cu121]"' in asked.stderr


@contextmanager
def release_page(dist: Path, folder: Path) -> Iterator[str]:
    """The page of a release as GitHub has it, as far as pip reads it: its text, with the files behind its links."""
    tag = f"v{btworker.__version__}"
    shutil.copytree(dist, folder / "releases" / "download" / tag)
    page = folder / "releases" / "tag" / tag / "index.html"
    page.parent.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        command = [str(ROOT / "tools" / "release_notes.sh"), tag, address, *map(str, sorted(dist.iterdir()))]
        page.write_bytes(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        yield f"{address}/releases/tag/{tag}/"
        server.shutdown()


@pytest.mark.timeout(300)
def test_pip_finds_the_packages_on_a_release_page(dist: Path, tmp_path: Path) -> None:
    """By the links in its text; a file that is not the one of the release is refused."""
    wanted = [f"btworker=={btworker.__version__}", f"openai-whisper=={packages.VERSION}"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    with release_page(dist, tmp_path / "served") as page:
        command = [*setup_env.pip(Path(sys.prefix)), "download", "--no-deps", "--no-index", "--no-cache-dir"]
        command += ["--find-links", page, "--dest", str(tmp_path / "got"), *wanted]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
        for path in (tmp_path / "got").iterdir():
            assert path.read_bytes() == (dist / path.name).read_bytes()
        assert len(list((tmp_path / "got").iterdir())) == len(wanted)
        shutil.rmtree(tmp_path / "got")
        for path in (tmp_path / "served").rglob("openai_whisper*.whl"):
            path.write_bytes(path.read_bytes() + b"x")
        refused = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0 and "DO NOT MATCH THE HASHES" in refused.stderr


def chroot(root: Path, command: Sequence[str], *, foreign: bool = False, **more: str) -> str:
    """What a command prints in another root that has this machine's devices, processes and network. What is foreign is
    run by qemu, of which only the command's user namespace knows."""
    script = f'mount --rbind /dev "{root}/dev" && mount --rbind /proc "{root}/proc" && exec chroot "{root}" "$@"'
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8", **more}
    spaces = ["unshare", "--mount", *(("--user", "--map-root-user") if foreign else ())]
    done = subprocess.run(
        [*spaces, "sh", "-c", REGISTER + script if foreign else script, "sh", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.full
@pytest.mark.serial
@pytest.mark.system("debootstrap", "unshare", "root")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stack", locks.STACKS)
def test_from_a_bare_debian_to_a_transcript_with_speakers(dist: Path, tmp_path: Path, stack: str) -> None:
    """Debian 12 with python3-venv and nothing else: pip install, then one command; no ffmpeg, no model, no make."""
    root = tmp_path / "root"
    try:
        bootstrap(root)
        install(root, dist, stack)
        transcribe_sample(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.full
@pytest.mark.serial
@pytest.mark.system("debootstrap", "dpkg-deb", "qemu-aarch64-static", "unshare", "root")
@pytest.mark.timeout(3 * INSTALL_S)
def test_the_same_on_arm64(dist: Path, tmp_path: Path) -> None:
    """Debian's programs, the wheels of the package index and the ffmpeg among them for arm64, under qemu's user mode:
    installed, looked at by the doctor, who misses libgomp1, which torchaudio's wheel asks for there, and with it a
    sentence of each speaker in the sample transcribed."""
    root = tmp_path / "root"
    try:
        bootstrap(root, "--foreign", "--arch=arm64", packages=f"{BASE_PACKAGES},libgomp1")
        debs = sorted((root / "var/cache/apt/archives").glob("*.deb"))
        (libgomp,) = [deb for deb in debs if deb.name.startswith("libgomp1_")]
        unpack(root, [deb for deb in debs if deb != libgomp])
        for name in ("passwd", "group"):
            shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
        install(root, dist, "cu121", foreign=True)
        assert "on aarch64\n" in chroot(root, ["/venv/bin/btworker", "version"], foreign=True)
        found = chroot(root, ["/venv/bin/btworker", "doctor"], foreign=True, WORKER_TOKEN="0123456789abcdef")
        assert "stack cu121: torch 2.2.2" in found and "ffmpeg-linux-aarch64" in found
        assert "torchaudio cannot be imported (OSError: libgomp.so.1" in found and "apt-get install libgomp1" in found
        unpack(root, [libgomp])
        transcribe_sample(root, "-ss", "10.2", "-t", "6.3", first="Seven white birds", foreign=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def unpack(root: Path, debs: Sequence[Path]) -> None:
    """Their files alone: no script of theirs is run."""
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True, timeout=60)


def bootstrap(root: Path, *options: str, packages: str = BASE_PACKAGES) -> None:
    """Debian 12 with python3-venv and nothing else."""
    command = ["debootstrap", *options, "--variant=minbase", f"--include={packages}"]
    command += [image_build.SUITE, str(root), *filter(None, [os.environ.get("DEBIAN_MIRROR")])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=INSTALL_S)
    (root / "usr/local/share").mkdir(parents=True, exist_ok=True)
    image_build.write_pip_settings(root)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")


def install(root: Path, dist: Path, stack: str, *, foreign: bool = False) -> None:
    """By pip, into an environment there."""
    shutil.copytree(dist, root / "dist")
    chroot(root, ["python3", "-m", "venv", "/venv"], foreign=foreign)
    pip = ["/venv/bin/pip", "install", "--quiet", "--no-cache-dir", "--find-links", "/dist", f"btworker[{stack}]"]
    chroot(root, pip, foreign=foreign)


def transcribe_sample(root: Path, *cut: str, first: str = "Hello happy teacher.", foreign: bool = False) -> None:
    """One command; who speaks is right."""
    command = [str(find_ffmpeg()), "-v", "error", "-i", str(DEMO / "sample.flac"), *cut, str(root / "root/talk.flac")]
    subprocess.run(command, check=True, timeout=60)
    command = ["/venv/bin/btworker", "transcribe", "/root/talk.flac", "--diarize", "--formats", "md"]
    chroot(root, [*command, "--output-dir", "/root"], foreign=foreign, WORKER_OFFLINE="true", OMP_NUM_THREADS="1")
    text = (root / "root/talk_speaker.md").read_text()
    assert f"SPEAKER_00:** {first}" in text and "SPEAKER_01:** My sister painted" in text
