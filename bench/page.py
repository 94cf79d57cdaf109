"""The page in Chromium, with an eight-hour transcript: first paint, scrolling, a seek, and memory.

    python bench/page.py [--words 80000] [--rounds 5] [--inside]

A worker with the embedded model serves it; the transcript is written in place of the sample's. A round is a new tab:
paint and readiness by the browser's own clock, then the wheel through the text, traced; --inside says what the longest
task of each round was made of. Needs Debian's chromium.
"""

import argparse
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from support import ROOT  # noqa: F401 - the tests' helpers are importable after it

from tests.demo_worker import DEMO_WORKER
from tests.page.conftest import CHROMIUM, FLAGS
from tests.page.stored import long_talk
from tests.page.user import User
from tests.process.server_of import Server, serving

WHEEL_PX, WHEELS = 900, 60
TRACED = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
SEEKS = (5.0, 60.0, 20.0, 50.0, 1.0)
_PAINT = """() => new Promise((painted) => {
  const look = (list) => list.getEntriesByName("first-contentful-paint").forEach(({ startTime }) => painted(startTime));
  new PerformanceObserver(look).observe({ type: "paint", buffered: true });
})"""
_SEEK = """async (to) => {
  const { audio } = await import("./page/playback.js");
  const began = performance.now();
  await new Promise((seeked) => { audio.onseeked = seeked; audio.currentTime = to; });
  return performance.now() - began;
}"""


def main() -> None:
    """Run the rounds, print a table and the last line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--words", type=int, default=80_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--inside", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **DEMO_WORKER) as worker:
        job_id = long_talk(worker, args.words)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=[*FLAGS, "--enable-precise-memory-info"]
            )
            rounds = [measured(worker, browser, job_id, inside=args.inside) for _ in range(args.rounds)]
            browser.close()
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"{name:28} {statistics.median(values):8.1f}   ({min(values):.1f} - {max(values):.1f})")
    print("RESULT", *(f"{name}={statistics.median(one[name] for one in rounds):.1f}" for name in rounds[0]))


def measured(worker: Server, browser: Browser, job_id: str, *, inside: bool = False) -> dict[str, float]:
    """One tab: milliseconds, MB and rows."""
    with User.at(worker, browser) as user:
        page = user.page
        found = {"first_paint_ms": page.evaluate(_PAINT)}
        user.enter()
        page.get_by_role("heading", name="Recordings").wait_for()
        page.reload()
        page.locator(".entry").first.wait_for()
        found["list_usable_ms"] = page.evaluate("performance.now()")
        page.goto(f"{worker.url}/?again#{job_id}")
        user.finished()
        found["eight_hours_usable_ms"] = page.evaluate("performance.now()")
        trace, rows = scrolled(browser, page)
        wall, cpu = zip(*((one["dur"] / 1000, one["tdur"] / 1000) for one in tasks_of(trace)), strict=True)
        if inside:
            print("longest:", *(f"{name} {ms:.1f}" for name, ms in inside_of(trace).most_common(8)), sep="  ")
        found |= {"longest_task_cpu_ms": max(cpu), "cpu_above_16_ms": sum(one > 16 for one in cpu)}
        found |= {"longest_task_ms": max(wall), "tasks_above_16_ms": sum(one > 16 for one in wall), "most_rows": rows}
        found["seek_ms"] = statistics.median(page.evaluate(_SEEK, to) for to in SEEKS)
        metrics = page.context.new_cdp_session(page)
        metrics.send("HeapProfiler.collectGarbage")
        found["js_heap_mb"] = metrics.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        found["renderer_private_mb"] = private_mb(browser)
    return found


def scrolled(browser: Browser, page: Page) -> tuple[list[dict[str, Any]], int]:
    """Turn the wheel through the text; the events of that, and the most rows at once."""
    page.locator("section.transcript").hover()
    browser.start_tracing(page=page, categories=TRACED)
    rows = 0
    for _ in range(WHEELS):
        page.mouse.wheel(0, WHEEL_PX)
        page.wait_for_timeout(30)
        rows = max(rows, page.locator(".row").count())
    return json.loads(browser.stop_tracing())["traceEvents"], rows


def tasks_of(trace: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tasks of renderers' main threads, with microseconds on the clock (`dur`) and of CPU time (`tdur`), which
    other work on the machine does not stretch."""
    mains = {
        (one["pid"], one["tid"])
        for one in trace
        if one["name"] == "thread_name" and one["args"].get("name") == "CrRendererMain"
    }
    for one in trace:
        if one["name"] == "RunTask" and one["ph"] == "X" and (one["pid"], one["tid"]) in mains:
            yield one


def inside_of(trace: list[dict[str, Any]]) -> Counter[str]:
    """Milliseconds of CPU time inside the task that took most of it, by what was done, each without what it called."""
    task = max(tasks_of(trace), key=lambda one: float(one["tdur"]))
    end = task["ts"] + task["dur"]
    inner = [one for one in trace if one["ph"] == "X" and (one["pid"], one["tid"]) == (task["pid"], task["tid"])]
    inner = sorted((one for one in inner if task["ts"] <= one["ts"] < end), key=lambda one: (one["ts"], -one["dur"]))
    found: Counter[str] = Counter()
    around: list[dict[str, Any]] = []
    for one in inner:
        while around and around[-1]["ts"] + around[-1]["dur"] <= one["ts"]:
            around.pop()
        ms = one.get("tdur", 0) / 1000
        found[one["name"]] += ms
        if around:
            found[around[-1]["name"]] -= ms
        around.append(one)
    return found


def private_mb(browser: Browser) -> float:
    """Memory that is the largest renderer's alone."""
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = []
    for one in processes:
        if one["type"] == "renderer":
            lines = Path(f"/proc/{one['id']}/smaps_rollup").read_text().splitlines()
            sizes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000)
    return max(sizes)


if __name__ == "__main__":
    main()
