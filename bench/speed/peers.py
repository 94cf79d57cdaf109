"""The parent's side of peer.py: the weights as files, and a peer as a process that answers."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from whisper.tokenizer import LANGUAGES

from bench.speed.shapes import tokenizer_of
from btworker.engine.asr.decoding.rules import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("faster-whisper", "transformers")


class PeerError(Exception):
    """The peer is not there, or could not do it: a sentence for the table."""


class PeerProcess:
    """One peer, loaded."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log
        self.version = ""

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request and its answer. Raises PeerError where the peer ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self._log.read_text().strip().splitlines() or ["it ended"]
            raise PeerError(said[-1][:160])
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def peer(python: Path, log: Path, **load: Any) -> Iterator[PeerProcess]:
    """A peer that has loaded its model. Raises PeerError where it cannot."""
    if not python.exists():
        raise PeerError("not installed (make bench-peers)")
    threads = str(load["threads"])
    # the parent's PYTHONPATH is for the parent's packages
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    # CTranslate2 asks the loader for CUDA's libraries, which torch brings
    libraries = sorted(map(str, Path(sys.prefix).glob("lib/python*/site-packages/nvidia/*/lib")))
    environment["LD_LIBRARY_PATH"] = os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")])
    command = [str(python), "-W", "ignore", str(ROOT / "bench" / "speed" / "peer.py")]
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    try:
        found = PeerProcess(process, log)
        found.version = found.ask(do="load", **load)["version"]
        yield found
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.terminate()
        process.wait(60)


def write_weights(folder: Path, state: dict[str, torch.Tensor], dims: Any, dtype: torch.dtype) -> None:
    """Weights and vocabulary for the peers, from openai-whisper's model."""
    folder.mkdir()
    arrays = {
        name: tensor.detach().to(dtype).cpu().numpy()
        for name, tensor in state.items()
        if name not in ("decoder.mask", "alignment_heads")
    }
    np.savez(folder / "state.npz", **arrays)
    (folder / "about.json").write_text(json.dumps(_about(dims)))


def write_windows(path: Path, cases: dict[str, Sequence[torch.Tensor]]) -> None:
    """The same windows for everybody."""
    np.savez(path, **{case: torch.stack(list(mels)).numpy() for case, mels in cases.items()})


def _about(dims: Any) -> dict[str, Any]:
    tokenizer = tokenizer_of(dims)
    encoding, vocabulary = tokenizer.encoding, Vocabulary.of(tokenizer)
    ranks = encoding._mergeable_ranks  # noqa: SLF001 - tiktoken gives them in no other way
    spelled = _spelling()
    words = ["".join(spelled[byte] for byte in token) for token in ranks]
    signs = sorted(encoding._special_tokens.items(), key=lambda pair: pair[1])  # noqa: SLF001
    languages = list(LANGUAGES)[: dims.n_vocab - 51766]
    upper_half = range(dims.n_text_layer // 2, dims.n_text_layer)
    return {
        "dims": dict(vars(dims)),
        "n_text_ctx": dims.n_text_ctx,
        "vocabulary": words + [sign for sign, _ in signs],
        "words": len(words),
        "merges": [[_spell(part, spelled) for part in pair] for pair in _merges(ranks)],
        "starts": list(tokenizer.sot_sequence),
        "eot": tokenizer.eot,
        "sot_prev": tokenizer.sot_prev,
        "no_timestamps": tokenizer.no_timestamps,
        "suppressed": list(vocabulary.suppressed),
        "suppressed_first": [*vocabulary.blank, tokenizer.eot],
        "lang_ids": [tokenizer.to_language_token(language) for language in languages],
        "alignment_heads": [[layer, head] for layer in upper_half for head in range(dims.n_text_head)],
    }


def _spelling() -> dict[int, str]:
    """GPT-2's printable character for each byte, which token files are written in."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _spell(token: bytes, spelled: dict[int, str]) -> str:
    return "".join(spelled[byte] for byte in token)


def _merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two tokens that each longer one was merged from: the last merge that stands below its own rank."""
    merges = []
    for token, rank in ranks.items():
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            pairs = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
            best = min(range(len(pairs)), key=pairs.__getitem__)
            if pairs[best] >= rank:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def default_python() -> Path:
    """Where make bench-peers puts the environment of the stack that runs this."""
    return Path(f"{sys.prefix}-bench") / "bin" / "python"
