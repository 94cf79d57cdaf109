"""URLs that lead inside, in every spelling that somebody has tried. All of them aim at port 80 of this machine."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import quote

LOOPBACK, PRIVATE = "127.0.0.1", "10.77.0.1"
INSIDE_V4 = (
    LOOPBACK, PRIVATE, "127.8.8.8", "0.0.0.0", "169.254.169.254", "192.168.7.1", "172.16.0.1", "100.64.0.1",
    "192.0.0.8", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "203.0.113.1",
    "168.63.129.16", "161.26.0.6", "166.9.1.1", "192.80.8.124",
)  # fmt: skip
INSIDE_V6 = (
    "::1", "::", "fd77::1", "fe80::1", "fec0::1", "ff02::1", "0:0:0:0:0:0:0:1", "0000::0001", "2001::1", "100::1",
    "2001:db8::1", "::127.0.0.1", "::7f00:1", "5f00::1", "3fff::1",
)  # fmt: skip
NAMES = (
    "localhost", "localhost.", "LOCALHOST", "ip6-localhost", "inside.test", "inside.test.", "loop.test", "mixed.test",
    "six.test", "mapped.test", "nat64.test", "sixtofour.test", "rebind.test", "private-six.test", "INSIDE.TEST",
)  # fmt: skip
"""Those in .test are in the namespace's own DNS."""


def spellings(address: str) -> Iterator[str]:
    """An IPv4 address as resolvers, browsers and libraries have been known to take it."""
    number = int(ipaddress.IPv4Address(address))
    a, b, c, d = address.split(".")
    octal = [f"0{int(part):o}" for part in (a, b, c, d)]
    hexed = [f"0x{int(part):x}" for part in (a, b, c, d)]
    yield from (
        address,
        f"{address}.",
        str(number),
        f"{number:#x}",
        f"{number:#X}",
        f"0{number:o}",
        str(number + 2**32),
    )
    yield from (
        ".".join(octal),
        ".".join(hexed),
        f"{hexed[0]}.{octal[1]}.{c}.{d}",
        f"{a}.{int(b) << 16 | int(c) << 8 | int(d)}",
    )
    yield from (
        f"{a}.{b}.{int(c) << 8 | int(d)}",
        f"{int(a):03}.{int(b):03}.{int(c):03}.{int(d):03}",
        f"{a}.{b}.{c}.{d}..",
    )
    yield from (f"[::ffff:{address}]", f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]", f"[64:ff9b::{address}]")
    yield from (f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]", f"[::{address}]", f"[64:ff9b:1::{address}]")
    yield from (
        quote(address, safe="").replace(".", "%2E"),
        "".join(chr(ord(x) + 0xFEE0) if x != "." else "。" for x in address),
    )


def tricks(host: str) -> Iterator[str]:
    """One host behind what parsers disagree about."""
    yield from (f"http://example.com@{host}/", f"http://user:pw@{host}/", f"http://{host}#@example.com/")
    yield from (f"http://{host}?@example.com/", f"http://{host}\\@example.com/", f"http://example.com\\@{host}/")
    yield from (f"http://{host}:80:80/", f"http:{host}/", f"http:///{host}/", f"http:/\\{host}/", f"\thttp://{host}/")
    yield from (f"http://{host}\n.example.com/", f"http://{host}%00.example.com/", f"http://{host}%2f@example.com/")
    yield from (f"//{host}/", f"https://{host}:80/", f"HTTP://{host}/", f"http://example.com:80@{host}:80/")
    yield from (
        f"http://{host}:+80/",
        f"http://{host}:8_0/",
        f"http://{host}:-80/",
        f"http://{host}:80.0/",
        f"http://{host}:0x50/",
    )


def others(host: str) -> Iterator[str]:
    """Other schemes."""
    for scheme in ("ftp", "file", "gopher", "dict", "ws", "ldap", "tftp", "jar:http", "javascript", "data"):
        yield f"{scheme}://{host}/etc/passwd"


def hostile_urls() -> list[str]:
    """All of them, each once."""
    hosts = [spelling for address in INSIDE_V4[:10] for spelling in spellings(address)]
    hosts += [
        *INSIDE_V4,
        *(f"[{address}]" for address in INSIDE_V6),
        *NAMES,
        "[::1%25lo]",
        "[fd77::1%25lo]",
        "[fe80::1%lo]",
    ]
    urls = [f"http://{host}/canary" for host in hosts]
    for host in (LOOPBACK, PRIVATE, "[::1]"):
        urls += [*tricks(host), *others(host)]
    return list(dict.fromkeys(urls))
