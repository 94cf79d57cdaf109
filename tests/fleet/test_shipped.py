"""What deploy/ has for Docker and Kubernetes, and docs/fleet.md for two boxes by hand, started: each command, with its
environment, names, volumes and probes, in containers of this machine (containers.py). Scripted are the children alone;
GPUs, images, Docker and KubeRay themselves are not here. `make test-fleet` runs this.
"""

import json
import os
import re
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fleet.containers import Container, Containers, containers_on, entrypoint, interpolated, of_image
from tests.fleet.fleet_of import BOX
from tests.fleet.ray_world import on_box, script, until
from tests.process.server_of import ROOT, TOKEN, Server

pytestmark = [
    pytest.mark.ray,
    pytest.mark.full,
    pytest.mark.system("root", "ip", "unshare"),
    pytest.mark.timeout(600),
]
DOCKER = ROOT / "deploy" / "docker"
SCRIPTED = {name: BOX[name] for name in ("WORKER_ENGINE", "WORKER_DEVICE")}
DOT_ENV = {"WORKER_TOKEN": TOKEN, "RAY_AUTH_TOKEN": "a-token-of-ray's", "WORKER_IMAGE": "bulk-transcribe-worker:fleet"}
WITHOUT_GPU = {"RAY_OVERRIDE_RESOURCES": json.dumps({"btworker_box": 1})}
"""Makes a box of a machine without GPUs, as docs/fleet.md has it, in a way that leaves its command alone."""
IN_KUBERNETES = "btworker-head-svc.btworker.svc.cluster.local"
"""The head's address, as KubeRay gives it to the boxes."""


def services() -> dict[str, Any]:
    """Of the compose file, with what its front end extends, and its .env file."""

    def read(name: str) -> Any:
        return yaml.safe_load(interpolated((DOCKER / name).read_text(), DOT_ENV))["services"]

    found = read("compose.fleet.yaml")
    base = found["worker"].pop("extends")
    whole = read(base["file"])[base["service"]]
    environment = {**whole["environment"], **found["worker"]["environment"]}
    return {**found, "worker": {**whole, **found["worker"], "environment": environment}}


def of_service(name: str, service: Mapping[str, Any], folder: Path) -> Container:
    """The container of a service."""
    volumes = {}
    for volume in service["volumes"]:
        source, _, path = volume.partition(":")
        (folder / "volumes" / source).mkdir(parents=True, exist_ok=True)
        volumes[path] = f"volumes/{source}"
    given = {name: str(value) for name, value in service["environment"].items()}
    boxes_own = WITHOUT_GPU if name != "worker" else {}
    return Container(name, [*entrypoint(), *service["command"]], {**given, **SCRIPTED, **boxes_own}, volumes)


def healthy(running: Containers, name: str, command: list[str]) -> bool:
    """What Docker asks a container by."""
    return running.run_in(name, command).returncode == 0


@contextmanager
def used(running: Containers, front: str, network: str, boxes: set[str]) -> Iterator[Server]:
    """The front end, once all boxes are ready: each of them gets a job, and does it."""
    server = Server(running.folder, url=f"http://{running.address(network)}:8477")

    def ready() -> bool:
        running.restart_ended()
        found = running.run_in(front, ["python3", "-m", "btworker", "fleet", "list", "--json"])
        listed = json.loads(found.stdout)["boxes"] if found.returncode == 0 else []
        return {box["box"] for box in listed if box["ready"]} == boxes

    until(ready, "all boxes are ready", within_s=180, pause_s=3)
    jobs = [server.submit(["windows", 1], ["sleep", 3]) for _ in boxes]
    until(lambda: all(server.job(job_id)["status"] == "complete" for job_id in jobs), "all are complete")
    assert {box for job_id in jobs for box in on_box(server.job(job_id))} == boxes
    yield server


def test_the_compose_file(tmp_path: Path) -> None:
    """Its front end and three boxes find each other by their names, with the token, and each box does a job; they are
    healthy by what Docker asks. Where the head's GCS ends, the front end goes on, and so do the jobs."""
    found = services()
    boxes = found.keys() - {"worker"}
    with containers_on(tmp_path, *found) as running:
        for name, service in found.items():
            running.start(of_service(name, service, tmp_path))
        with used(running, "worker", "worker", boxes) as server:
            image = re.search(r"HEALTHCHECK .*\n\s*CMD (\[.*\])", (ROOT / "worker" / "Dockerfile").read_text())
            assert image is not None and healthy(running, "worker", json.loads(image[1]))
            for name in boxes:
                assert healthy(running, name, found[name]["healthcheck"]["test"][1:])
            job_id = server.submit(*script(2.0))  # longer than boxes outlive their head
            until(lambda: on_box(server.job(job_id)), "it has begun")
            (gcs,) = [pid for pid in running.pids("worker") if "/gcs/gcs_server" in _command(pid)]
            front = running.running["worker"].process
            os.kill(gcs, 9)
            until(lambda: running.restart_ended() or server.job(job_id)["status"] == "complete", within_s=180)
            assert running.running["worker"].process is front and front is not None and front.poll() is None


def by_hand(**addresses: str) -> list[str]:
    """Commands of docs/fleet.md, By hand: the token's, the head's, another box's, the front end's; with these addresses
    in place of its own."""
    text = (ROOT / "docs" / "fleet.md").read_text()
    text = text[text.index("### By hand") : text.index("## What the network needs")]
    for name, address in addresses.items():
        text = text.replace({"head": "10.0.0.1", "other": "10.0.0.2"}[name], address)
    found = re.findall(r"^\$ ((?:ray|WORKER_POOL).*?)(?:  #.*)?$", text, re.MULTILINE)
    return [line.replace("btworker serve", "python3 -m btworker serve").strip() for line in found]


