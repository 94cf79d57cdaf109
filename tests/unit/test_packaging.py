"""What an installation is made of: the locks, the set-up script, the metadata, the wheel."""

import ast
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import btworker
import locks
import python_version
import setup_cause
import setup_env
from btworker.web.page.handlers import FILES

ROOT = Path(__file__).resolve().parents[2]
LOCK_NAMES = ("cu121", "cu130", "dev", "bench", "uv", "audit")
MATCHED_SETS = {
    "cu121": {"torch": "2.2.2", "torchaudio": "2.2.2", "openai-whisper": "20231117", "pyannote-audio": "3.1.1"},
    "cu130": {"torch": "2.11.0", "torchaudio": "2.11.0", "openai-whisper": "20250625", "pyannote-audio": "4.0.7"},
}


def pinned(name: str) -> dict[str, set[str]]:
    """Package to its pinned versions, of which there are several where Python versions need different ones."""
    found: dict[str, set[str]] = {}
    for line in locks.pins(locks.LOCKS, name):
        package, _, version = line.partition(";")[0].strip().partition("==")
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_every_requirement_has_a_version_and_a_hash(name: str) -> None:
    """pip and uv refuse the whole file otherwise; better to hear it here."""
    text = (locks.LOCKS / f"{name}.txt").read_text()
    entries = re.findall(r"^[a-z0-9][^\n]*(?:\n +--hash=sha256:[0-9a-f]{64}[ \\]*)+$", text, re.MULTILINE)
    assert len(entries) == len(locks.pins(locks.LOCKS, name)) > 0
    assert all("==" in entry for entry in entries)


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_locks_name_no_address(name: str) -> None:
    """A lock works behind any mirror, so it names none."""
    assert "://" not in (locks.LOCKS / f"{name}.txt").read_text()


def test_the_extra_for_traces_is_what_the_newer_stack_has() -> None:
    """pyannote.audio 4 brings OpenTelemetry, and asks for its own version of it; the tests run on the same."""
    lines = (locks.LOCKS / "extras" / "traces.txt").read_text().split()
    wanted = {package: {version} for package, _, version in (line.partition("==") for line in lines)}
    assert len(wanted) == 2
    for name in ("cu130", "dev"):
        assert {package: pinned(name)[package] for package in wanted} == wanted


@pytest.mark.parametrize("stack", sorted(MATCHED_SETS))
def test_the_four_that_only_work_together_are_pinned_together(stack: str) -> None:
    """A mismatch among these is a crash at run time, long after the installation."""
    found = pinned(stack)
    assert {package: found[package] for package in MATCHED_SETS[stack]} == {
        package: {version} for package, version in MATCHED_SETS[stack].items()
    }


def test_the_default_stack_keeps_what_its_old_packages_need() -> None:
    """numpy 1 for torch 2.2, use_auth_token for pyannote 3.1, pkg_resources for openai-whisper 20231117."""
    found = pinned("cu121")
    assert found["numpy"] == {"1.26.4"}
    assert found["huggingface-hub"] == {"0.25.2"}
    assert all(int(version.partition(".")[0]) < 81 for version in found["setuptools"])


@pytest.mark.parametrize("stack", sorted(MATCHED_SETS))
def test_what_runs_on_one_architecture_only_says_so(stack: str) -> None:
    """A lock that is written on x86-64 must not ask an arm64 machine for files that only x86-64 has."""
    lines = [line for line in locks.pins(locks.LOCKS, stack) if line.startswith(("triton==", "nvidia-cu"))]
    assert lines
    assert all("sys_platform == 'linux'" in line for line in lines)
    assert stack == "cu130" or all("platform_machine == 'x86_64'" in line for line in lines)


@pytest.mark.parametrize("stack", sorted(MATCHED_SETS))
def test_the_tools_install_beside_each_stack(stack: str) -> None:
    """A package that both locks pin has the same versions in both; one that the tools want on some Pythons only, one of
    the stack's."""
    stack_pins, tool_pins = pinned(stack), pinned("dev")
    common = stack_pins.keys() & tool_pins.keys()
    assert common
    assert [name for name in common if not tool_pins[name] <= stack_pins[name]] == []


