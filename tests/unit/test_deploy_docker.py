"""What can be said of the image and the compose files without building or starting anything.

`make image-test` builds worker/Dockerfile and uses the image; these are the mistakes that need no build to be found.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from btworker.config import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
COMPOSE_FILES = sorted(path.name for path in DOCKER.glob("compose*.yaml"))
DOCKERFILE = (ROOT / "worker" / "Dockerfile").read_text()
ENTRYPOINT = ROOT / "worker" / "entrypoint.sh"
UID = 10001
TOKEN = "a-token-for-tests"
RAYS_OWN = {
    "RAY_AUTH_TOKEN",
    "RAY_gcs_rpc_server_reconnect_timeout_s",
    "RAY_health_check_period_ms",
    "RAY_worker_niceness",
}
"""What Ray reads in a fleet, beside RAY_AUTH_MODE, which the worker reads as well."""


def compose(name: str) -> dict[str, Any]:
    """A compose file, parsed."""
    return dict(yaml.safe_load((DOCKER / name).read_text()))


def worker(name: str) -> dict[str, Any]:
    """Its worker, with what it extends."""
    service = compose(name)["services"]["worker"]
    base = service.pop("extends", None)
    whole = worker(base["file"]) if base else {}
    return {**whole, **service, "environment": {**whole.get("environment", {}), **service.get("environment", {})}}


def mounts() -> Iterator[tuple[str, str]]:
    """Every file or folder of the repository that a compose file mounts."""
    for name in COMPOSE_FILES:
        for service in compose(name)["services"].values():
            for volume in service.get("volumes", ()):
                if volume.startswith("."):
                    yield name, volume.partition(":")[0]


def test_there_are_the_five() -> None:
    """GPU, CPU, with a controller, a fleet, and with monitoring: the globs below must not find nothing."""
    named = ("controller.", "cpu.", "fleet.", "monitoring.", "")
    assert [f"compose.{name}yaml" for name in named] == COMPOSE_FILES


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_files_follow_the_specification(name: str) -> None:
    """By the Compose Specification's own JSON schema (tests/data/compose)."""
    schema = json.loads((ROOT / "tests/data/compose/compose-spec.json").read_text())
    # The schema names draft 7 by an address that jsonschema does not know.
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose(name))] == []
    assert not validator.is_valid({"services": {"worker": {"imagee": "x"}}}), "the schema refuses nothing"


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_docker_waits_longer_than_the_worker_drains(name: str) -> None:
    """Else every `docker compose stop` under load is a kill."""
    grace_s = int(str(worker(name)["stop_grace_period"]).removesuffix("s"))
    assert grace_s >= int(worker(name)["environment"]["WORKER_DRAIN_SECONDS"]) + 10
    assert grace_s >= Settings(token="x").drain_s + 10


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_worker_is_shut_in(name: str) -> None:
    """Read-only root, no capabilities, no new ones; reachable from this machine alone unless asked otherwise."""
    service = worker(name)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("${WORKER_BIND:-127.0.0.1}:") for port in service["ports"])


