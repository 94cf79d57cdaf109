"""What our rules and dashboards ask of Prometheus: every expression, and the series that it selects."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
_SELECTOR = re.compile(r"\b((?:btworker[_:]|process_|up\b)[\w:]*)\s*(\{[^}]*\})?")


def rules() -> list[dict[str, Any]]:
    """Every rule of deploy/prometheus/rules.yml."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Our Grafana dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "btworker.json").read_text())
    return found


def expressions() -> list[str]:
    """Every expression of the rules and of the dashboard, Grafana's variables filled in."""
    in_panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    filled = [expr.replace("$__rate_interval", "1m").replace("$instance", ".*") for expr in in_panels]
    assert not [expr for expr in filled if "$" in expr]
    return [rule["expr"] for rule in rules()] + filled


def selectors(expression: str) -> list[tuple[str, str]]:
    """(metric, its matchers in braces or "") of everything that an expression selects."""
    return [(found[1], found[2] or "") for found in _SELECTOR.finditer(expression)]
