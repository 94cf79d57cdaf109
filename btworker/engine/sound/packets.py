"""Bytes from ffmpeg's pipe -> packets of samples, each with its time. Runs in the child.

Bare samples would show neither where ffmpeg's input has gaps, nor whether the last one is there. SMJPEG is the smallest
container that ffmpeg writes: 12 bytes before each packet (a name, milliseconds, a length), and a mark at its end.
"""

import struct
from collections.abc import Iterator

MAGIC = b"\0\nSMJPEG"
HEADER_BYTES = len(MAGIC) + 8
PACKET, END_OF_HEADER, END = b"sndD", b"HEND", b"DONE"
SOUND = b"_SND"
CHANNELS_AT = 11
"""Byte of the sound's header that has the number of channels."""


class PacketReader:
    """Reader of a stream that comes in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_header = True
        self.channels = 1
        """Number of channels, once the header has come."""
        self.ended = False
        """Whether the mark at the end has come, so that no packet is missing."""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the packets that are complete by now: (milliseconds modulo 2^32, 16-bit samples).

        Raises ValueError where the bytes are no such stream.
        """
        self._buffer += data
        at = self._skip_header() if self._in_header else 0
        while not self._in_header and len(self._buffer) >= at + 4:
            name = self._buffer[at : at + 4]
            if name == END:
                self.ended = True
                break
            if name != PACKET:
                raise ValueError(f"an unknown packet {bytes(name)!r}")
            if len(self._buffer) < at + 12:
                break
            milliseconds, size = struct.unpack_from(">II", self._buffer, at + 4)
            if len(self._buffer) < at + 12 + size:
                break
            yield milliseconds, bytes(self._buffer[at + 12 : at + 12 + size])
            at += 12 + size
        del self._buffer[:at]

    def _skip_header(self) -> int:
        """Find where the first packet begins; 0 while that is not known."""
        if not self._buffer.startswith(MAGIC[: len(self._buffer)]):
            raise ValueError("no stream of packets")
        at = HEADER_BYTES
        while len(self._buffer) >= at + 4:
            if self._buffer[at : at + 4] == END_OF_HEADER:
                self._in_header = False
                return at + 4
            if len(self._buffer) < at + 8:
                break
            if self._buffer[at : at + 4] == SOUND and len(self._buffer) > at + CHANNELS_AT:
                self.channels = self._buffer[at + CHANNELS_AT]
            at += 8 + struct.unpack_from(">I", self._buffer, at + 4)[0]
        return 0
