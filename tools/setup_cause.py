"""Why an installer failed, in one sentence, from what it printed. Pure; setup_env.py prints it last."""

import re

NO_NETWORK = re.compile(
    r"dns error|failed to lookup address|name resolution|name or service not known|network is unreachable"
    r"|no route to host|connection refused|tcp connect error|error sending request",
    re.IGNORECASE,
)
FULL_DISK = re.compile(r"no space left|disk quota exceeded|os error 28\b|errno 28\b", re.IGNORECASE)
WRONG_HASH = re.compile(r"hash mismatch|do not match the hashes", re.IGNORECASE)
NOT_THERE = re.compile(r"no matching distribution|no solution found|not found in the package registry", re.IGNORECASE)
_ERROR = re.compile(r"^\W*(?:error|caused by)\b:?\s*(.+)", re.IGNORECASE | re.MULTILINE)
_INDEX = "if there is a mirror, give it to pip (pip config set global.index-url ...)"
_KNOWN = (
    (FULL_DISK, "the disk is full: free some space, and run the same command again"),
    (
        WRONG_HASH,
        "the index serves another file than the locks name: a broken download, or a mirror that changes files",
    ),
    (NO_NETWORK, "the package index cannot be reached from here; " + _INDEX),
    (NOT_THERE, "the package index does not have what the locks name; " + _INDEX),
)


def is_no_network(output: str) -> bool:
    """Whether another installer would fail for the same reason: nobody can be reached."""
    return NO_NETWORK.search(output) is not None and not FULL_DISK.search(output)


def cause_of(output: str) -> str:
    """Say why, as well as it can be told: a known cause, or the installer's own last error."""
    known = next((sentence for pattern, sentence in _KNOWN if pattern.search(output)), "")
    lines = [line for line in output.splitlines() if line.strip()]
    errors = _ERROR.findall(output) or lines[-1:]
    return known or (errors[-1].strip()[:300] if errors else "it says nothing")
