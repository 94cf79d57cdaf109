"""The manifests of a fleet: valid by Kubernetes' schemas and by the fields of KubeRay's API reference, and in agreement
with the image, the settings, Ray's lock and each other.

KubeRay's own schema is in no package. The pod templates of a RayCluster are Kubernetes'; all else that is used of it is
in FIELDS.
"""

import re
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
FOLDER = ROOT / "deploy" / "kubernetes" / "fleet"
PLAIN = ("networkpolicy.yaml", "service.yaml", "volumes.yaml")
VERSIONS = ("1.30", "1.35")
GROUP = {"rayStartParams": dict, "template": dict, "labels": dict, "resources": dict}
FIELDS: dict[str, dict[str, type]] = {
    "RayCluster": {"apiVersion": str, "kind": str, "metadata": dict, "spec": dict},
    "RayClusterSpec": {
        "authOptions": dict,
        "headGroupSpec": dict,
        "rayVersion": str,
        "suspend": bool,
        "workerGroupSpecs": list,
        "enableInTreeAutoscaling": bool,
    },
    "AuthOptions": {"mode": str, "secretName": str, "enableK8sTokenAuth": bool},
    "HeadGroupSpec": {**GROUP, "serviceType": str, "headService": dict, "enableIngress": bool},
    "WorkerGroupSpec": {
        **GROUP,
        "groupName": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "numOfHosts": int,
        "suspend": bool,
    },
}
"""Of ray.io/v1, as KubeRay's API reference has them (1.6 and newer)."""


def read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return dict(read("raycluster.yaml")["spec"])


