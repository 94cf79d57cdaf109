"""Three ways to take a large body from its connection, and what each costs: the choice behind receiving/intake.py.

    python bench/receive.py [--gib 2] [--rounds 3] [--blocks 256 1024 2048 8192]

stream    aiohttp's StreamReader, a bytes object for each chunk, as small bodies go
protocol  asyncio.BufferedProtocol under uvloop: the loop reads into our buffers
thread    a thread with recv_into
each without any use of the bytes, and then hashed and written (O_DIRECT) beside receiving the next buffer. Core-seconds
a GiB of the receiving process, user and system; a sender of its own over loopback. With --blocks, sizes in KiB of the
blocks of receiving/intake.py itself instead: what one write, one hash and one switch of threads take.
"""

import argparse
import asyncio
import hashlib
import mmap
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import uvloop
from aiohttp import StreamReader, web
from support import report, spread, workplace

from btworker.receiving import intake
from btworker.receiving.direct_file import DirectFile
from btworker.receiving.wire import Wire

GIB = 1 << 30
BUFFER_BYTES = 1 << 21
WAYS = ("stream", "protocol", "thread")
SENDER = """
import os, socket, sys
data, left = memoryview(os.urandom(8 << 20)), int(sys.argv[2])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(b"POST / HTTP/1.1\\r\\nHost: bench\\r\\nContent-Length: %d\\r\\n\\r\\n" % left)
    while left:
        left -= connection.send(data[: min(left, len(data))])
    connection.recv(100)
"""


class Sink:
    """Where full buffers go: nowhere, or through SHA-256 and to the disk in two threads, two buffers in turn."""

    def __init__(self, target: Path | None) -> None:
        self.hash = hashlib.sha256()
        self._file = None if target is None else os.open(target, os.O_CREAT | os.O_WRONLY | os.O_DIRECT | os.O_TRUNC)
        self._pool = ThreadPoolExecutor(2)
        self._under_way: list[Future[object]] = []

    def take(self, data: memoryview) -> None:
        """Use one buffer; waits for the one before."""
        for future in self._under_way:
            future.result()
        if self._file is not None:
            whole = data[: len(data) & ~4095]
            self._under_way = [
                self._pool.submit(self.hash.update, data),
                self._pool.submit(os.write, self._file, whole),
            ]

    def close(self) -> None:
        """Wait for the last one, and for the disk."""
        self.take(memoryview(b""))
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)


class Buffers(asyncio.BufferedProtocol):
    """Takes `left` bytes into two buffers in turn; a full one goes to the sink, in a thread."""

    def __init__(self, transport: asyncio.Transport, left: int, sink: Sink) -> None:
        self._transport, self._left, self._sink = transport, left, sink
        self._buffers = [memoryview(mmap.mmap(-1, BUFFER_BYTES)) for _ in range(2)]
        self._filled = 0
        self._loop = asyncio.get_running_loop()
        self.done = self._loop.create_future()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as asyncio has it
        """The free part of the buffer at hand."""
        return self._buffers[0][self._filled : min(BUFFER_BYTES, self._filled + self._left)]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand the buffer over once it is full."""
        self._filled += nbytes
        self._left -= nbytes
        if self._filled == BUFFER_BYTES or not self._left:
            full, self._filled = self._buffers[0][: self._filled], 0
            self._buffers.reverse()
            self._transport.pause_reading()
            self._loop.run_in_executor(None, self._sink.take, full).add_done_callback(self._go_on)

    def _go_on(self, taken: "asyncio.Future[None]") -> None:
        taken.result()
        if self._left:
            self._transport.resume_reading()
        else:
            self.done.set_result(None)


async def copy_all(stream: StreamReader, sink: Sink) -> None:
    """Gather the chunks to buffers as the disk wants them."""
    buffers, filled = [memoryview(mmap.mmap(-1, BUFFER_BYTES)) for _ in range(2)], 0
    while chunk := await stream.readany():
        rest = memoryview(chunk)
        while rest:
            taken = min(len(rest), BUFFER_BYTES - filled)
            buffers[0][filled : filled + taken] = rest[:taken]
            filled, rest = filled + taken, rest[taken:]
            if filled == BUFFER_BYTES:
                await asyncio.get_running_loop().run_in_executor(None, sink.take, buffers[0])
                buffers.reverse()
                filled = 0
    sink.take(buffers[0][:filled])


async def in_loop(way: str, sink: Sink, size: int) -> None:
    """One body through aiohttp: `stream`, or `protocol` from the first chunk on."""
    done = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        stream, transport = request.content, request.transport
        stream.set_read_chunk_size(BUFFER_BYTES)
        if way == "stream":
            await copy_all(stream, sink)
        elif transport is not None:
            while stream.read_nowait():
                pass
            protocol = Buffers(transport, size - stream.total_bytes, sink)
            transport.set_protocol(protocol)
            await protocol.done
            transport.set_protocol(request.protocol)
            stream.feed_eof()
        done.set()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        with subprocess.Popen(  # noqa: ASYNC220 - nothing else is in the loop
            [sys.executable, "-c", SENDER, str(listener.getsockname()[1]), str(size)]
        ):
            await done.wait()
        await runner.cleanup()


def in_thread(sink: Sink, size: int) -> None:
    """One body by recv_into."""
    buffers = [memoryview(mmap.mmap(-1, BUFFER_BYTES)) for _ in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = subprocess.Popen([sys.executable, "-c", SENDER, str(listener.getsockname()[1]), str(size)])
        connection, _ = listener.accept()
    with sender, connection:
        left = size - len(connection.recv(4096).partition(b"\r\n\r\n")[2])
        while left:
            filled = 0
            while filled < BUFFER_BYTES and left:
                count = connection.recv_into(buffers[0][filled:])
                filled, left = filled + count, left - count
            sink.take(buffers[0][:filled])
            buffers.reverse()


async def by_intake(target: Path, size: int, block_bytes: int) -> None:
    """One body by the worker's own intake, with blocks of this size."""
    intake.BLOCK_BYTES = block_bytes
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = subprocess.Popen(  # noqa: ASYNC220 - nothing else is in the loop
            [sys.executable, "-c", SENDER, str(listener.getsockname()[1]), str(size)]
        )
        connection, _ = listener.accept()
    with sender, connection, ThreadPoolExecutor(2) as files:
        left = size - len(connection.recv(4096).partition(b"\r\n\r\n")[2])
        wire = Wire(connection, left_bytes=left, idle_s=60.0, on_bytes=lambda _: None)
        file = DirectFile(target, buffer_bytes=block_bytes, reserve_bytes=0)
        await asyncio.to_thread(intake.Intake(wire, file, [hashlib.sha256()], b"", files).run, size)
        file.keep()


