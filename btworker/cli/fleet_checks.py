"""The doctor's look at a fleet, where WORKER_POOL=ray: whether Ray is here, whether the cluster lets this machine in,
and whether the port is free that boxes fetch from."""

import subprocess
import sys
from collections.abc import Iterator

from btworker.cli.checks import Check, Verdict, port_check
from btworker.cli.version import installed
from btworker.config import Settings

PATIENCE_S = 30.0
"""Ray itself gives up sooner."""
WRONG_TOKEN = "AuthenticationError"  # noqa: S105 - what Ray calls it
HEALTH_CHECK = (sys.executable, "-m", "ray.scripts.scripts", "health-check")
"""Ray's own command, which is not on the PATH of every environment."""


def fleet_checks(settings: Settings) -> Iterator[Check]:
    """Nothing where there is no fleet."""
    if settings.pool != "ray":
        return
    version = installed("ray")
    if version is None:
        found = "not installed in this environment, and WORKER_POOL=ray needs it"
        yield Check("Ray", Verdict.FAIL, found, "install the extra `ray`, the same release on each box (docs/fleet.md)")
        return
    yield _cluster(settings, version)
    host, port = settings.fleet_host, settings.fleet_port
    yield port_check(settings, "fleet port", host, port, ("WORKER_FLEET_HOST", "WORKER_FLEET_PORT"))


def _cluster(settings: Settings, version: str) -> Check:
    where = f"Ray {version}, cluster {settings.ray_address}"
    address = [] if settings.ray_address == "auto" else ["--address", settings.ray_address]
    try:
        asked = subprocess.run(
            [*HEALTH_CHECK, *address], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return Check("Ray", Verdict.FAIL, f"{where}: no answer within {PATIENCE_S:.0f} s", "see the head's `ray start`")
    if asked.returncode == 0:
        return Check("Ray", Verdict.OK, f"{where} lets this machine in")
    if WRONG_TOKEN in asked.stderr + asked.stdout:
        mend = "RAY_AUTH_MODE=token, and the head's token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
        return Check("Ray", Verdict.FAIL, f"{where}: it wants another token", mend)
    mend = "start the head (`ray start --head`, or its unit), or set WORKER_RAY_ADDRESS"
    return Check("Ray", Verdict.FAIL, f"{where}: nobody answers", mend)
