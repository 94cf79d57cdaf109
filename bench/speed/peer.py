"""A peer in a process of its own, faster-whisper or transformers, with the weights of the parent's folder.

    python bench/speed/peer.py    requests on stdin and answers on stdout, a JSON object a line

Runs in the peers' own environment (make bench-peers), which has no btworker; peers.py is the other side. Seconds are
measured here, from the sound in memory to tokens or from files to text.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


class Peer(Protocol):
    """What the parent asks of a peer."""

    version: str

    def windows(self, mels: Any, *, encoded: bool) -> tuple[float, list[list[int]]]:
        """Seconds and tokens of one batch; where `encoded`, from what the encoder made of it."""

    def files(self, paths: list[str], batch: int) -> tuple[float, list[str]]:
        """Seconds and texts of whole recordings, with word times and a language found."""


def peer_of(request: dict[str, Any]) -> Peer:
    """Load it."""
    if request["kind"] == "faster-whisper":
        from bench.speed.peer_faster import FasterWhisper

        return FasterWhisper(request)
    from bench.speed.peer_transformers import Transformers

    return Transformers(request)


class Desk:
    """Answers requests one by one."""

    def __init__(self) -> None:
        self._peer: Peer | None = None
        self._mels: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request."""
        if request["do"] == "load":
            start = time.perf_counter()
            self._peer = peer_of(request)
            if "windows" in request:
                self._mels = dict(np.load(request["windows"]))
            return {"version": self._peer.version, "seconds": time.perf_counter() - start}
        assert self._peer is not None, "load comes first"
        if request["do"] == "windows":
            return self._windows(self._peer, request)
        seconds, texts = self._peer.files(request["paths"], request["batch"])
        return {"seconds": seconds, "texts": texts}

    def _windows(self, peer: Peer, request: dict[str, Any]) -> dict[str, Any]:
        mels, batch = self._mels[request["case"]][: request["count"]], request["batch"]
        seconds, tokens = 0.0, []
        for start in range(0, len(mels), batch):
            took_s, said = peer.windows(mels[start : start + batch], encoded=request["encoded"])
            seconds += took_s
            tokens += said
        return {"seconds": seconds, "tokens": tokens}


def main() -> None:
    """Until stdin ends. What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, str(ROOT))
    desk = Desk()
    for line in sys.stdin:
        print(json.dumps(desk.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
