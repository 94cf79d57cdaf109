"""Counts this process's log lines by level, as a handler beside the one that writes them. Parent only."""

import logging
from collections import Counter

LEVELS = ("debug", "info", "warning", "error", "critical")


class LogLines(logging.Handler):
    """Add it to the root logger; structlog's lines pass there as well. `counts` has every level from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter(dict.fromkeys(LEVELS, 0))

    def emit(self, record: logging.LogRecord) -> None:
        """Count one line; a level of somebody's own counts as the next lower one of ours."""
        name = next((name for name in reversed(LEVELS) if record.levelno >= getattr(logging, name.upper())), "debug")
        self.counts[name] += 1
