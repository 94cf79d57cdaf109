"""What the server says to systemd, heard on a socket of our own; and the unit, as systemd's own tools judge it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from btworker.config import Settings
from btworker.config.environment_file import UNIT as UNIT_ENVIRONMENT
from tests.process.server_of import busy_port, serving
from tests.process.service_manager import BEAT_S, manager, watched
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "btworker.service"
BLOCKABLE = str(Path(__file__).with_name("blockable_serve.py"))
MOST_EXPOSURE = 3.0


def test_ready_beats_and_stopping(tmp_path: Path) -> None:
    """READY once it listens, WATCHDOG again and again, STOPPING with time for the drain when it is told to end."""
    address = str(tmp_path / "notify")
    with manager(address) as systemd, serving(tmp_path, **watched(address), WORKER_DRAIN_SECONDS="7") as server:
        before_ready = systemd.hear_until("READY=1")
        assert f"STATUS=listening on {server.url}" in before_ready[-1]
        assert all(lines == ["WATCHDOG=1"] for lines in before_ready[:-1])
        assert [systemd.hear() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        server.process.send_signal(signal.SIGTERM)
        assert "EXTEND_TIMEOUT_USEC=67000000" in systemd.hear_until("STOPPING=1")[-1]
        assert server.process.wait(60) == 0


def test_no_beat_while_the_loop_stands_still(tmp_path: Path) -> None:
    """A blocked event loop is a hung service, though its process lives: systemd hears nothing. Then it beats again."""
    address, release = str(tmp_path / "notify"), tmp_path / "go-on"
    program = (BLOCKABLE, str(release))
    with manager(address) as systemd, serving(tmp_path, program=program, **watched(address)) as server:
        systemd.hear_until("READY=1")
        server.process.send_signal(signal.SIGUSR1)
        until(release.with_suffix(".blocked").exists)
        systemd.forget()
        with pytest.raises(TimeoutError):
            systemd.hear(within_s=8 * BEAT_S)
        assert server.process.poll() is None
        release.touch()
        assert systemd.hear() == ["WATCHDOG=1"]
        assert server.stop() == 0


def test_abstract_socket_and_no_watchdog(tmp_path: Path) -> None:
    """systemd may name an abstract socket; without WatchdogSec=, or with another process's, there is no beat."""
    address = f"@btworker-test-{tmp_path.name}"
    environment = {**watched(address), "WATCHDOG_PID": "1"}
    with manager(address) as systemd, serving(tmp_path, **environment) as server:
        assert systemd.hear()[0] == "READY=1"
        server.process.send_signal(signal.SIGTERM)
        assert systemd.hear()[0] == "STOPPING=1"


def test_a_failed_start_never_says_ready(tmp_path: Path) -> None:
    """A busy port: the end, and no READY before it."""
    address = str(tmp_path / "notify")
    with manager(address) as systemd, busy_port() as taken:
        port = str(taken.getsockname()[1])
        with serving(tmp_path, wait=False, NOTIFY_SOCKET=address, WORKER_PORT=port) as server:
            assert server.process.wait(60) == 69
        with pytest.raises(BlockingIOError):
            systemd.hear(within_s=0)


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """NOTIFY_SOCKET that leads nowhere."""
    with serving(tmp_path, **watched(str(tmp_path / "nobody"))) as server:
        assert server.stop() == 0


def installed(folder: Path) -> Path:
    """The unit as on a machine where its program is installed: verify wants to find that."""
    path = folder / "btworker.service"
    path.write_text(UNIT.read_text().replace("/opt/btworker/venv/bin/python", f'"{sys.executable}"'))
    return path