@pytest.mark.skipif(os.environ.get("BTWORKER_FULL") != "1", reason="asks the package index; BTWORKER_FULL=1 runs it")
@pytest.mark.parametrize(("machine", "installs"), [("x86_64", True), ("aarch64", False)])
def test_the_lock_check_notices_a_pin_without_a_file(tmp_path: Path, machine: str, installs: bool) -> None:
    """triton 2.2.0 exists for x86-64 alone: without its marker the lock must fail on arm64, and only there."""
    text = (locks.LOCKS / "cu121.txt").read_text()
    entry = re.search(r"^triton==2\.2\.0[^\n]*((?:\n +--hash[^\n]*)+)", text, re.MULTILINE)
    filelock = re.search(r"^filelock==[^\n]*>= '3\.11' \\((?:\n +--hash[^\n]*)+)", text, re.MULTILINE)
    assert entry
    assert filelock
    (tmp_path / "bad.txt").write_text(f"triton==2.2.0 \\{entry[1]}\n{filelock[0]}\n")
    for name in ("build-constraints.txt", "excludes.txt"):
        shutil.copy(locks.LOCKS / name, tmp_path)
    reason = locks.uninstallable(locks.Lock("bad", ("3.11",)), tmp_path, "3.11", f"{machine}-manylinux_2_28")
    assert (reason is None) is installs, reason