def test_two_boxes_by_hand(tmp_path: Path) -> None:
    """As docs/fleet.md has it, on machines without GPUs: a token on both, the two commands, the worker; each box does a
    job."""
    with containers_on(tmp_path, "gpu-1", "gpu-2") as running:
        token, head, other, serve = by_hand(head=running.address("gpu-1"), other=running.address("gpu-2"))
        is_box = " --resources '{\"btworker_box\": 1}'"
        given = {"RAY_AUTH_MODE": "token", "WORKER_MODEL": "tiny", **SCRIPTED}
        before = {
            "gpu-1": "test -e ~/.ray/auth_token || " + token,
            "gpu-2": "until test -s ~/.ray/auth_token; do sleep 1; done",
        }
        last = {"gpu-1": f"WORKER_TOKEN={TOKEN} {serve}", "gpu-2": "sleep infinity"}
        for name, command in (("gpu-1", head), ("gpu-2", other)):
            script = f"{before[name]} && {command}{is_box} && {last[name]}"
            running.start(Container(name, ["sh", "-c", script], given))
        homes = [
            tmp_path / name / of_image()["HOME"].lstrip("/") / ".ray" / "auth_token" for name in ("gpu-1", "gpu-2")
        ]
        until(homes[0].exists, "there is a token")
        homes[1].parent.mkdir()
        homes[1].write_text(homes[0].read_text())
        with used(running, "gpu-1", "gpu-1", {"gpu-1", "gpu-2"}):
            pass


def cluster() -> dict[str, Any]:
    """The manifest's RayCluster."""
    return dict(yaml.safe_load((ROOT / "deploy/kubernetes/fleet/raycluster.yaml").read_text())["spec"])


def start_command(parameters: Mapping[str, str], limits: Mapping[str, str], **added: str) -> list[str]:
    """What KubeRay 1.6 makes of rayStartParams (generateRayStartCommand in its pod.go)."""
    by_kuberay = {"block": "true", "dashboard-agent-listen-port": "52365", "metrics-export-port": "8080", **added}
    memory = {"memory": str(int(limits["memory"].removesuffix("Gi")) * 2**30)}
    gpus = {"num-gpus": limits["nvidia.com/gpu"]} if "nvidia.com/gpu" in limits else {}
    words = ["--head"] if "address" not in added else []
    for name, value in sorted({**by_kuberay, **memory, **gpus, **parameters}.items()):
        if value not in ("true", "false") or name == "include-dashboard":
            words.append(f"--{name}={value}")
        elif value == "true":
            words.append(f"--{name}")
    return ["/bin/bash", "-c", "--", f"ulimit -n 65536; ray start {' '.join(words)}"]


def of_pod(pod: Mapping[str, Any], name: str, number: int, command: list[str], folder: Path) -> Container:
    """A container of a pod, whose volumes its containers share."""
    container = pod["spec"]["containers"][number]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": DOT_ENV["RAY_AUTH_TOKEN"]}
    given = {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}
    volumes = {}
    for mount in container["volumeMounts"]:
        source = f"volumes/{name.partition('.')[0]}/{mount['name']}"
        for path in (source, f"{name}{mount['mountPath']}"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        volumes[mount["mountPath"]] = source
    return Container(name, command, {**token, **given, **SCRIPTED}, volumes, name.partition(".")[0])


def answers(running: Containers, network: str, container: Mapping[str, Any]) -> bool:
    """Whether each probe of a container is content."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in (value for name, value in container.items() if name.endswith("Probe")):
        if "httpGet" in probe:
            asked = probe["httpGet"]
            urllib.request.urlopen(f"http://{running.address(network)}:{ports[asked['port']]}{asked['path']}").close()
        else:
            socket.create_connection((running.address(network), ports[probe["tcpSocket"]["port"]]), 10).close()
    return True


def test_the_manifest_of_kuberay(tmp_path: Path) -> None:
    """Head, front end beside it and two boxes, by the commands that KubeRay makes of it: each box does a job, and the
    probes are content; who waits for the head before a box starts gets its answer with the token."""
    spec = cluster()
    head, (group,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
    boxes = {"btworker-boxes-1": group["template"], "btworker-boxes-2": group["template"]}
    with containers_on(tmp_path, "head", *boxes, names={IN_KUBERNETES: "head"}) as running:
        (tmp_path / "volumes" / "head" / "token").mkdir(parents=True)
        (tmp_path / "volumes" / "head" / "token" / "token").write_text(TOKEN)
        rays, front = head["template"]["spec"]["containers"]
        command = start_command(head["rayStartParams"], rays["resources"]["limits"], **{"dashboard-host": "0.0.0.0"})
        running.start(of_pod(head["template"], "head.ray-head", 0, command, tmp_path))
        running.start(of_pod(head["template"], "head.front-end", 1, [*entrypoint(), "serve"], tmp_path))
        for name, pod in boxes.items():
            limits, address = pod["spec"]["containers"][0]["resources"]["limits"], f"{IN_KUBERNETES}:6379"
            command = start_command(group["rayStartParams"], limits, address=address)
            running.start(of_pod(pod, name, 0, command, tmp_path))
        with used(running, "head.front-end", "head", set(boxes)):
            assert answers(running, "head", rays) and answers(running, "head", front)
            for name, pod in boxes.items():
                assert answers(running, name, pod["spec"]["containers"][0])
            asks = ["ray", "health-check", "--address", f"{IN_KUBERNETES}:6379"]
            assert running.run_in("btworker-boxes-1", asks).returncode == 0


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ""