@pytest.fixture(scope="module")
def pods(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The two kinds of pod."""
    (group,) = spec["workerGroupSpecs"]
    return {"head": spec["headGroupSpec"]["template"], "box": group["template"]}


def containers(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {container["name"]: container for container in pod["spec"]["containers"]}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item.get("value") for item in container["env"]}


def unknown(kind: str, found: dict[str, Any]) -> list[str]:
    """Fields that KubeRay does not have, or has as something else."""
    return [name for name, value in found.items() if not isinstance(value, FIELDS[kind].get(name, ()))]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PLAIN)
def test_each_is_what_kubernetes_knows(name: str, version: str) -> None:
    """No field that it would drop without a word."""
    kubernetes_validate.validate(read(name), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["head", "box"])
def test_each_pod_is_one(pods: dict[str, dict[str, Any]], kind: str, version: str) -> None:
    """A template is a pod's metadata and spec."""
    pod = {"apiVersion": "v1", "kind": "Pod", **pods[kind]}
    kubernetes_validate.validate(pod, version, strict=True)
    wrong = {**pod, "spec": {**pod["spec"], "container": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_the_cluster_has_fields_of_kuberays(spec: dict[str, Any]) -> None:
    """Each of them, with its type; parameters of `ray start` are text (tests/fleet/test_ray_start.py asks Ray)."""
    cluster = read("raycluster.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert unknown("RayCluster", cluster) == unknown("RayClusterSpec", spec) == []
    assert unknown("AuthOptions", spec["authOptions"]) == unknown("HeadGroupSpec", spec["headGroupSpec"]) == []
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for group in spec["workerGroupSpecs"]:
        assert unknown("WorkerGroupSpec", group) == []
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert unknown("WorkerGroupSpec", {"groupname": "boxes", "replicas": "3"}) == ["groupname", "replicas"]


def test_rays_release_is_that_of_the_image(spec: dict[str, Any]) -> None:
    """Front end and boxes must have the same one: that of the lock."""
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "locks" / "ray.in").read_text()


def test_rays_ports_want_the_token(spec: dict[str, Any], pods: dict[str, dict[str, Any]]) -> None:
    """KubeRay gives it to the first container; the front end beside it has the same; the policy shuts out the rest."""
    assert spec["authOptions"] == {"mode": "token", "secretName": "btworker-ray"}
    front = containers(pods["head"])["front-end"]
    (token,) = [item for item in front["env"] if item["name"] == "RAY_AUTH_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "btworker-ray", "key": "auth_token"}}
    assert environment(front)["RAY_AUTH_MODE"] == "token"
    to_api, among_pods = read("networkpolicy.yaml")["spec"]["ingress"]
    assert to_api["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert among_pods == {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "btworker"}}}]}


def test_all_select_the_same_pods(pods: dict[str, dict[str, Any]]) -> None:
    """The policy all of them, the service the front end alone, and no two boxes share a node."""
    labels = {kind: pod["metadata"]["labels"] for kind, pod in pods.items()}
    selected = read("networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"]
    assert all(selected.items() <= found.items() for found in labels.values())
    selector = read("service.yaml")["spec"]["selector"]
    assert selector.items() <= labels["head"].items() and not selector.items() <= labels["box"].items()
    affinity = pods["box"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity[0]["labelSelector"]["matchLabels"].items() <= labels["box"].items()
    claim = [volume for volume in pods["head"]["spec"]["volumes"] if volume["name"] == "data"]
    assert claim[0]["persistentVolumeClaim"]["claimName"] == read("volumes.yaml")["metadata"]["name"]


def test_front_end_and_boxes_agree(pods: dict[str, dict[str, Any]]) -> None:
    """The same image, model and user; each variable is a setting of btworker's, or one that Ray reads."""
    front, box = containers(pods["head"])["front-end"], containers(pods["box"])["box"]
    everything = [*containers(pods["head"]).values(), box]
    assert len({container["image"] for container in everything}) == 1
    assert environment(front)["WORKER_MODEL"] == environment(box)["WORKER_MODEL"]
    assert environment(box)["RAY_worker_niceness"] == "0"
    known = {name for field in Settings.model_fields.values() for name in field.validation_alias.choices}  # type: ignore[union-attr]
    quick = {"RAY_gcs_rpc_server_reconnect_timeout_s", "RAY_health_check_period_ms"}
    for container in everything:
        assert environment(container).keys() <= known | quick | {"RAY_AUTH_TOKEN", "RAY_worker_niceness"}
        assert quick <= environment(container).keys()
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    uid = int(str(re.search(r"--uid (\d+)", (ROOT / "worker" / "Dockerfile").read_text())[1]))  # type: ignore[index]
    for pod in pods.values():
        assert {pod["spec"]["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {uid}
        assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["enableServiceLinks"] is False
    assert pods["head"]["spec"]["terminationGracePeriodSeconds"] > int(environment(front)["WORKER_DRAIN_SECONDS"])


def test_the_first_container_is_rays(pods: dict[str, dict[str, Any]], spec: dict[str, Any]) -> None:
    """KubeRay puts `ray start` there; its own probes would ask an agent that the image lacks, so each has others."""
    for kind, port in (
        ("head", 6379),
        ("box", int(spec["workerGroupSpecs"][0]["rayStartParams"]["node-manager-port"])),
    ):
        first = pods[kind]["spec"]["containers"][0]
        ports = {entry["name"]: entry["containerPort"] for entry in first["ports"]}
        for probe in ("livenessProbe", "readinessProbe"):
            assert ports[first[probe]["tcpSocket"]["port"]] == port
        assert "command" not in first and "args" not in first
    assert spec["headGroupSpec"]["rayStartParams"]["num-gpus"] == "0"


def test_the_front_end_is_beside_the_head(pods: dict[str, dict[str, Any]]) -> None:
    """It is in the cluster by Ray's sockets, so they share /tmp; its ports and probes are the worker's own."""
    found = containers(pods["head"])
    shared = {
        name: {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for name, container in found.items()
    }
    assert shared["ray-head"]["/tmp"] == shared["front-end"]["/tmp"]
    front = found["front-end"]
    ports = {port["name"]: port["containerPort"] for port in front["ports"]}
    assert ports == {"http": DEFAULT_PORT, "fleet": Settings.model_fields["fleet_port"].default}
    open_paths = {route.path for route in ROUTES if route.access == OPEN}
    for probe in ("startupProbe", "livenessProbe"):
        assert front[probe]["httpGet"] == {"path": "/health/live", "port": "http"}
        assert front[probe]["httpGet"]["path"] in open_paths
    assert "readinessProbe" not in front
