"""A real Prometheus scrapes a real worker through a few jobs, and its answers are right."""

import json
import re
from pathlib import Path

import pytest

from tests import promql
from tests.process.prometheus_of import Prometheus, scraping
from tests.process.server_of import Server, serving
from tests.waiting import until

pytestmark = [pytest.mark.serial, pytest.mark.system("prometheus"), pytest.mark.timeout(300)]
DRIVER_METRICS = "up memory_used_bytes memory_total_bytes utilization_ratio temperature_celsius".split()
GPU_METRICS = {f"btworker_gpu_{name}" for name in DRIVER_METRICS}
"""What a machine without a GPU does not expose; tests/http/test_metrics.py sees them all with a driver's stand-in."""
BOX_METRICS = {f"btworker_box_{name}" for name in ("up", "jobs", "slots", "drained", "refused")}
ELSEWHERE = GPU_METRICS | BOX_METRICS | {"btworker_fleet_boxes"}
"""What this worker has no series of: it has no GPU, and no fleet (tests/http/test_boxes.py)."""


def run_jobs(server: Server, *, gate: Path) -> None:
    """Four jobs that complete (one in its second attempt), two that fail, and one that runs until the gate is there."""
    good = [server.submit() for _ in range(3)]
    lost = server.submit(["windows", 1], ["on_attempt", 1, ["signal", "SIGKILL"]])
    bad = [server.submit(["fail", "NO_AUDIO", "no sound"]), server.submit(["raise", "boom"])]
    assert [server.ended(job)["status"] for job in (*good, lost, *bad)] == [*["complete"] * 4, *["failed"] * 2]
    server.submit(["wait_file", str(gate)])
    server.submit()


def test_prometheus_sees_the_jobs(tmp_path: Path) -> None:
    """Counters, histograms, gauges and rules through PromQL, scraped with the token that the worker wants."""
    settings = {"WORKER_METRICS_PUBLIC": "false", "WORKER_MODEL": "slow", "WORKER_MODELS": "slow"}
    with (
        serving(tmp_path, **settings) as server,
        scraping(tmp_path, server.url, configuration="prometheus-token.yml") as prometheus,
    ):
        until(lambda: prometheus.value("btworker_ready") == 0)
        assert server.request("GET", "/health/ready")[0] == 503
        (tmp_path / "data" / "scratch" / "go").touch()
        run_jobs(server, gate=tmp_path / "gate")
        until(lambda: prometheus.value('btworker_jobs{state="running"}') == 1)
        until(lambda: (prometheus.value("btworker:queue_age_seconds") or 0) > 0)
        assert_answers(prometheus)
        assert_rules(prometheus)
        assert_expressions(prometheus)
        (tmp_path / "gate").touch()
        until(lambda: prometheus.value("sum(btworker_jobs)") == 0)
        until(lambda: prometheus.value("btworker:queue_age_seconds") == 0)


def assert_answers(prometheus: Prometheus) -> None:
    """What an operator asks."""
    for query, expected in {
        'up{job="btworker"}': 1,
        "btworker_ready": 1,
        'btworker_worker_up{gpu="cpu"}': 1,
        'btworker_jobs_total{outcome="complete"}': 4,
        'btworker_jobs_total{outcome="failed", reason="input"}': 1,
        'btworker_jobs_total{outcome="failed", reason="internal"}': 1,
        'btworker_worker_restarts_total{reason="worker_crash"}': 1,
        'btworker_jobs{state="queued"}': 1,
        'btworker_uploads_total{outcome="accepted"}': 8,
        "btworker_job_queue_seconds_count": 7,
        "btworker_audio_seconds_total": 4 * 30,
        'sum(btworker_job_duration_seconds_count{stage="transcribing"})': 4,
        'btworker_http_requests_total{route="/v1/jobs", method="POST", code="201"}': 8,
        "time() - btworker_worker_last_progress_timestamp_seconds < bool 600": 1,
        'btworker_log_messages_total{level="error"} >= bool 1': 1,
    }.items():
        until(lambda: prometheus.value(query) == expected, within_s=30)  # noqa: B023 - called at once
    assert prometheus.value("histogram_quantile(0.5, sum by (le) (btworker_realtime_factor_bucket))") is not None
    assert prometheus.value("count({job='btworker', __name__!~'btworker:.*'})") < 500


def assert_rules(prometheus: Prometheus) -> None:
    """Prometheus has evaluated each of them without an error, and none fires."""

    def loaded() -> list[dict[str, str]]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in loaded()))
    assert len(loaded()) == len(promql.rules())
    assert [rule["name"] for rule in loaded() if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in loaded() if rule.get("state") == "firing"] == []


def assert_expressions(prometheus: Prometheus) -> None:
    """Whatever rules and dashboard select is there, labels and all: a renamed metric or label fails here."""
    known = set(prometheus.get("label/__name__/values")) | ELSEWHERE
    for expression in promql.expressions():
        prometheus.values(expression)
        for name, matchers in promql.selectors(expression):
            assert name in known, (name, expression)
            there = matchers.replace(', code!="503"', "")  # the only 5xx that a healthy worker has answered
            assert name in ELSEWHERE or prometheus.values(f"count({name}{there})"), (name, matchers, expression)


def test_prometheus_needs_no_token_by_default(tmp_path: Path) -> None:
    """The configuration without a token works with a worker as it comes."""
    with (
        serving(tmp_path) as server,
        scraping(tmp_path, server.url, configuration="prometheus.yml") as prometheus,
    ):
        until(lambda: prometheus.value('up{job="btworker"}') == 1)


def test_a_worker_that_wants_a_token_is_down_without_it(tmp_path: Path) -> None:
    """up is 0, and the target's page says 401."""
    with (
        serving(tmp_path, WORKER_METRICS_PUBLIC="false") as server,
        scraping(tmp_path, server.url, configuration="prometheus.yml") as prometheus,
    ):
        until(lambda: prometheus.value('up{job="btworker"}') == 0)
        (target,) = prometheus.get("targets")["activeTargets"]
        assert re.search("401", json.dumps(target["lastError"]))
