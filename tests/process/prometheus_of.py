"""A real Prometheus that scrapes a worker with the configuration of deploy/prometheus, and what tests ask of it."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.server_of import TOKEN, busy_port
from tests.waiting import until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **query: str) -> Any:
        """The `data` of an answer of its API; a query that it does not understand fails the test."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query or path}: {error.read().decode()}") from None

    def values(self, query: str) -> list[float]:
        """The values of an instant query's series."""
        return [float(sample["value"][1]) for sample in self.get("query", query=query)["result"]]

    def value(self, query: str) -> float | None:
        """The value of a query with one series; None while there is none."""
        values = self.values(query)
        assert len(values) < 2, query
        return values[0] if values else None

    def answers(self) -> bool:
        """It is up."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                return True
        except OSError:
            return False


@contextmanager
def scraping(folder: Path, worker_url: str, *flags: str, configuration: str = "prometheus.yml") -> Iterator[Prometheus]:
    """Run Prometheus with one of our configurations: address, intervals and flags are the test's."""
    shutil.copy(DEPLOY / "prometheus" / "rules.yml", folder)
    (folder / "btworker.token").write_text(TOKEN + "\n")
    text = (DEPLOY / "prometheus" / configuration).read_text()
    assert "127.0.0.1:8477" in text
    text = text.replace("127.0.0.1:8477", worker_url.removeprefix("http://"))
    (folder / "prometheus.yml").write_text(re.sub(r"_interval: 15s", "_interval: 1s", text))
    with busy_port() as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'metrics'}",
        f"--web.listen-address={address}",
        *flags,
    ]
    with open(folder / "prometheus.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://{address}")
    try:
        until(lambda: prometheus.answers() or process.poll() is not None, within_s=60)
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        process.kill()
        process.wait()
