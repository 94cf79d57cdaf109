"""deploy/prometheus and deploy/grafana: valid, tested, and each alert with an entry in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import promql

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
ALERTS = [rule for rule in promql.rules() if "alert" in rule]


def promtool(*arguments: str, folder: Path) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.system("promtool")
@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-token.yml"])
def test_the_configurations_are_valid(tmp_path: Path, name: str) -> None:
    """With the rules that they load and the token that one of them reads."""
    folder = Path(shutil.copytree(PROMETHEUS, tmp_path / "prometheus"))
    (folder / "btworker.token").write_text("a-token\n")
    promtool("check", "config", name, folder=folder)


@pytest.mark.system("promtool")
def test_the_rules_do_what_they_say() -> None:
    """promtool's own unit tests of the rules."""
    promtool("test", "rules", "rules_test.yml", folder=PROMETHEUS)


def test_every_rule_is_tested() -> None:
    """An alert when it fires and when it does not; a record by its value."""
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    checks = [check for test in tests for check in test.get("alert_rule_test", ())]
    for fires in (True, False):
        tested = {check["alertname"] for check in checks if bool(check["exp_alerts"]) is fires}
        assert tested == {rule["alert"] for rule in ALERTS}
    recorded = {check["expr"] for test in tests for check in test.get("promql_expr_test", ())}
    assert recorded == {rule["record"] for rule in promql.rules() if "record" in rule}


@pytest.mark.parametrize("rule", ALERTS, ids=[rule["alert"] for rule in ALERTS])
def test_every_alert_leads_to_its_runbook_entry(rule: dict[str, Any]) -> None:
    """By the anchor that the heading gets, and the entry answers the three questions of whoever was woken."""
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    entries = re.split(r"^## ", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)
    (entry,) = [text for text in entries if text.startswith(rule["alert"] + "\n")]
    assert all(f"**{question}" in entry for question in ("What it means", "Look at", "Do"))


def test_the_runbook_has_no_entry_without_an_alert() -> None:
    headings = re.findall(r"^## (Btworker\w+)$", (ROOT / "docs" / "runbook.md").read_text(), flags=re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]


def test_the_dashboard_is_well_formed() -> None:
    """Ids are unique, panels lie in the grid without overlap, each has a title, and asks the chosen data source."""
    board = promql.dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["title"]
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
    targets = [target for panel in panels for target in panel.get("targets", ())]
    assert targets
    assert {target["datasource"]["uid"] for target in targets} == {"${datasource}"}
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "instance"}
    assert all('instance=~"$instance"' in target["expr"] for target in targets)


def test_grafana_finds_source_and_dashboard() -> None:
    """The provisioning files are what Grafana expects."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/btworker.yml").read_text())["providers"]
    assert provider["type"] == "file"


def test_every_metric_is_explained() -> None:
    """docs/metrics.md names what rules and dashboard use, and nothing by another name."""
    explained = set(re.findall(r"`(btworker[_:]\w[\w:]*)", (ROOT / "docs" / "metrics.md").read_text()))
    used = {name for expression in promql.expressions() for name, _ in promql.selectors(expression)}
    used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used if name.startswith("btworker")}
    assert used <= explained
