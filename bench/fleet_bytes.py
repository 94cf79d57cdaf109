"""A large file through each hop of a fleet: uploaded, fetched by a box, and put back as a result; in flat memory, while
the front end answers others.

    python bench/fleet_bytes.py [--gib 6]

Front end, box, gateway and all bytes are real, over loopback; only the child is scripted (fleet_boxes.py), and hands
its input back as an output. Memory is the peak of the process (VmHWM), compared with that of a job of 100 MB before.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

from fleet_boxes import Load
from fleet_many import PROGRAM, box_process, ready
from support import Server as Place
from support import Watch, cpu_s, make_file, memory_mb, percentile, report, reset_peak, workplace
from upload import GIB, curl

from btworker.checkpoints.hashing import file_sha256
from tests.process.server_of import TOKEN, serving
from tests.waiting import until

SMALL_BYTES = 100 << 20
WITHIN_S = 3600.0


def main() -> None:
    """Measure, print the table and a RESULT line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gib", type=float, default=6.0)
    options = parser.parse_args()
    with workplace() as folder:
        size = int(options.gib * GIB)
        if shutil.disk_usage(folder).free < 4.5 * size:
            raise SystemExit(f"needs {4.5 * options.gib:.0f} GiB free in bench-output; try --gib 1")
        measure(folder, size)


def measure(folder: Path, size: int) -> None:
    """Run it."""
    load = Load(gpus=1, minutes=0.5, output_is_input=True)
    settings = {"WORKER_POOL": "ray", "WORKER_RAY_ADDRESS": str(folder / "boxes"), "WORKER_FLEET_PORT": "0"}
    settings |= {"WORKER_MAX_FILE_MB": "20000"}
    with box_process(folder, 1, load) as box, serving(folder, program=(PROGRAM, "serve"), **settings) as server:
        until(lambda: ready(folder) == 1, "the box is ready", within_s=120)
        at = Place(server.url, server.process.pid, TOKEN, folder)
        pids = {"front end": at.pid, "box": box}
        found = {}
        for name, count in (("small", SMALL_BYTES), ("large", size)):
            source = folder / name
            make_file(source, count)
            for pid in pids.values():
                reset_peak(pid)
            before = {who: cpu_s(pid) for who, pid in pids.items()}
            watch = Watch(at)
            with watch.watching():
                upload_s, rest_s = one_job(at, source)
            found[name] = {
                "upload_s": upload_s,
                "rest_s": rest_s,
                "p99_ms": percentile(watch.latencies_ms, 0.99),
                "most_ms": max(watch.latencies_ms),
                **{f"{who} MB": memory_mb(pid, "VmHWM") for who, pid in pids.items()},
                **{f"{who} core-s": cpu_s(pid) - before[who] for who, pid in pids.items()},
            }
            print(f"  {name}: {json.dumps(found[name])}", flush=True)
            source.unlink()
        server.stop()
    show(found["small"], found["large"], size)


def one_job(at: Place, source: Path) -> tuple[float, float]:
    """Seconds of a file's upload, and of its way to the box and back; what came back is what was sent."""
    upload_s = curl(f"{at.url}/v1/jobs", source, f"Authorization: Bearer {at.token}")
    began = time.monotonic()
    job = until(lambda: ended(at), "the job ends", within_s=WITHIN_S, pause_s=0.2)
    rest_s = time.monotonic() - began
    if job["status"] != "complete":
        raise SystemExit(f"the job is {job['status']}: {job['error']}")
    (copy,) = (at.folder / "data" / "jobs" / job["workerJobId"] / "out").glob("*.copy")
    if file_sha256(copy) != file_sha256(source):
        raise SystemExit("what came back is not what was sent")
    copy.unlink()
    return upload_s, rest_s


def ended(at: Place) -> Any:
    """The last job, once it has ended."""
    request = urllib.request.Request(f"{at.url}/v1/jobs?limit=1", headers=at.authorization)
    with urllib.request.urlopen(request, timeout=60) as answer:
        job = json.loads(answer.read())["jobs"][0]
    return job if job["status"] in ("complete", "failed", "canceled") else None


def show(small: dict[str, float], large: dict[str, float], size: int) -> None:
    """The table, the JSON and the RESULT line."""
    gib = size / GIB
    growth = {who: large[f"{who} MB"] - small[f"{who} MB"] for who in ("front end", "box")}
    rows = [
        ("file", f"{gib:g} GiB, uploaded, fetched by a box, put back as a result; the same bytes"),
        ("upload", f"{size / 1e6 / large['upload_s']:.0f} MB/s"),
        ("to the box and back", f"{2 * size / 1e6 / large['rest_s']:.0f} MB/s"),
        *((f"peak memory: {who}", f"{large[f'{who} MB']:.0f} MB ({grown:+.1f} MB)") for who, grown in growth.items()),
        *((f"CPU: {who}", f"{large[f'{who} core-s'] / gib:.2f} core-s/GiB") for who in growth),
        ("/health/live", f"p99 {large['p99_ms']:.1f} ms, {large['most_ms']:.0f} ms at most (50 ms apart)"),
    ]
    result = {
        "front_growth_mb": growth["front end"],
        "box_growth_mb": growth["box"],
        "health_p99_ms": large["p99_ms"],
        "upload_mb_s": size / 1e6 / large["upload_s"],
        "hops_mb_s": 2 * size / 1e6 / large["rest_s"],
    }
    report("fleet_bytes", rows, result, {"small": small, "large": large})


if __name__ == "__main__":
    main()
