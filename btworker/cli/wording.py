"""Numbers and names as people read them on a terminal. Pure."""

MIB = 2**20


def megabytes(size_bytes: float) -> str:
    """ "7 KB", "1.3 MB", "12 MB", "6.0 GB"; a megabyte is 2^20 bytes, as in the worker's settings."""
    if size_bytes < MIB:
        return f"{size_bytes / 1024:.0f} KB"
    if size_bytes >= 1000 * MIB:
        return f"{size_bytes / MIB / 1024:.1f} GB"
    return f"{size_bytes / MIB:.{1 if size_bytes < 10 * MIB else 0}f} MB"


def clock(seconds: float) -> str:
    """ "0:07", "12:34", "1:02:03"."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def times(factor: float) -> str:
    """How many times faster than real time: "0.8x", "25x"."""
    return f"{factor:.1f}x" if factor < 10 else f"{factor:.0f}x"


def printable(text: str) -> str:
    """The text without what could move a terminal's cursor or fake a line: names may come from anyone."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the middle left out, so that the end of a file name stays visible."""
    clean = printable(text)
    if len(clean) <= width:
        return clean
    tail = (width - 1) // 2
    return f"{clean[: width - 1 - tail]}…{clean[len(clean) - tail :]}"
