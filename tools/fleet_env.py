"""Set up what a fleet on Ray needs beside a stack, in an environment of its own: plain installs have no Ray.

Ray comes from locks/ray.txt; all else is the stack's own (tools/beside_stack.py). Standard library only, as
setup_env.py.
"""

from __future__ import annotations

import sys

import beside_stack
import setup_env


def main() -> int:
    """Bring the fleet's environment up to date; return the exit status."""
    options = beside_stack.options(__doc__)
    if sys.version_info < (3, 11):
        print("make: Ray's lock is for Python 3.11 and newer (locks/ray.in)", file=sys.stderr)
        return 1
    try:
        beside_stack.prepare(options.stack_venv, options.venv, lock="ray", what="Ray, for a fleet of boxes")
    except setup_env.SetupError as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
