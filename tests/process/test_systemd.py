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
from tests.light_stack import light_stack
from tests.process.server_of import busy_port, serving
from tests.process.service_manager import BEAT_S, manager, watched
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "btworker.service"
FLEET = UNIT.parent / "fleet"
FLEET_UNITS = [FLEET / f"btworker-fleet-{part}.service" for part in ("head", "box")]
DROP_IN = FLEET / "btworker.service.d" / "fleet.conf"
PROGRAM = re.compile(r"/opt/btworker/venv/bin/(python|ray)\b")
each_unit = pytest.mark.parametrize("unit", [UNIT, *FLEET_UNITS], ids=lambda path: path.stem)
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


def installed(folder: Path, unit: Path) -> Path:
    """The unit as on a machine where its program is installed: verify wants to find that."""
    path = folder / unit.name
    path.write_text(PROGRAM.sub(f'"{sys.executable}"', unit.read_text()))
    return path


def verified(unit: Path) -> tuple[int, str]:
    """What systemd's own check says of it."""
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    return checked.returncode, checked.stdout + checked.stderr


@pytest.mark.system("systemd-analyze")
@each_unit
def test_the_unit_is_clean(tmp_path: Path, unit: Path) -> None:
    """systemd's own check has nothing to say."""
    assert verified(installed(tmp_path, unit)) == (0, "")


@pytest.mark.system("systemd-analyze")
def test_the_front_end_of_a_fleet_is_clean(tmp_path: Path) -> None:
    """The same unit with its drop-in, whose lines systemd reads: a wrong one is noticed."""
    unit = installed(tmp_path, UNIT)
    installed(tmp_path, FLEET_UNITS[0])
    drop_in = tmp_path / "btworker.service.d" / "fleet.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(DROP_IN.read_text())
    assert verified(unit) == (0, "")
    drop_in.write_text("[Service]\nEnvironmentFiel=/etc/btworker/fleet.env\n")
    assert "EnvironmentFiel" in verified(unit)[1]


@pytest.mark.system("systemd-analyze")
@each_unit
def test_the_units_exposure_is_small(unit: Path) -> None:
    """systemd's own judgement of the sandbox, on a scale of 10."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    judged = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSURE


def directives(unit: Path) -> list[tuple[str, str]]:
    """Its lines, continued ones joined."""
    lines = unit.read_text().replace("\\\n", " ").splitlines()
    return [(line.split("=", 1)[0], line.split("=", 1)[1]) for line in lines if re.match(r"\w+=", line)]


@each_unit
def test_the_unit_leaves_cuda_and_torch_alone(unit: Path) -> None:
    """What hides the GPU, or stops torch from making code, is not set."""
    lines = unit.read_text().splitlines()
    settings = dict(directives(unit))
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "ProcSubset"} & settings.keys()
    assert settings["KillMode"] == "mixed" and settings["OOMPolicy"] == "continue" and settings["LimitCORE"] == "0"
    devices = {line.split("=", 1)[1].split()[0] for line in lines if line.startswith("DeviceAllow=")}
    assert {"char-nvidiactl", "char-nvidia-caps", "char-nvidia-frontend", "char-nvidia-uvm"} <= devices


def test_the_drain_has_its_time() -> None:
    """More than WORKER_DRAIN_SECONDS by default, and the minute that children have."""
    assert int(dict(directives(UNIT))["TimeoutStopSec"]) > 30 + 60


@pytest.mark.parametrize("unit", FLEET_UNITS, ids=lambda path: path.stem)
def test_a_box_runs_as_the_worker_does(unit: Path) -> None:
    """Same user, sandbox, folders and settings; without the token that clients send, and with Ray's as a credential."""
    own, worker = directives(unit), directives(UNIT)
    sandbox = worker.index(("OOMPolicy", "continue")), worker.index(("SystemCallErrorNumber", "EPERM"))
    assert set(worker[sandbox[0] : sandbox[1] + 1]) <= set(own)
    environment = {value for name, value in worker if name == "Environment" and "TOKEN" not in value}
    assert environment <= {value for name, value in own if name == "Environment"}
    assert {name: dict(own)[name] for name in ("User", "Group", "UMask")} == {
        "User": "btworker",
        "Group": "btworker",
        "UMask": "0027",
    }
    assert [value for name, value in own if name == "LoadCredential"] == ["ray_token:/etc/btworker/ray_token"]
    assert ("Environment", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=%d/ray_token") in own
    assert (dict(own)["Restart"], dict(own)["StartLimitIntervalSec"]) == ("always", "0")


def test_the_front_end_outlives_its_head() -> None:
    """It wants the head and starts after it, and nothing binds it to the head's end; it has Ray's token."""
    drop_in = directives(DROP_IN)
    assert {name for name, _ in drop_in} == {"Wants", "After", "EnvironmentFile", "LoadCredential", "Environment"}
    assert any("WORKER_POOL=ray" in value for _, value in drop_in)
    assert ("LoadCredential", "ray_token:/etc/btworker/ray_token") in drop_in


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


def dry_run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installer, which changes nothing."""
    command = [UNIT.with_name("install.sh"), "--dry-run", "--python", sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Ray wants Python 3.11, and so does the installer of a fleet")
@pytest.mark.parametrize(
    ("part", "units", "absent"),
    [
        ("head", ("btworker-fleet-head.service btworker.service", "fleet.conf", "/ray_token ", "/token "), "fleet-box"),
        ("box", ("btworker-gpu.service btworker-fleet-box.service",), "/token "),
    ],
)
def test_the_installer_of_a_fleet(part: str, units: tuple[str, ...], absent: str) -> None:
    """A head is the front end, too, and makes the tokens; a box has neither front end nor token of its own."""
    done = dry_run("--fleet", part, "--address", "10.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.split("# Done")[0]
    for expected in (*units, "locks/ray.txt", "10.0.0.1 10.0.0.1 > /etc/btworker/fleet.env"):
        assert expected in said, expected
    assert absent not in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--fleet", "boxes", "--address", "10.0.0.1"), "--fleet is head or box, not boxes"),
        (("--fleet", "box"), "--address wants the address of the head"),
        (("--fleet", "head", "--address", "gpu-1; rm"), "--address wants the address of the head"),
    ],
)
def test_the_installer_of_a_fleet_wants_to_know(arguments: tuple[str, ...], complaint: str) -> None:
    """Before it does anything: one sentence."""
    done = dry_run(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr and done.stderr.count("\n") == 1


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
@pytest.mark.parametrize("name", ["btworker.service", "btworker-gpu.service", *(unit.name for unit in FLEET_UNITS)])
def test_systemd_reads_every_line_of_the_units(name: str) -> None:
    """Nothing that it does not know, or takes otherwise; the programs are not here."""
    command = ["systemd-analyze", "verify", "--man=no", str(next(UNIT.parent.rglob(name)))]
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
        f"PYTHONPATH={light_stack(tmp_path)}",
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
