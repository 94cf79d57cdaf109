"""Boxes as Ray knows them: a node with GPUs, or with the resource `btworker_box`, is one, and an actor on it speaks for
it. Runs in the gateway; the only module beside ray_actor.py that imports ray.

Ray knows who is there, starts actors and carries records. It never sees audio, and nothing is lost with it.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from btworker import __version__
from btworker.fleet.gateway import BoxLink, ClusterError, OtherReleaseError, cannot_enter
from btworker.fleet.ray_actor import BoxActor
from btworker.fleet.records import BoxCommand, BoxWord, NotStarted

NAMESPACE = "btworker"
BOX_RESOURCE = "btworker_box"
"""Makes a box of a node without GPUs: ray start --resources '{"btworker_box": 1}'."""
SAME_NAME_S = 60.0
"""Seconds after which a second node of one name is a second box; Ray notices the death of one in half of it."""
_ODD = re.compile(r"[^A-Za-z0-9._-]")


class RayCluster:
    """Implements gateway.Cluster. `address` is that of the cluster's head, or auto."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._links: dict[str, RayBox] = {}
        """By the id of the node: a machine that comes again is another node."""
        self._seen: dict[str, float] = {}
        """When each node was first seen, in seconds of the monotonic clock."""

    async def connect(self) -> str:
        """Enter the cluster as its driver; returns this machine's address. Raises ClusterError."""
        try:
            ray.init(self._address, namespace=NAMESPACE, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            ray.shutdown()
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise ClusterError(cannot_enter(self._address, first)) from None
        return str(ray.util.get_node_ip_address())

    async def boxes(self) -> Mapping[str, BoxLink]:
        """The boxes that are there now, by name. Raises ClusterError."""
        try:
            known = await asyncio.to_thread(ray.nodes)
        except (ConnectionError, RuntimeError, RayError) as error:
            raise ClusterError(f"the cluster's head does not answer any more ({type(error).__name__})") from None
        nodes = [node for node in known if node["Alive"] and _is_box(node)]
        now = time.monotonic()
        self._seen = {node["NodeID"]: self._seen.get(node["NodeID"], now) for node in nodes}
        self._links = {node["NodeID"]: link for node in nodes if (link := self._link(node, nodes)) is not None}
        return {link.name: link for link in self._links.values()}

    def _link(self, node: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> "RayBox | None":
        """The link to a box; None while it may be one come again, whose earlier self Ray does not know to be dead."""
        known = self._links.get(node["NodeID"])
        if known is not None:
            return known
        if _shares_name(node, nodes) and time.monotonic() - self._seen[node["NodeID"]] < SAME_NAME_S:
            return None
        return RayBox(node, _name(node, nodes))


class RayBox:
    """Implements gateway.BoxLink: the actor on one node, which is made where there is none."""

    def __init__(self, node: Mapping[str, Any], name: str) -> None:
        self.name = name
        self._node = node
        self._actor: Any = None
        self._is_read = asyncio.Event()
        """The box's words are for this reader: an answer to a command cannot go to the one before it."""

    async def send(self, command: BoxCommand) -> None:
        """Hand a command over. Raises ClusterError."""
        await self._is_read.wait()
        try:
            await self._on_node().take.remote(command)
        except RayError as error:
            raise ClusterError(_why(error)) from None

    async def words(self) -> AsyncIterator[BoxWord | NotStarted]:
        """What the box says, once it is known to be of this release: else records may differ. Raises ClusterError."""
        try:
            release = await self._on_node().release.remote()
            if release != __version__:
                raise OtherReleaseError(
                    f"takes no jobs: it has btworker {release}, and the front end {__version__}; "
                    "give both the same (docs/fleet.md, Upgrade)"
                )
            self._is_read.set()
            async for reference in self._on_node().words.options(num_returns="streaming").remote():
                yield await reference
        except RayError as error:
            self._actor = None
            raise ClusterError(_why(error)) from None
        finally:
            self._is_read.clear()

    def _on_node(self) -> Any:
        if self._actor is None:
            node_id = self._node["NodeID"]
            remote = ray.remote(BoxActor).options(
                name=f"box-{node_id}",
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
                max_restarts=-1,
                max_task_retries=0,
                num_cpus=0,
                num_gpus=self._node["Resources"].get("GPU", 0),
            )
            self._actor = remote.remote(self.name)
        return self._actor


def _is_box(node: Mapping[str, Any]) -> bool:
    return bool(node["Resources"].get("GPU") or node["Resources"].get(BOX_RESOURCE))


def _name(node: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> str:
    """The node's name (ray start --node-name, else its address), with part of its id where several share one."""
    name = _ODD.sub("-", str(node.get("NodeName") or node["NodeManagerAddress"]))[:48]
    return f"{name}-{node['NodeID'][:6]}" if _shares_name(node, nodes) else name


def _shares_name(node: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> bool:
    return len([other for other in nodes if other.get("NodeName") == node.get("NodeName")]) > 1


def _why(error: RayError) -> str:
    return f"ended or cannot be reached any more ({type(error).__name__})"