@pytest.mark.system("systemd-analyze")
def test_the_unit_is_clean(tmp_path: Path) -> None:
    """systemd's own check has nothing to say."""
    checked = subprocess.run(
        ["systemd-analyze", "verify", installed(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.system("systemd-analyze")
def test_the_units_exposure_is_small() -> None:
    """systemd's own judgement of the sandbox, on a scale of 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", UNIT]
    judged = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSURE


def test_the_unit_leaves_cuda_and_torch_alone() -> None:
    """What hides the GPU, or stops torch from making code, is not set; the drain has the time that it needs."""
    lines = UNIT.read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "ProcSubset"} & settings.keys()
    assert settings["KillMode"] == "mixed" and settings["OOMPolicy"] == "continue" and settings["LimitCORE"] == "0"
    assert int(settings["TimeoutStopSec"]) > 30 + 60
    devices = {line.split("=", 1)[1].split()[0] for line in lines if line.startswith("DeviceAllow=")}
    assert {"char-nvidiactl", "char-nvidia-caps", "char-nvidia-frontend", "char-nvidia-uvm"} <= devices


def test_the_example_has_every_setting() -> None:
    """Each variable once, commented out, so that the file as it is changes nothing."""
    lines = (ROOT / "deploy" / "systemd" / "btworker.env.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    offered = [line[1:].partition("=")[0] for line in lines if re.match("#[A-Z_]+=", line)]
    fields = Settings.model_fields.values()
    assert offered == [field.validation_alias.choices[0] for field in fields]


def test_the_installer_says_what_it_would_do() -> None:
    """--dry-run changes nothing, needs no root, and names the user, the locks' tool, the token and the unit."""
    script = ROOT / "deploy" / "systemd" / "install.sh"
    done = subprocess.run([script, "--dry-run", "--python", sys.executable], capture_output=True, text=True, check=True)
    for part in ("useradd --system", "setup_env.py --stack", "/etc/btworker/token", "btworker.service", "systemctl"):
        assert part in done.stdout
    assert done.stderr == ""


def test_devices_are_made_before_the_unit_that_may_not_make_them() -> None:
    """In a unit of its own: within ours DevicePolicy= forbids it, and DeviceAllow= would look for what is not there."""
    text = UNIT.read_text()
    assert "nvidia-modprobe" not in text and "DevicePolicy=closed" in text
    for line in ("Wants=", "After="):
        assert re.search(rf"^{line}.*\bbtworker-gpu\.service$", text, re.MULTILINE)
    devices = (UNIT.parent / "btworker-gpu.service").read_text()
    assert "Type=oneshot" in devices and "ExecStart=-/usr/bin/nvidia-modprobe -c 0 -u" in devices
    assert not re.search(r"^(Device|Private|Protect|User|Capability)", devices, re.MULTILINE)


@pytest.mark.system("systemd-analyze")
@pytest.mark.parametrize("name", ["btworker.service", "btworker-gpu.service"])
def test_systemd_reads_every_line_of_the_units(name: str) -> None:
    """Nothing that it does not know, or takes otherwise; the programs are not here."""
    command = ["systemd-analyze", "verify", "--man=no", str(UNIT.with_name(name))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if "btworker" in line]
    assert [line for line in lines if "is not executable" not in line] == []


def test_the_installer_wants_a_running_systemd() -> None:
    """Before it does anything: one sentence."""
    if Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here, and the installer would install")
    script = UNIT.with_name("install.sh")
    done = subprocess.run([script, "--python", sys.executable], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("install.sh: systemd does not run here") and done.stderr.count("\n") == 1


def test_the_doctor_reads_what_the_unit_reads(tmp_path: Path) -> None:
    """--env-file: the operator's file over the unit's own lines, the token beside it, nothing of the shell's."""
    unit = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^Environment=(.*)$", UNIT.read_text(), re.MULTILINE))))
    assert {name: value for name, value in unit.items() if name in UNIT_ENVIRONMENT} == UNIT_ENVIRONMENT
    assert unit.keys() - UNIT_ENVIRONMENT.keys() == {"PYTHONUNBUFFERED", "WORKER_TOKEN_FILE"}
    file = tmp_path / "btworker.env"
    lines = (
        "# a comment",
        "; another",
        "WORKER_MODEL = demo",
        f"WORKER_MODELS='demo={ROOT}/btworker/demo/whisper-tiny-words.pt'",
        f'WORKER_DATA_DIR="{tmp_path}/a b"',
        "WORKER_PORT=\\",
        "0",
        "WORKER_DISK_RESERVE_MB=0",
        "WORKER_COLOUR=blue # no comment",
    )
    file.write_text("\n".join(lines))
    (tmp_path / "token").write_text("short\n")
    command = [sys.executable, "-m", "btworker", "doctor", "--json", "--env-file", str(file)]
    environment = {**os.environ, "WORKER_MODEL": "large-v3", "WORKER_NONSENSE": "1", "WORKER_TOKEN": "x" * 40}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    assert checks["model"]["found"].startswith("demo: ") and f"{tmp_path}/a b" in checks["data folder"]["found"]
    assert "WORKER_COLOUR" in checks["settings"]["found"] and "WORKER_NONSENSE" not in checks["settings"]["found"]
    assert checks["settings"]["verdict"] == "warn" and "fewer than 16 characters" in checks["settings"]["found"]
    file.unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.returncode == 64 and "cannot be read" in done.stderr