def _run_intake(target: Path, size: int, block_bytes: int) -> None:
    uvloop.run(by_intake(target, size, block_bytes))


def sizes(options: argparse.Namespace, folder: Path, size: int) -> None:
    """Each size of a block, interleaved."""
    used: dict[str, list[float]] = {f"{block} KiB": [] for block in options.blocks}
    speeds: dict[str, list[float]] = {name: [] for name in used}
    for _ in range(options.rounds):
        for block, name in zip(options.blocks, used, strict=True):
            start = time.perf_counter()
            seconds = core_s(partial(_run_intake, folder / "body", size, block * 1024))
            speeds[name].append(size / 1e6 / (time.perf_counter() - start))
            used[name].append(seconds / options.gib)
            (folder / "body").unlink()
            print(f"  {name}: {used[name][-1]:.2f} core-s/GiB, {speeds[name][-1]:.0f} MB/s", flush=True)
    rows = [(f"{name}, core-seconds a GiB", spread(values)) for name, values in used.items()]
    rows += [(f"{name}, MB/s", spread(values)) for name, values in speeds.items()]
    result = {f"block_{block}_core_s": statistics.median(used[f"{block} KiB"]) for block in options.blocks}
    report("receive_blocks", rows, result, {"core_s": used, "mb_s": speeds})


def core_s(work: Callable[[], None]) -> float:
    """Seconds of CPU that this process uses for it."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(way: str, target: Path | None, size: int) -> tuple[float, float]:
    """Core-seconds and seconds of one body."""
    sink = Sink(target)

    def work() -> None:
        if way == "thread":
            in_thread(sink, size)
        else:
            uvloop.run(in_loop(way, sink, size))
        sink.close()

    start = time.perf_counter()
    used = core_s(work)
    if target is not None:
        target.unlink()
    return used, time.perf_counter() - start


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--blocks", type=int, nargs="+", help="KiB, multiples of 4")
    options = parser.parse_args()
    size = int(options.gib * GIB)
    if options.blocks:
        with workplace() as folder:
            sizes(options, folder, size)
        return
    used: dict[str, list[float]] = {f"{way}{use}": [] for use in ("", ", hashed and written") for way in WAYS}
    with workplace() as folder:
        for number in range(options.rounds):
            for name, values in used.items():
                way, _, use = name.partition(",")
                seconds, wall_s = measure(way, folder / "body" if use else None, size)
                values.append(seconds / options.gib)
                print(
                    f"  round {number + 1}: {name}: {values[-1]:.2f} core-s/GiB, {size / 1e6 / wall_s:.0f} MB/s",
                    flush=True,
                )
    rows = [(f"{name}, core-seconds a GiB", spread(values)) for name, values in used.items()]
    result = {f"{way}_core_s": statistics.median(used[f"{way}, hashed and written"]) for way in WAYS}
    report("receive", rows, result, used)


if __name__ == "__main__":
    main()
