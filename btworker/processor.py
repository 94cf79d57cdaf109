"""What this machine's processor can do that a setting asks for. Imports no torch: the engine's child asks before it
loads a model, `btworker doctor` says the same words.
"""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Flags of processors that multiply in bfloat16; on others oneDNN takes longer for it than for float32."""


def bfloat16_problem(cpuinfo: Path = CPUINFO) -> str | None:
    """Find out why products in bfloat16 are not for this machine; None where they are."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return "it cannot be told what this processor can do"
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    if BFLOAT16.isdisjoint(flags):
        return f"this processor has no instructions for bfloat16 ({' or '.join(sorted(BFLOAT16))})"
    return None
