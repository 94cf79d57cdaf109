"""Where the worker may connect to when somebody else names the URL: nowhere inside, but for what the operator allows.

    url --> checked(url): scheme, host, port, spelling --> GuardedResolver: one lookup, every address looked at
                                                              --> the connection goes to an address that was looked at

A name is looked up once for each connection, so that a DNS server that changes its mind changes nothing. Redirects are
followed by hand (fetch.py), each through the same two checks, or not at all (push.py).
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from btworker.config.parsing import HOST_NAME, HostPort, is_address, normal_host
from btworker.errors import BtworkerError, ErrorCode

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_URL_CHARS = 4096
PORTS = {"http": 80, "https": 443}
_LOOKS_NUMERIC = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)\.?")
"""The last label of what some resolvers take for an IPv4 address: 127.1, 2130706433, 0x7f.0.0.1."""
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_PORT = re.compile(r"(^[^:]*|\])(:[0-9]{0,5})?$")
"""How an authority ends: digits alone, where Python's int() also takes a sign, a blank and an underscore."""
_INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "192.0.0.0/24",  # IETF protocol assignments; Python calls parts of it global
        "192.88.99.0/24",  # 6to4 relays
        # public addresses that mean something inside the network of a provider
        "161.26.0.0/16",  # IBM Cloud's own services
        "166.8.0.0/14",
        "168.63.129.16/32",  # Azure's platform: metadata, keys, agents
        "192.80.8.124/32",  # Equinix Metal's metadata
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64: an IPv4 address of the network's choice
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries an IPv4 address
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",  # site-local, deprecated
    )
)


class Guard:
    """The rules of one worker: everything outside, and the hosts and ports that its operator allows."""

    def __init__(self, allowed: Iterable[HostPort] = ()) -> None:
        self._allowed = frozenset(allowed)

    def allows(self, host: str, port: int) -> bool:
        """The operator named exactly this host and port in WORKER_ALLOWED_HOSTS."""
        return HostPort(normal_host(host), port) in self._allowed

    def checked(self, raw: str, *, what: str = "the URL") -> yarl.URL:
        """The URL, if its text is fine. Raises URL_REFUSED; `what`, a field's name or words, begins the sentence."""

        def refused(why: str) -> BtworkerError:
            param = None if " " in what else what
            return BtworkerError(ErrorCode.URL_REFUSED, f"{what} is refused: {why}", param=param)

        if len(raw) > MAX_URL_CHARS or not raw.isascii() or any(c <= " " or c in '\x7f\\"<>^`{|}' for c in raw):
            raise refused(f"it is no plain ASCII URL of at most {MAX_URL_CHARS} characters")
        authority = _AUTHORITY.match(raw)
        if authority is None:
            raise refused("only http:// and https:// are fetched")
        if "@" in authority[1] or "%" in authority[1]:
            raise refused("its host must stand alone, without a user or an escape")
        if not _PORT.search(authority[1]):
            raise refused("its port is no number from 1 to 65535")
        try:
            url = yarl.URL(raw, encoded=True)
            host, port = url.raw_host or "", url.port or 0
        except ValueError:
            raise refused("it cannot be read") from None
        if not 1 <= port <= 65535:
            raise refused("its port is no number from 1 to 65535")
        if problem := self._problem(host, port):
            raise refused(problem)
        return url

    def _problem(self, host: str, port: int) -> str:
        """What is wrong with a URL's host; empty where nothing is."""
        if self.allows(host, port):
            return ""
        if is_address(host):
            return "" if is_outside(ipaddress.ip_address(host)) else _inside(host, port)
        if _is_this_machine(host):
            return _inside(host, port)
        if _LOOKS_NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return "its host is a number, but no IPv4 address of four decimal parts"
        return "" if HOST_NAME.fullmatch(host) and len(host) <= 253 else "its host is no name"


class GuardedResolver(AbstractResolver):
    """Looks names up, and gives aiohttp only addresses outside; all of them must be."""

    def __init__(self, guard: Guard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises URL_REFUSED where one address is inside; OSError where there is none."""
        found = await self._inner.resolve(host, port, family)
        if not self._guard.allows(host, port) and not all(
            is_address(item["host"]) and is_outside(ipaddress.ip_address(item["host"])) for item in found
        ):
            raise BtworkerError(ErrorCode.URL_REFUSED, f"the URL is refused: {_inside(host, port)}")
        return found

    async def close(self) -> None:
        """Of aiohttp's interface."""
        await self._inner.close()


def is_outside(address: Address) -> bool:
    """A public unicast address that hides no other one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            return is_outside(address.ipv4_mapped)
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return False
    return not any(address in network for network in _INSIDE if network.version == address.version)


def _inside(host: str, port: int) -> str:
    if _is_this_machine(host):  # what is meant is seldom this machine, which nobody is to open by a sentence of ours
        return (
            f"{host} is the worker's own machine; name the one that is meant as the worker reaches it (a Bulk "
            "Transcribe controller: CONTROLLER_BASE_URL)"
        )
    return (
        f"{host} is not on the public internet; the operator can allow exactly this host with "
        f"WORKER_ALLOWED_HOSTS={f'[{host}]' if ':' in host else host}:{port}"
    )


def _is_this_machine(host: str) -> bool:
    if is_address(host):
        return ipaddress.ip_address(host).is_loopback
    return normal_host(host) == "localhost" or normal_host(host).endswith(".localhost")
