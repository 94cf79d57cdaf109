"""`python -m btworker`: the way to start it, since spawned children run a console-script stub again."""

import sys

from btworker.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
