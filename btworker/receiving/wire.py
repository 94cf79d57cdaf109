"""The rest of a request's body, read from its connection itself, past the HTTP parser. Parent.

A second descriptor of the connection: whoever made it reads no more from the first. The loop reads what stands between
two files (`read`), a thread the files (`receive`).
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from btworker.errors import BtworkerError, ErrorCode

READ_BYTES = 2**16


class Wire:
    """A connection and how many bytes of the body are still to come through it."""

    def __init__(
        self, connection: socket.socket, *, left_bytes: int, idle_s: float, on_bytes: Callable[[int], None]
    ) -> None:
        """`on_bytes` is called in the running loop's thread with the number of each lot of bytes that came."""
        self.left_bytes = left_bytes
        self.is_lost = False
        """The client has ended the connection before the body."""
        self.is_stopped = False
        """`stop` was called: nothing more is wanted."""
        self._connection = connection
        self._holding = threading.Lock()
        """Held while a thread says that it reads, or no more; a descriptor that it reads from is not closed, since its
        number would be another connection's at once."""
        self._is_reading = False
        self._is_closed = False
        self._idle_s = idle_s
        self._on_bytes = on_bytes
        self._uncounted_bytes = 0
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """At most READ_BYTES of what has come; empty at the body's end. Raises IDLE_TIMEOUT, BAD_MULTIPART."""
        if self.left_bytes == 0:
            return b""
        self._check_wanted()
        self._connection.setblocking(False)
        try:
            receiving = self._loop.sock_recv(self._connection, min(READ_BYTES, self.left_bytes))
            chunk = await asyncio.wait_for(receiving, self._idle_s)
        except asyncio.TimeoutError:
            raise idle(self._idle_s) from None
        except OSError:  # reset, or its network is gone
            chunk = b""
        self._took(len(chunk))
        self._count()
        return chunk

    def receive(self, target: memoryview) -> int:
        """Blocking: wait for bytes of the body, at most `target` takes; how many came. Raises as `read` does."""
        with self._reading():
            self._connection.settimeout(self._idle_s)
            try:
                count = self._connection.recv_into(target[: self.left_bytes])
            except TimeoutError:
                raise idle(self._idle_s) from None
            except OSError:  # reset, or its network is gone
                count = 0
        self._took(count)
        return count

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._holding:
            self._check_wanted()
            self._is_reading = True
        try:
            yield
        finally:
            with self._holding:
                self._is_reading = False
                if self._is_closed:
                    self._connection.close()

    def count(self) -> None:
        """From a thread: let `on_bytes` know of what has come since the last time."""
        self._loop.call_soon_threadsafe(self._count)

    def is_left(self) -> bool:
        """Whether the client has ended the connection behind the whole body: nobody else reads, and would see it."""
        if self.left_bytes:
            return self.is_lost
        try:
            self._connection.setblocking(False)
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def drop_behind(self, most_bytes: int) -> None:
        """Drop what has come behind the whole body, without waiting for more: with bytes unread, the close of the
        connection is a reset, which may overtake the answer."""
        with suppress(OSError):
            self._connection.setblocking(False)
            while not self.left_bytes and most_bytes > 0 and (data := self._connection.recv(READ_BYTES)):
                most_bytes -= len(data)

    def stop(self) -> None:
        """Wake a thread that waits in `receive`, which raises; no byte is read after this."""
        self.is_stopped = True
        try:
            self._connection.shutdown(socket.SHUT_RD)
        except OSError:
            self.is_lost = True

    def close(self) -> None:
        """Give the descriptor back, behind the read of a thread; the connection is its first owner's."""
        with self._holding:
            self._is_closed = self.is_stopped = True
            if self._is_reading:
                self.stop()
            else:
                self._connection.close()

    def _check_wanted(self) -> None:
        """Raise BAD_MULTIPART once `stop` was called: the kernel still gives what had come, and what goes on coming."""
        if self.is_stopped:
            raise ended_early()

    def _took(self, count: int) -> None:
        if count == 0:
            self.is_lost = True
            raise ended_early()
        self.left_bytes -= count
        self._uncounted_bytes += count

    def _count(self) -> None:
        count, self._uncounted_bytes = self._uncounted_bytes, 0
        self._on_bytes(count)


def idle(idle_s: float) -> BtworkerError:
    """The refusal of a body whose client went silent."""
    return BtworkerError(ErrorCode.IDLE_TIMEOUT, f"nothing arrived for {idle_s:g} seconds")


def ended_early() -> BtworkerError:
    """The refusal of a body that was cut off."""
    return BtworkerError(ErrorCode.BAD_MULTIPART, "the upload ended before it was complete")


class Receivers:
    """The threads that read large bodies, one each; a body for which none is free goes through the HTTP parser."""

    def __init__(self, *, threads: int, least_bytes: int) -> None:
        """`threads` may be 0: none is ever free. Bodies of less than `least_bytes` are not worth one."""
        self._executor = ThreadPoolExecutor(max(threads, 1), thread_name_prefix="receive")
        self._free = threads
        self._least_bytes = least_bytes

    def take(self, body_bytes: int) -> bool:
        """Whether a body of this size has a thread from now on, until `give_back`."""
        if body_bytes < self._least_bytes or self._free == 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        """The body's thread is free for another one."""
        self._free += 1

    async def run(self, function: Callable[[], None]) -> None:
        """Call a blocking function in a thread that was taken."""
        await asyncio.get_running_loop().run_in_executor(self._executor, function)

    def close(self) -> None:
        """No thread is needed any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
