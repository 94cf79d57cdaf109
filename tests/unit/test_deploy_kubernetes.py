"""The manifests for Kubernetes: valid by its own schemas, and in agreement with the image, the settings and the routes.

They are whole without kustomize, which adds a namespace and a tag; where kubectl is, what it renders is looked at too.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from btworker.config import Settings
from btworker.config.server import DEFAULT_PORT
from btworker.web.access import OPEN
from btworker.web.routes import ROUTES

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
BASE = sorted(path for path in (FOLDER / "base").glob("*.yaml") if path.name != "kustomization.yaml")
DOCKERFILE = (ROOT / "worker" / "Dockerfile").read_text()
VERSIONS = ("1.30", "1.35")
LABELS = {"app.kubernetes.io/name": "btworker"}


def read(name: str) -> dict[str, Any]:
    """One file."""
    return dict(yaml.safe_load((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    return dict(read("base/statefulset.yaml")["spec"]["template"]["spec"])


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", BASE, ids=lambda path: path.name)
def test_each_is_what_kubernetes_knows(path: Path, version: str) -> None:
    """No field that it would drop without a word."""
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_a_wrong_field_is_noticed() -> None:
    """The schemas are there, and strict."""
    wrong = read("base/service.yaml")
    wrong["spec"]["sevice"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_all_select_the_same_pods() -> None:
    """The set, the service, the policy, the monitor, and the rule that keeps two from one node."""
    found = read("base/statefulset.yaml")["spec"]
    (rule,) = found["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    selectors = [
        found["selector"]["matchLabels"],
        found["template"]["metadata"]["labels"],
        rule["labelSelector"]["matchLabels"],
        read("base/service.yaml")["spec"]["selector"],
        read("base/networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        read("monitoring/podmonitor.yaml")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [LABELS] * 6


def test_it_agrees_with_the_image(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """User, folders and port; nothing else of the file system is written."""
    uid = int(str(re.search(r"--uid (\d+)", DOCKERFILE)[1]))  # type: ignore[index]
    security = pod["securityContext"]
    assert {security["runAsUser"], security["runAsGroup"], security["fsGroup"]} == {uid}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = re.search(r"^VOLUME (\[.*\])", DOCKERFILE, re.MULTILINE)
    assert volumes
    claims = {claim["metadata"]["name"] for claim in read("base/statefulset.yaml")["spec"]["volumeClaimTemplates"]}
    assert {mounts[path] for path in yaml.safe_load(volumes[1])} == claims
    assert container["ports"] == [{"name": "http", "containerPort": DEFAULT_PORT}]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_it_agrees_with_the_settings(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Each variable is a setting; the drain has its time; no other service sets one; the token is no variable."""
    known = {name for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    values = {item["name"]: item["value"] for item in container["env"]}
    assert values.keys() <= known
    assert "WORKER_TOKEN" not in values
    assert values["WORKER_TOKEN_FILE"].startswith("/run/secrets/btworker/")
    assert pod["terminationGracePeriodSeconds"] > int(values["WORKER_DRAIN_SECONDS"])
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False


def test_probes_ask_open_routes(container: dict[str, Any]) -> None:
    """Without a token; only readiness may say that the model is awaited."""
    open_paths = {route.path for route in ROUTES if route.access == OPEN}
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["path"] for probe in probes.values()} <= open_paths
    assert probes["liveness"]["path"] == probes["startup"]["path"] == "/health/live"
    assert probes["readiness"]["path"] == "/health/ready"
    (endpoint,) = read("monitoring/podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", "http")


def test_every_file_is_named() -> None:
    """A manifest that kustomize does not know is applied by nobody."""
    for folder in ("base", "fleet", "monitoring"):
        names = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
        assert set(read(f"{folder}/kustomization.yaml")["resources"]) == names


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which renders what the tests above look at")
def test_kustomize_renders_it() -> None:
    """Everything, in a namespace, with a tag; what comes out is valid as well."""
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER / "base")], capture_output=True, text=True, check=True)
    found = list(yaml.safe_load_all(done.stdout))
    assert sorted(one["kind"] for one in found) == ["NetworkPolicy", "Service", "StatefulSet"]
    for one in found:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
        assert one["metadata"]["namespace"] == "btworker"