def test_uv_asks_the_index_that_pip_is_configured_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv reads no pip.conf: behind a mirror it would ask an index that the machine cannot reach."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_CERT"))]:
        monkeypatch.delenv(name)
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nextra-index-url = https://other.example/simple\n"
        "find-links = /wheels\ncert = /etc/ca.pem\ntrusted-host =\n    mirror.example\n    b.example\ntimeout = 77\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(Path(sys.prefix)))
    assert environment["UV_DEFAULT_INDEX"] == environment["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert environment["SSL_CERT_FILE"] == environment["PIP_CERT"] == "/etc/ca.pem"
    assert environment["UV_INSECURE_HOST"] == "mirror.example b.example"
    assert environment["UV_HTTP_TIMEOUT"] == "77"
    assert environment["PIP_CONFIG_FILE"] == os.devnull
    assert not [value for value in environment.values() if "other.example" in value or value == "/wheels"]


def test_the_environment_outweighs_pips_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip itself has it; and what was set for uv by name is left alone."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://file.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://other.example/simple")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(Path(sys.prefix)))
    assert environment["PIP_INDEX_URL"] == "https://variable.example/simple"
    assert environment["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
    assert "PIP_EXTRA_INDEX_URL" not in environment


def test_a_python_without_such_a_stack_is_told_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than by a resolver, in forty lines."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 1, "final", 0))
    with pytest.raises(setup_env.SetupError, match=r"stack cu121 is for Python 3\.10-3\.12, this is 3\.9"):
        setup_env.check_python("cu121")


def test_the_stamp_changes_with_the_locks_and_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed lock means a new set-up; an unchanged one costs nothing."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "locks", copy / "locks")
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "btworker").mkdir()
    shutil.copy(ROOT / "btworker" / "__init__.py", copy / "btworker")
    monkeypatch.setattr(setup_env, "ROOT", copy)
    before = setup_env.fingerprint(["cu121", "dev"], tmp_path / ".venv")
    assert setup_env.fingerprint(["cu121", "dev"], tmp_path / ".venv") == before
    with (copy / "locks" / "cu121.txt").open("a") as lock:
        lock.write("# changed\n")
    changed = setup_env.fingerprint(["cu121", "dev"], tmp_path / ".venv")
    assert changed != before
    (copy / "btworker" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    assert setup_env.fingerprint(["cu121", "dev"], tmp_path / ".venv") not in (before, changed)


def test_the_installed_metadata_is_this_version_and_command() -> None:
    """`btworker version` and the package's metadata cannot disagree."""
    assert importlib.metadata.version("btworker") == btworker.__version__
    (script,) = importlib.metadata.distribution("btworker").entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("btworker", "btworker.cli.main:main")


@pytest.mark.timeout(300)
def test_a_wheel_carries_the_demo_and_nothing_but_the_package(tmp_path: Path) -> None:
    """The embedded model is data of the package; tests and tools are not part of it."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.cfg", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").write_text("Its text does not matter here.\n")
    for name in ("btworker", "tests", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(tmp_path), str(source)], check=True, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("btworker-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "btworker").rglob("*.py")}
    data = {path.relative_to(ROOT).as_posix() for path in (ROOT / "btworker" / "demo").rglob("*") if path.is_file()}
    page = {"btworker/web/system/start.js"}
    page |= {f"btworker/web/page/{path.parent.name}/{path.name}" for path in FILES.values()}
    assert code | page | {name for name in data if "__pycache__" not in name} <= names
    assert {name.partition("/")[0] for name in names} == {"btworker", f"btworker-{btworker.__version__}.dist-info"}


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9), (3, 14)])
def test_every_python_can_read_what_tells_it_that_it_is_too_old(version: tuple[int, int]) -> None:
    """The file that make runs first has nothing in it that Python 2.7 or 3.6 could not parse."""
    source = (ROOT / "tools" / "python_version.py").read_text()
    tree = ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.NamedExpr)]
    assert not [arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for arg in node.kwonlyargs]
    assert source.isascii() and "print(" not in source
    asked = ".".join(map(str, version))
    sentence = f"stack cu121 is for Python 3.10-3.12, this is {asked}: PYTHON=/path/to/python make ..."
    assert python_version.complaint("cu121", version) == sentence
    assert python_version.complaint("cu121", (3, 11, 7)) == ""


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "error: Failed to fetch: `https://i/x`\n  Caused by: dns error: failed to lookup address",
            "cannot be reached",
        ),
        (
            "WARNING: Retrying ... Temporary failure in name resolution\nERROR: No matching distribution",
            "cannot be reached",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
            "another file than the locks name",
        ),
        (
            "Collecting x\n  error: gcc is missing\nerror: command '/usr/bin/cc' failed\n",
            "command '/usr/bin/cc' failed",
        ),
        ("what was said last\n\n", "what was said last"),
        ("", "it says nothing"),
    ],
)
def test_the_last_line_of_a_failed_set_up_is_its_cause(output: str, cause: str) -> None:
    """In our own words where it is known, else in the installer's."""
    assert cause in setup_cause.cause_of(output)


def test_a_set_up_looks_for_room_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it downloads gigabytes; and can be told to try all the same."""
    with pytest.raises(setup_env.SetupError, match="free, and the packages take 1000000"):
        setup_env.check_room(tmp_path, 1e6)
    monkeypatch.setenv("SETUP_FREE_GB", "0")
    setup_env.check_room(tmp_path, 1e6)


def step(script: str, *, may_fail: bool = False) -> "subprocess.Popen[str]":
    """One step of the set-up in a process of its own, with a pipe for a terminal."""
    code = (
        "import sys; sys.path.insert(0, 'tools'); import setup_env\n"
        f"setup_env.prepare = lambda *_: setup_env.run_step('a step', ['sh', '-c', {script!r}], "
        f"{{'PATH': '/usr/bin:/bin'}}, may_fail={may_fail})\n"
        "setup_env.PIPE_INTERVAL_S = 0.05\n"
        "sys.exit(setup_env.main(['--stack', 'cu121', '--venv', '.venv']))"
    )
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True, **pipes)


def test_no_network_is_told_once() -> None:
    """No second installer is tried for what nobody can reach, and what the first one printed stays away."""
    with step("echo 'error: dns error: failed to lookup address' >&2; exit 2", may_fail=True) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "dns error" not in out
    assert (
        err.startswith("make: set-up stopped at a step: the package index cannot be reached") and err.count("\n") == 1
    )


def test_progress_is_told_in_a_pipe_and_ctrl_c_is_a_sentence() -> None:
    """A line now and then, without control characters; no traceback."""
    with step("sleep 60") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert re.fullmatch(r"  a step: \d+ s(, about \d+\.\d GB)?\n", line)
    assert process.returncode == 130 and err == "\nmake: stopped; the same command goes on where this one ended\n"
    assert "\r" not in line + out and "\033" not in line + out


def test_pip_is_given_no_path_with_a_space() -> None:
    """It splits PIP_CONSTRAINT at spaces; steps run in the checkout, so that the file is found there."""
    environment = setup_env.installer_environment({}, {})
    assert not Path(environment["PIP_CONSTRAINT"]).is_absolute() and (ROOT / environment["PIP_CONSTRAINT"]).is_file()
