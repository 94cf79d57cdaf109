"""`btworker serve`, whose event loop a test can stop: SIGUSR1 holds the main thread until the first file is there.

Python runs a signal's handler in the main thread between two steps of the program, so that the loop stands still as
it would in any call that blocks, while the process and its other threads live on.

    python blockable_serve.py <file that ends the block> <arguments of btworker serve …>
"""

import signal
import sys
import time
from pathlib import Path

from btworker.cli.main import main


def block(_number: int, _frame: object) -> None:
    """Keep the loop's thread until the file appears; a second file says that it is kept."""
    end = Path(sys.argv[1])
    end.with_suffix(".blocked").touch()
    while not end.exists():
        time.sleep(0.01)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, block)
    sys.exit(main(["serve", *sys.argv[2:]]))