@pytest.mark.parametrize("name", ["compose.yaml", "compose.monitoring.yaml"])
def test_the_gpus_are_reserved(name: str) -> None:
    """All of them, with the capability that Docker wants to hear."""
    (device,) = worker(name)["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_every_named_volume_is_declared_and_every_setting_known(name: str) -> None:
    """`extends` brings no volumes along, and a misspelt variable is silently ignored."""
    volumes = {volume.partition(":")[0] for volume in worker(name)["volumes"]}
    assert volumes <= compose(name)["volumes"].keys()
    assert worker(name)["environment"].keys() <= known_settings() | RAYS_OWN


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_box_of_the_fleet(number: int) -> None:
    """It is shut in as the worker is, has a GPU and copies of jobs of its own, and works with the front end's model and
    token; it publishes nothing, and gets no token of clients."""
    fleet = compose("compose.fleet.yaml")
    front, box = worker("compose.fleet.yaml"), fleet["services"][f"box-{number}"]
    for shut in ("read_only", "cap_drop", "security_opt", "tmpfs", "stop_grace_period"):
        assert box[shut] == front[shut], shut
    assert "ports" not in box and box["hostname"] == f"box-{number}"
    assert "6380" in box["healthcheck"]["test"][-1], "the image's own asks for the API, which a box does not have"
    assert "--node-manager-port=6380 " in box["command"][-1]
    (device,) = box["deploy"]["resources"]["reservations"]["devices"]
    assert (device["device_ids"], device["capabilities"]) == ([str(number - 1)], ["gpu"])
    assert box["volumes"] == [f"box-{number}:/var/lib/btworker", "cache:/var/cache/btworker"]
    assert {volume.partition(":")[0] for volume in box["volumes"]} <= fleet["volumes"].keys()
    assert box["environment"].keys() <= known_settings() | RAYS_OWN
    for shared in ("WORKER_MODEL", *RAYS_OWN, "RAY_AUTH_MODE"):
        assert box["environment"][shared] == front["environment"][shared], shared
    assert "WORKER_TOKEN" not in box["environment"]
    assert box["image"] == front["image"]


def test_the_fleets_head_is_where_boxes_look_for_it() -> None:
    """By the front end's name and Ray's port; the head is no box, and ends and starts without the front end."""
    services = compose("compose.fleet.yaml")["services"]
    shell = services["worker"]["command"][-1]
    assert re.search(r"while sleep 1; do\n\s+ray start --head --block --port=6379 --num-gpus=0 .*\n\s*done &\n", shell)
    assert shell.rstrip().endswith("exec python3 -m btworker serve")
    assert all("--address=worker:6379" in services[f"box-{n}"]["command"][-1] for n in (1, 2, 3))
    assert worker("compose.fleet.yaml")["environment"]["WORKER_POOL"] == "ray"
    assert services.keys() == {"worker", "box-1", "box-2", "box-3"}


@pytest.mark.parametrize(("name", "source"), list(mounts()))
def test_what_is_mounted_is_there(name: str, source: str) -> None:
    """Docker makes an empty folder of a file that it does not find."""
    path = (DOCKER / source).resolve()
    if not path.is_relative_to(DOCKER) and not (ROOT / "deploy" / path.relative_to(ROOT / "deploy").parts[0]).exists():
        pytest.skip(f"{path.relative_to(ROOT)} is not part of this checkout yet")
    assert path.exists(), f"{name} mounts {source}"


def test_prometheus_asks_the_services_by_their_names() -> None:
    """On the ports that they have inside, under the job name that rules and dashboard know."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]}
    targets = {name: job["static_configs"][0]["targets"] for name, job in jobs.items()}
    assert targets == {"btworker": ["worker:8477"], "dcgm": ["dcgm-exporter:9400"]}
    assert {target[0].partition(":")[0] for target in targets.values()} < compose("compose.monitoring.yaml")[
        "services"
    ].keys()


def known_settings() -> set[str]:
    """Every environment variable that btworker reads."""
    aliases = (field.validation_alias for field in Settings.model_fields.values())
    return {str(name) for alias in aliases for name in alias.choices}  # type: ignore[union-attr]


def test_the_image_sets_only_what_btworker_reads() -> None:
    """A setting that was renamed would leave the image with the default."""
    names = set(re.findall(r"\b(WORKER_[A-Z_]+|BUILD_[A-Z]+)=", DOCKERFILE))
    assert {"WORKER_HOST", "WORKER_DATA_DIR", "WORKER_MODEL_CACHE", "BUILD_COMMIT", "BUILD_TIME"} <= names
    assert names <= known_settings()


def test_the_context_has_what_is_copied() -> None:
    """.dockerignore lets nothing in but what it names; the Dockerfile copies nothing else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = [source.replace("${STACK}", stack) for line in copies for source in line.split() for stack in STACKS]
    assert len(sources) > 10
    assert lines[1] == "*"
    assert all((ROOT / source).exists() for source in sources)
    assert {source.partition("/")[0] for source in sources} == let_in


STACKS = ("cu121", "cu130")


def run_entrypoint(*command: str, uid: int, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The image's entrypoint as that user, with the data and cache folders in the environment."""
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    become = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"] if uid else []
    return subprocess.run(
        [*become, "sh", str(ENTRYPOINT), *command],
        env={"PATH": path, "WORKER_TOKEN": TOKEN, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def volume() -> Iterator[Path]:
    """A folder of root's, with a file in it, where other users can see it (pytest's own are closed)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        (path / "jobs.sqlite3").touch()
        yield path


@pytest.mark.parametrize(
    ("machine", "reached", "asked"),
    [
        ("x86_64", True, ["others.txt", "https://index.example torch==1.2 torchaudio==1.2"]),
        ("x86_64", False, ["others.txt", "https://index.example torch==1.2 torchaudio==1.2", "torch.txt"]),
        ("aarch64", True, ["others.txt", "torch.txt"]),
    ],
)
def test_torch_comes_from_where_it_fits_the_lock(tmp_path: Path, machine: str, reached: bool, asked: list[str]) -> None:
    """PyTorch's index has CUDA's builds for arm64 too, of which the lock has no library; what is not held by a version
    alone is held by its hash."""
    (tmp_path / "bin").mkdir()
    site = tmp_path / "site"
    site.mkdir()
    programs = {
        "uname": f"echo {machine}",
        "pip": f'echo "$@" >>"{tmp_path}/asked"; case "$*" in *--index-url*) exit {int(not reached)};; esac',
        "python3": f"echo {site}",
    }
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    hashed = " \\\n    --hash=sha256:00\n"
    (tmp_path / "x.txt").write_text(
        "".join(f"{pin}{hashed}" for pin in ("a==1", "torch==1.2", "torchaudio==1.2", "z==3"))
    )
    script = [
        "sh",
        str(ROOT / "worker" / "install-packages.sh"),
        str(tmp_path / "x.txt"),
        "https://index.example",
        str(tmp_path),
    ]
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(script, env=environment, check=True, capture_output=True, timeout=30)
    lines = (tmp_path / "asked").read_text().splitlines()
    found = [re.sub(rf"^install .*--(?:index-url|requirement) (?:{tmp_path}/)?", "", line) for line in lines]
    assert found == asked
    assert all("--require-hashes" in line for line in lines if "--index-url" not in line)
    assert ("index.example" in (tmp_path / "torch-index").read_text()) is (machine == "x86_64" and reached)


@pytest.mark.system("root", "setpriv")
def test_a_volume_of_roots_ends_the_start_with_a_sentence(volume: Path) -> None:
    """It says whose the folder is, who we are, and three ways out."""
    result = run_entrypoint("serve", uid=UID, WORKER_DATA_DIR=str(volume), XDG_CACHE_HOME=str(volume))
    assert result.returncode == 73
    assert f"the data folder {volume} belongs to user 0" in result.stderr
    assert f"chown -R {UID}" in result.stderr
    assert "--user 0" in result.stderr
    assert TOKEN not in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.system("root", "setpriv")
def test_started_as_root_it_mends_the_volume_and_is_root_no_more(volume: Path) -> None:
    """What belongs to somebody else is left alone."""
    theirs = volume / "theirs"
    theirs.touch()
    os.chown(theirs, 4242, 4242)
    # A copy: the checkout may lie in a folder that only root can see.
    script = volume / "entrypoint.sh"
    script.write_text(ENTRYPOINT.read_text())
    script.chmod(0o755)
    settings = {"WORKER_DATA_DIR": str(volume), "XDG_CACHE_HOME": str(volume / "cache"), "PATH": "/usr/bin:/bin"}
    command = [str(script), "sh", "-c", "id -u; id -g; echo $HOME"]
    result = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=60)
    assert result.stdout.split() == [str(UID), str(UID), str(volume / "cache")], result.stderr
    owners = {path.name: path.stat().st_uid for path in volume.iterdir()}
    assert {owners["jobs.sqlite3"], owners["cache"], volume.stat().st_uid} == {UID}
    assert owners["theirs"] == 4242
