"""What the built image has to do: each check returns what it found in a few words, or raises ImageError."""

from __future__ import annotations

import asyncio
import json
import platform
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import locks
from btworker import __version__
from btworker.cli import demo
from btworker.client import Client
from btworker.jobs import JobStatus
from image_build import Identity, ImageError
from image_container import DOCKERS_ROOT, UID, Container, owned_folder, until

TOKEN = "only-for-this-test"  # noqa: S105
DATA, CACHE = "/var/lib/btworker", "/var/cache/btworker"
EXIT_CANTCREAT = 73
# The first import of torch from a cold disk takes its time.
START_S, DEMO_S, STOP_S = 300.0, 600.0, 60.0
SMALL_BYTES = 2**20
"""Up to here a checkpoint is a package's own: torchmetrics has one of 12 kB."""
TORCH = 'import torch, torchaudio; print(f"torch={torch.__version__} torchaudio={torchaudio.__version__}")'
DEMO_MODEL = {
    "WORKER_MODEL": "demo",
    "WORKER_MODELS": "demo=/opt/btworker-app/btworker/demo/whisper-tiny-words.pt",
}
ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    "WORKER_HOST": "0.0.0.0",  # noqa: S104
    "WORKER_DATA_DIR": DATA,
}


@dataclass(frozen=True)
class Image:
    """The image, unpacked: its root, its configuration, and a folder for its containers."""

    root: Path
    config: dict[str, Any]
    folder: Path
    stack: str
    identity: Identity

    def container(self, *arguments: str, **more: Any) -> Container:
        """A container with fresh volumes that belong to the image's user, unless `more` says otherwise."""
        volumes = {DATA: self.volume(UID), CACHE: self.volume(UID)}
        return Container(self.folder, self.root, self.config, arguments, **{"volumes": volumes, **more})

    def volume(self, uid: int) -> Path:
        """A fresh folder for mounting."""
        number = len(list(self.folder.glob("volume-*"))) if self.folder.exists() else 0
        return owned_folder(self.folder / f"volume-{number}", uid)


def all_checks(image: Image) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every check with its name, cheapest first."""
    yield "the image's configuration", partial(configuration, image)
    yield "no model and no token baked in", partial(nothing_baked_in, image)
    yield 'python3 -c "import torch, torchaudio"', partial(torch_versions, image)
    yield "a data folder of root's: a sentence and exit code 73", partial(foreign_folder, image)
    yield "the same with --user 0: repaired, and root dropped", partial(repaired_folder, image)
    yield "btworker version, and doctor as whom the image runs", partial(doctor_inside, image)
    yield "btworker demo", partial(demo_inside, image)
    yield "a server, used from outside", partial(server, image)


def require(condition: object, sentence: str) -> None:
    """Raise ImageError with the sentence where the condition does not hold."""
    if not condition:
        raise ImageError(sentence)


def configuration(image: Image) -> str:
    """User, signal, init, health check and environment are what the documentation says."""
    config = image.config
    require(config.get("User") == "btworker", f"the user is {config.get('User')!r}")
    require(config["Entrypoint"][0] == "tini", f"PID 1 is {config['Entrypoint'][0]}")
    require(config.get("StopSignal") == "SIGTERM", f"the stop signal is {config.get('StopSignal')}")
    require("/health/live" in " ".join(config["Healthcheck"]["Test"]), "there is no health check")
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    wrong = {name for name, value in ENVIRONMENT.items() if environment.get(name) != value}
    require(not wrong, f"wrong in the environment: {', '.join(sorted(wrong))}")
    label = config["Labels"].get("org.opencontainers.image.revision")
    require(label == image.identity.commit, f"the label says revision {label}")
    return f"user {config['User']}, volumes {', '.join(sorted(config['Volumes']))}"


def nothing_baked_in(image: Image) -> str:
    """The caches are empty, no setting is a secret, and the only checkpoint is the demo's."""
    secret = [entry.partition("=")[0] for entry in image.config["Env"] if re.search("TOKEN|SECRET|PASSWORD", entry)]
    require(not secret, f"in the environment: {', '.join(secret)}")
    left = [path for where in (CACHE, DATA, "/tmp") for path in (image.root / where[1:]).rglob("*")]  # noqa: S108
    require(not left, f"left in the image: {', '.join(str(path.relative_to(image.root)) for path in left[:5])}")
    found = [path for path in (image.root / "opt").rglob("*.pt") if path.stat().st_size > SMALL_BYTES]
    models = {path.name for path in found} - {"whisper-tiny-words.pt"}
    require(not models, f"checkpoints: {', '.join(sorted(models))}")
    return "the caches are empty"


def torch_versions(image: Image) -> str:
    """The python3 on the PATH has the pinned pair, in its CUDA build on x86-64."""
    code, output = image.container("python3", "-c", TORCH).run(START_S)
    pins = dict(line.split(" ")[0].split("==") for line in locks.pins(locks.LOCKS, image.stack))
    suffix = f"+{image.stack}" if platform.machine() == "x86_64" else ""
    wanted = " ".join(f"{name}={pins[name]}{suffix}" for name in ("torch", "torchaudio"))
    require(code == 0 and output.strip() == wanted, f"exit code {code}, {output.strip()!r} and not {wanted!r}")
    return output.strip()


