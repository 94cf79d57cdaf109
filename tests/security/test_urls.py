"""S5 and S6: a URL that somebody else names leads the worker nowhere inside, however it is spelled."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from btworker.config import load_settings
from btworker.config.parsing import HostPort
from btworker.delivery.guard import Guard, GuardedResolver
from btworker.errors import BtworkerError, ErrorCode, StartupError
from tests.security.hostile_urls import NAMES, hostile_urls

NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--mount")


@pytest.mark.system("unshare", "ip")
@pytest.mark.timeout(500)
def test_no_url_reaches_a_canary(tmp_path: Path) -> None:
    """More than 300 URLs in each place of a request, and as the target of a redirect, in a network of their own."""
    command = [*NAMESPACE, sys.executable, "-m", "tests.security.url_prison", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=450, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert len(hostile_urls()) > 300
    assert found["reached"] == {}
    assert found["provoked"] == 8, "the canaries do not sing"
    assert found["allowed"] == "complete"
    assert found["rebinds"] >= 2
    assert set(found["ends"]) <= {
        "403 URL_REFUSED",
        "failed URL_REFUSED",
        "failed DOWNLOAD_FAILED",  # a redirect to what is no URL, or to an address outside that does not answer here
        "failed DELIVERY_FAILED",
        "complete",  # the callback alone led inside: it is not told, and the outputs were taken
    }


@pytest.mark.parametrize("url", [url for url in hostile_urls() if not any(f"//{name}/" in url for name in NAMES)])
def test_what_is_wrong_with_a_url_is_seen_before_any_lookup(url: str) -> None:
    """Everything but plain names is refused by its text; most with a 403 to the request that names it."""
    with pytest.raises(BtworkerError) as caught:
        Guard().checked(url)
    assert caught.value.code is ErrorCode.URL_REFUSED


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a/b?expires=1&sig=a%2Fb",
        "http://8.8.8.8:8080/x",
        "https://[2606:4700:4700::1111]/",
        "http://a_b.example.com./",
        "http://xn--bcher-kva.example/",
    ],
)
def test_what_is_outside_is_let_through_as_it_is(url: str) -> None:
    """Signed URLs keep every byte."""
    assert str(Guard().checked(url)) == url


@pytest.mark.parametrize("port", ["+80", "8_0", "-80", "80 ", "0x50", "80a", "999999", "٨٠"])
@pytest.mark.parametrize("host", ["example.com", "8.8.8.8", "[2606:4700:4700::1111]"])
def test_a_port_is_digits(host: str, port: str) -> None:
    """Python's int() would take more."""
    with pytest.raises(BtworkerError) as caught:
        Guard().checked(f"http://{host}:{port}/")
    assert caught.value.code is ErrorCode.URL_REFUSED


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "x.localhost."])
def test_nobody_is_told_to_open_the_workers_own_loopback(host: str) -> None:
    """A controller that says localhost means itself: it has to say so."""
    with pytest.raises(BtworkerError, match="CONTROLLER_BASE_URL") as caught:
        Guard().checked(f"http://{host}:8476/api")
    assert "WORKER_ALLOWED_HOSTS" not in caught.value.message


class Fixed(AbstractResolver):
    """Answers with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "64:ff9b::1", "x"]
)
async def test_one_address_inside_spoils_a_name(inside: str) -> None:
    """A name with two addresses could be tried at either."""
    with pytest.raises(BtworkerError, match="WORKER_ALLOWED_HOSTS"):
        await GuardedResolver(Guard(), Fixed("8.8.8.8", inside)).resolve("name.example", 80)


async def test_what_the_operator_allows_is_exactly_a_host_and_a_port() -> None:
    """Neither another port, nor another name for the same host."""
    guard = Guard([HostPort("controller", 8476), HostPort("10.0.0.5", 80)])
    guard.checked("http://Controller.:8476/x")
    guard.checked("http://10.0.0.5/x")
    resolver = GuardedResolver(guard, Fixed("10.0.0.5"))
    assert len(await resolver.resolve("controller", 8476)) == 1
    with pytest.raises(BtworkerError):
        await resolver.resolve("controller", 80)
    with pytest.raises(BtworkerError):
        guard.checked("http://10.0.0.5:8080/x")


@pytest.mark.parametrize(
    "value", ["controller", "controller:0", "controller:99999", "a b:80", "fd00::5:80", ":80", "u@h:80"]
)
def test_a_host_that_cannot_be_meant_ends_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name."""
    monkeypatch.setenv("WORKER_TOKEN", "x")
    monkeypatch.setenv("WORKER_ALLOWED_HOSTS", f"good:80,{value}")
    with pytest.raises(StartupError, match="WORKER_ALLOWED_HOSTS"):
        load_settings()
