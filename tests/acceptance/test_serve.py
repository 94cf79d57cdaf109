"""How `btworker serve` and `btworker doctor` end: one sentence and a documented exit code."""

import json
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, Cli, Worker
from tests.light_stack import light_stack
from tests.process.server_of import TOKEN, plain_environment


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings that would start a worker."""
    return {"WORKER_TOKEN": TOKEN, "WORKER_PORT": "0", "WORKER_DATA_DIR": str(tmp_path / "d"), "WORKER_DEVICE": "cpu",
            "WORKER_ENGINE": "tests.fake_engine:load", "WORKER_DISK_RESERVE_MB": "0"}  # fmt: skip


def ends(cli: Cli, **settings: str) -> tuple[int, str]:
    """Exit code and stderr of a `serve` that ends by itself."""
    with cli.start("serve", **settings) as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    assert "Traceback" not in err
    return process.returncode, err


def test_all_wrong_settings_are_said_at_once(lone_cli: Cli) -> None:
    """64, with every mistake, and never a value, which may be a secret."""
    code, err = ends(lone_cli, WORKER_TOKEN="no spaces allowed", WORKER_PORT="99999", WORKER_DEVICE="tpu")
    assert code == 64
    assert all(name in err for name in ("WORKER_TOKEN", "WORKER_PORT", "WORKER_DEVICE"))
    assert "no spaces allowed" not in err


def test_a_busy_port_is_69(lone_cli: Cli, settings: dict[str, str]) -> None:
    """The address is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = ends(lone_cli, **{**settings, "WORKER_PORT": str(port)})
    assert code == 69
    assert str(port) in err


def test_a_data_folder_in_use_is_73(fake_worker: Worker, lone_cli: Cli, settings: dict[str, str]) -> None:
    """Two workers on one folder would eat each other's jobs."""
    code, err = ends(lone_cli, **{**settings, "WORKER_DATA_DIR": str(fake_worker.folder / "data")})
    assert code == 73
    assert "in use by another btworker" in err


def test_a_damaged_database_is_65(lone_cli: Cli, settings: dict[str, str], tmp_path: Path) -> None:
    """A job table that is none is not overwritten."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "jobs.sqlite3").write_bytes(b"not a database" * 1000)
    code, _ = ends(lone_cli, **settings)
    assert code == 65
    assert (tmp_path / "d" / "jobs.sqlite3").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    """0, and quickly when nothing runs."""
    worker = Worker(tmp_path).start()
    began_at = time.monotonic()
    assert worker.stop(number) == 0
    assert time.monotonic() - began_at < 10


def test_the_doctor_passes_a_good_box(lone_cli: Cli, settings: dict[str, str], tmp_path: Path) -> None:
    """Every check with its verdict, as a table."""
    (tmp_path / "m.pt").write_bytes(b"x")
    good = {**settings, "WORKER_MODELS": f"m={tmp_path / 'm.pt'}", "WORKER_MODEL": "m"}
    done = lone_cli("doctor", **good)
    assert done.returncode == 0, done.stdout
    assert "This machine can run a worker" in done.stdout
    rows = [line.split(None, 1) for line in done.stdout.splitlines() if line.startswith(("ok ", "warn "))]
    assert [row[1].split("  ")[0] for row in rows] == [
        "packages", "imports", "ffmpeg", "sandbox", "settings", "model", "data folder", "disk space", "file system",
        "port", "GPU",
    ]  # fmt: skip


def test_the_doctor_says_how_to_mend(lone_cli: Cli, settings: dict[str, str], tmp_path: Path) -> None:
    """No token, no model, no room, a busy port: four failures, each with its remedy, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bad = {
            **settings, "WORKER_TOKEN": "", "WORKER_MODELS": "m=/none.pt", "WORKER_MODEL": "m",
            "WORKER_DISK_RESERVE_MB": str(2**40), "WORKER_PORT": str(taken.getsockname()[1]),
            "PYTHONPATH": light_stack(tmp_path),
        }  # fmt: skip
        done = lone_cli("doctor", "--json", **bad)
    assert done.returncode == 1
    failed = {item["check"]: item["mend"] for item in json.loads(done.stdout) if item["verdict"] == "fail"}
    assert set(failed) == {"settings", "model", "disk space", "port"}
    assert all(failed.values())


def test_the_doctor_names_a_library_that_the_machine_lacks(
    lone_cli: Cli, settings: dict[str, str], tmp_path: Path
) -> None:
    """The packages are there, with the right versions: torchaudio's wheel for arm64 asks a bare Debian in vain."""
    words = "libgomp.so.1: cannot open shared object file: No such file or directory"
    packages = light_stack(tmp_path, torchaudio=f"raise OSError({words!r})")
    report = json.loads(lone_cli("doctor", "--json", **settings, PYTHONPATH=packages).stdout)
    found = {item["check"]: item for item in report}
    assert found["packages"]["verdict"] == "ok" and found["imports"]["verdict"] == "warn"
    assert found["imports"]["found"].startswith("torchaudio cannot be imported (OSError: libgomp.so.1: cannot open")
    assert found["imports"]["mend"] == "install it on this machine (Debian, Ubuntu: apt-get install libgomp1)"


def test_the_doctor_knows_a_worker_that_runs(
    fake_worker: Worker, lone_cli: Cli, settings: dict[str, str], tmp_path: Path
) -> None:
    """The port is taken, but by a btworker: a warning."""
    there = {"WORKER_PORT": fake_worker.url.rpartition(":")[2], "PYTHONPATH": light_stack(tmp_path)}
    report = json.loads(lone_cli("doctor", "--json", **{**settings, **there}).stdout)
    assert next(item["verdict"] for item in report if item["check"] == "port") == "warn"


def test_models_list_needs_no_token(lone_cli: Cli) -> None:
    """The models of the settings, the default marked."""
    done = lone_cli("models", "list", WORKER_MODEL="small")
    assert done.returncode == 0
    assert next(line for line in done.stdout.splitlines() if line.startswith("small ")).endswith("(default)")


def test_environment_of_the_tests_is_clean() -> None:
    """No setting of the machine that runs the tests reaches the commands."""
    assert not [name for name in plain_environment() if name.startswith("WORKER_")]