def foreign_folder(image: Image) -> str:
    """The volume of a careless `mkdir` is the most common first mistake; it must not end in a traceback."""
    volumes = {DATA: image.volume(0), CACHE: image.volume(UID)}
    code, output = image.container("serve", volumes=volumes, environment={"WORKER_TOKEN": TOKEN}).run(START_S)
    require(code == EXIT_CANTCREAT, f"exit code {code}: {output}")
    require("belongs to user 0" in output and "chown" in output, f"it says only: {output}")
    return ""


def repaired_folder(image: Image) -> str:
    """Started as root, the container gives the volumes to its user and goes on as that user."""
    volumes = {DATA: image.volume(0), CACHE: image.volume(0)}
    script = f"id -u; touch {DATA}/a {CACHE}/b && grep CapEff /proc/self/status"
    command = image.container("sh", "-c", script, volumes=volumes, uid=0, capabilities=DOCKERS_ROOT)
    code, output = command.run(START_S)
    require(code == 0 and output.split()[0] == str(UID), f"exit code {code}: {output}")
    require(int(output.split()[-1], 16) == 0, f"rights are left: {output}")
    return ""


def doctor_inside(image: Image) -> str:
    """The command on the PATH knows its packages; the image's user, whom nothing but volumes and /tmp lets write, has
    all that the doctor looks for."""
    script = "btworker version && id -u && ! touch /here /opt/btworker/here /opt/btworker-app/here && btworker doctor"
    settings = {"WORKER_TOKEN": TOKEN, "WORKER_DEVICE": "cpu", **DEMO_MODEL}
    code, output = image.container("sh", "-c", script, environment=settings).run(START_S)
    require(code == 0, f"exit code {code}:\n{output}")
    require(f"btworker {__version__}\n" in output and f"\n{UID}\n" in output, f"it is not the one: {output}")
    require(output.count("Read-only file system") == 3, f"a file could be made: {output}")
    return output.splitlines()[-1]


def demo_inside(image: Image) -> str:
    """The embedded model transcribes the sample, with nothing set up and no network needed."""
    code, output = image.container("demo", "--output-dir", "/tmp/demo").run(DEMO_S)  # noqa: S108
    require(code == 0, f"exit code {code}:\n{output}")
    lines = [line for line in output.splitlines() if line.startswith(("Word error rate", "Speed"))]
    return "; ".join(" ".join(line.split()) for line in lines)


@contextmanager
def running_server(image: Image) -> Iterator[tuple[Container, str]]:
    """A server as `docker run` starts it, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "WORKER_TOKEN": TOKEN,
        "WORKER_PORT": str(port),
        **DEMO_MODEL,
    }
    container = image.container(*image.config["Cmd"], environment=environment).start()
    try:
        yield container, f"http://127.0.0.1:{port}"
    finally:
        container.remove()


def server(image: Image) -> str:
    """Ping tells the build, readiness comes, a job from outside is transcribed, SIGTERM ends it with 0."""
    with running_server(image) as (container, url):
        until(partial(responds, container, f"{url}/health/live"), "the server listens", START_S)
        ping = get(f"{url}/v1/ping")
        said = {"gitCommit": image.identity.commit, "buildTime": image.identity.time}
        require(said.items() <= ping["identity"].items(), f"ping says {ping['identity']}, and not {said}")
        until(partial(responds, container, f"{url}/health/ready"), "a child is ready", START_S)
        code, output = container.exec(*image.config["Healthcheck"]["Test"][1:])
        require(code == 0, f"the health check ends with {code}: {output}")
        code, output = container.exec("cat", "/proc/1/comm")
        require(output.strip() == "tini", f"PID 1 is {output.strip()}")
        rate = asyncio.run(transcribed(url, image.folder))
        container.kill("TERM")
        code = container.wait(STOP_S)
        require(code == 0, f"after SIGTERM it ended with {code}:\n{container.output()[-2000:]}")
    return f"gitCommit {said['gitCommit']}, buildTime {said['buildTime']}, word error rate {rate:.1%}, SIGTERM: exit 0"


def responds(container: Container, url: str) -> bool:
    """Whether the address answers 200. Raises ImageError where the container has ended."""
    assert container.process is not None
    require(container.process.poll() is None, f"the server ended:\n{container.output()[-2000:]}")
    try:
        get(url)
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def get(url: str) -> Any:
    """The JSON at an address, asked for with the token."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


async def transcribed(url: str, folder: Path) -> float:
    """Upload the sample, wait, fetch the text; return its word error rate. Raises ImageError."""
    async with Client(url, TOKEN) as client:
        job = await client.submit([demo.SAMPLE], {"language": "en", "outputs": ["txt"]})
        job = await client.wait(job.id, timeout_s=DEMO_S)
        require(job.status is JobStatus.COMPLETE, f"the job is {job.status.value}: {job.error_message}")
        path = await client.download(job.id, job.outputs[0].filename, folder)
    text = path.read_text("utf-8")
    errors = demo.word_errors(reference=demo.SPOKEN.read_text("utf-8"), hypothesis=text)
    require(errors.rate <= demo.MAX_RATE, f"word error rate {errors.rate:.1%}: {text}")
    return errors.rate
