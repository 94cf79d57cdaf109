"""R1 and R10: whenever the server dies, or is told to stop, what was answered 201 is there afterwards, and once.

Two ways to find a bad moment: kill -9 just before every single system call of one accept, and signals at random
moments while clients submit and jobs run. Both judge by the clients' ledger.
"""

import http.client
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from tests.faults.clients import KEEP, SLOW, WAYS, Ledger, let_go
from tests.faults.strace import injected, recorded
from tests.process.pool_of import alive
from tests.process.server_of import Server, serving
from tests.slices import FULL, luck_of, seed_of, slice_of
from tests.waiting import until

T = TypeVar("T")
SIGNALS = 50 if FULL else 6
TRIES = 3
"""A call's number shifts by one where the thread woke the loop once more, or once less."""
LINES = {"parser": 40, "socket": 20_000}
"""Of a file: small on one way, large on the other."""
SIDE_BY_SIDE = 2
"""Servers at once, each with its own folder: one waits for its start while the other works."""


def side_by_side(work: Callable[[int], T]) -> list[T]:
    """Call work(0), work(1), … at once; their results."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        return list(threads.map(work, range(SIDE_BY_SIDE)))


def killed_before_call(folder: Path, ledger: Ledger, number: int, way: str) -> int:
    """One start: the ledger holds; record one upload, then kill the server in the next at call `number`.

    Returns how many calls an upload has, or 0 when `number` is beyond them; a call that is not made again dies not.
    """
    with serving(folder, **SLOW, **KEEP, **WAYS[way]) as server:
        ledger.settle(server)
        with recorded(server.process.pid) as recording:
            assert ledger.submit(server)
        ledger.check_kept(server, folder)
        calls = [call for call in recording.calls if call.name != "mkdir" or "ENOENT" not in call.text]
        if number >= len(calls):
            return 0
        with injected(calls[number], "signal=SIGKILL"):
            ledger.submit(server)
            try:
                died = server.process.wait(1 if number == 0 else 5) == -signal.SIGKILL
            except subprocess.TimeoutExpired:
                died = False
        ledger.deaths.append((calls[number].name, died))
        return len(calls)


def killed_in_some_try(folder: Path, ledger: Ledger, number: int, way: str) -> bool:
    """`killed_before_call` until it was; only the last try counts. False when `number` is beyond the calls."""
    for left in reversed(range(TRIES)):
        if not killed_before_call(folder, ledger, number, way):
            return False
        _, died = ledger.deaths[-1]
        if died or left == 0:
            break
        ledger.deaths.pop()
    return True


@pytest.mark.system("strace", "root")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", slice_of(list(WAYS), 1, "ways of a killed accept"))
def test_kill_before_every_system_call_of_an_accept(tmp_path: Path, way: str) -> None:
    """Killed before any write, pwrite64, fsync, fdatasync, open, mkdir of an accept: nothing lost or doubled.

    The control: the server did die at the calls (one that was not made again, such as a second wake-up of the event
    loop, is counted and must stay rare), and at one of each kind that makes an accept durable.
    """
    step = 1 if FULL else 6
    first = seed_of("kills at calls") % step

    def work(side: int) -> Any:
        folder = tmp_path / str(side)
        folder.mkdir()
        ledger = Ledger(f"side-{side}", lines=LINES[way])
        number = first + side * step
        while killed_in_some_try(folder, ledger, number, way):
            number += SIDE_BY_SIDE * step
        let_go(folder)
        with serving(folder, **SLOW, **KEEP) as server:
            ledger.check_done(server, folder)
        return ledger.deaths

    deaths = [death for side in side_by_side(work) for death in side]
    died = [name for name, dead in deaths if dead]
    print(f"killed before {len(died)} of {len(deaths)} calls: {sorted(set(died))}")
    assert len(died) >= 0.8 * len(deaths), deaths
    if FULL:
        assert {"write", "pwrite64", "fsync", "fdatasync", "openat", "mkdir"} <= set(died)


def load(server: Server, ledger: Ledger, halt: threading.Event) -> None:
    """One client: a few submissions, then looks at the list, until the server is gone."""
    for _ in range(3):
        if not ledger.submit(server):
            return
    while not halt.is_set():
        try:
            server.request("GET", "/v1/jobs?limit=5")
        except (OSError, http.client.HTTPException):
            return


def ended_at_random(folder: Path, ledger: Ledger, how: str, luck: Random) -> None:
    """One start under load, ended after a random time by SIGKILL, by SIGTERM, or by two of them."""
    with serving(
        folder, **KEEP, WORKER_DRAIN_SECONDS="0.2", WORKER_MAX_CONCURRENT_JOBS="2", WORKER_PROCESSES_PER_GPU="2"
    ) as server:
        ledger.check_kept(server, folder)
        family = set(server.children())
        halt = threading.Event()
        with ThreadPoolExecutor(4) as clients:
            running = [clients.submit(load, server, ledger, halt) for _ in range(4)]
            time.sleep(luck.uniform(0, 1.5))  # the moment, not a wait for something
            family |= set(server.children())
            server.process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
            if how == "term" and luck.random() < 0.5:
                time.sleep(luck.uniform(0, 0.1))
                server.process.send_signal(signal.SIGTERM)
            code = server.process.wait(120)
            halt.set()
            for client in running:
                client.result()
        assert code == (-signal.SIGKILL if how == "kill" else 0), server.log.read_text()[-3000:]
        until(lambda: not any(alive(pid) for pid in family), within_s=30)


@pytest.mark.parametrize("how", ["kill", "term"])
@pytest.mark.timeout(900)
def test_signals_at_random_moments_under_load(tmp_path: Path, how: str) -> None:
    """SIGKILL, or SIGTERM (half of the time followed by a second one): exit code 0 for the latter, no process is left,
    every accepted job completes after the next start, each window is made once, and no submission becomes two jobs."""

    def work(side: int) -> Any:
        luck = luck_of(f"signals {how} {side}")
        folder = tmp_path / str(side)
        folder.mkdir()
        ledger = Ledger(f"side-{side}", steps='{"steps": [["windows", 2], ["sleep", 0.03], ["windows", 3]]}')
        for _ in range(SIGNALS // SIDE_BY_SIDE):
            ended_at_random(folder, ledger, how, luck)
        with serving(folder, **KEEP, WORKER_MAX_CONCURRENT_JOBS="2", WORKER_PROCESSES_PER_GPU="2") as server:
            ledger.check_done(server, folder)
        return ledger

    ledgers = side_by_side(work)
    accepted = sum(len(ledger.accepted) for ledger in ledgers)
    print(f"{SIGNALS} signals ({how}): {accepted} accepted, answers {sum((one.answers for one in ledgers), Counter())}")
    assert accepted >= SIGNALS
