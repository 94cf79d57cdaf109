"""Set up what `make bench` compares with, in an environment of its own: the product depends on none of it.

faster-whisper and transformers come from locks/bench.txt; torch is the stack's own (tools/beside_stack.py). Standard
library only, as setup_env.py.
"""

from __future__ import annotations

import sys

import beside_stack
import setup_env

WHAT = "faster-whisper, transformers and Starlette, for the benches alone"


def main() -> int:
    """Bring the peers' environment up to date; return the exit status."""
    options = beside_stack.options(__doc__)
    try:
        beside_stack.prepare(options.stack_venv, options.venv, lock="bench", what=WHAT)
    except setup_env.SetupError as error:
        print(f"make: {error}; the bench runs without these peers", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
