"""`make fleet-demo`: three boxes on this machine, a worker in front of them, and the sample recording on each of them.

Runs in the environment that has Ray (tools/fleet_env.py). The boxes are as real as any (processes of their own, with
the embedded model), but they share this machine: it shows that the machinery works, and how to look at it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ray_here import free_port, ray_here

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "btworker" / "demo"
BOXES = ("box-1", "box-2", "box-3")
WITHIN_S = 300.0
ON_BOX = "runs on the box"
TOKEN = secrets.token_hex(16)


def main() -> int:
    """Run the demo; return the exit status."""
    settings = {
        "WORKER_MODEL": "demo",
        "WORKER_MODELS": f"demo={DEMO / 'whisper-tiny-words.pt'}",
        "WORKER_DEVICE": "cpu",
        "WORKER_CPU_THREADS": "1",
        "WORKER_DISK_RESERVE_MB": "0",
    }
    with (
        tempfile.TemporaryDirectory(prefix="btworker-fleet-") as name,
        ray_here(Path(name), settings, *BOXES) as cluster,
    ):
        print("three boxes start, each a `ray start` with settings of its own (20-60 s)", flush=True)
        url = f"http://127.0.0.1:{free_port()}"
        front = {
            "WORKER_POOL": "ray",
            "WORKER_RAY_ADDRESS": cluster.address,
            "WORKER_FLEET_PORT": "0",
            "WORKER_PORT": url.rpartition(":")[2],
            "WORKER_TOKEN": TOKEN,
            "WORKER_DATA_DIR": f"{name}/front",
            "WORKER_LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "btworker"]
        environment = {**os.environ, **settings, **cluster.access, **front}
        server = subprocess.Popen([*command, "serve"], env=environment, cwd=ROOT)
        try:
            until(lambda: boxes_ready(command, environment) == len(BOXES), "all boxes are ready")
            subprocess.run([*command, "fleet", "list"], env=environment, cwd=ROOT, check=True)
            texts = transcribe(command, {**environment, "WORKER_URL": url}, Path(name))
        finally:
            server.terminate()
            server.wait()
    whole = len(texts) == len(BOXES) and len(set(texts.values())) == 1
    print("the same transcript from each of the three boxes" if whole else f"not what was expected: {texts}")
    return int(not whole)


def transcribe(command: list[str], environment: dict[str, str], folder: Path) -> dict[str, str]:
    """Send the sample as often as there are boxes, all at once; the text that each box has made of it."""
    line = [*command, "transcribe", str(DEMO / "sample.flac"), "--formats", "txt", "--json", "--output-dir"]
    running = [
        subprocess.Popen([*line, str(folder / f"out-{number}")], env=environment, stdout=subprocess.PIPE, cwd=ROOT)
        for number in range(len(BOXES))
    ]
    texts = {}
    for number, process in enumerate(running):
        answer = process.communicate()[0]
        if process.returncode:
            return {}
        lines = [line["message"] for line in json.loads(answer)[0]["logs"]]
        box = next(line.rpartition(" ")[2] for line in lines if ON_BOX in line)
        (text,) = (folder / f"out-{number}").glob("*.txt")
        texts[box] = text.read_text()
        print(f"{box}: {len(texts[box].split())} words: {texts[box].splitlines()[0][:60]} …")
    return texts


def boxes_ready(command: list[str], environment: dict[str, str]) -> int:
    """How many boxes take jobs."""
    line = [*command, "fleet", "list", "--json"]
    found = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    return sum(bool(box["ready"]) for box in json.loads(found.stdout)["boxes"]) if found.returncode == 0 else 0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait; raises TimeoutError."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WITHIN_S:.0f} s: {what}")
        time.sleep(3)


if __name__ == "__main__":
    sys.exit(main())
