"""Windows of noise through models of the true shapes: ours, openai-whisper and the peers in turns, on the same weights.

No figure leaves here unless our tokens equal openai-whisper's in float32 on these very windows.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from bench.speed.contenders import Contender, Elsewhere, OpenAi, Ours, Sounds, Task, Tokens
from bench.speed.figures import Spread, speedup
from bench.speed.machine import hold_threads
from bench.speed.peers import KINDS, PeerError, peer, write_weights, write_windows
from bench.speed.shapes import SHAPES, lengths_of_case, talking_model, windows_for
from bench.speed.stages import stages_of
from btworker.engine.asr.decoding.network import Network

OURS, THEIRS = Ours.name, OpenAi.name


@dataclass(frozen=True)
class Setting:
    """What is measured, and how."""

    shape: str
    device: torch.device
    batches: tuple[int, ...]
    tokens: int
    """Of each window in case F."""
    rounds: int
    threads: int
    gate_windows: int
    """Of each case; all of them where there are fewer."""
    peers_python: Path
    most_s: float = float("inf")
    """After so many seconds no further round begins; one there always is."""
    fewest: int = 4
    """Windows to measure a small batch by."""

    @property
    def dtype(self) -> torch.dtype:
        """Half precision on a GPU."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    def lengths(self, case: str) -> list[int]:
        """Tokens of each window of a case."""
        count = max(map(self.count, self.batches)) * (2 if case == "V" else 1)
        return lengths_of_case(case, count, fixed=self.tokens)

    def count(self, batch: int) -> int:
        """Windows to measure a batch by."""
        return max(batch, self.fewest)

    def tasks(self) -> list[Task]:
        """Case F with and without the encoder; case V with twice the windows, so that places fall free."""
        return [
            Task(case, self.count(batch) * (2 if case == "V" else 1), batch, encoded)
            for batch in self.batches
            for case, encoded in (("F", False), ("F", True), ("V", False))
        ]


@dataclass
class Windows:
    """What was measured: seconds for each round by task and contender; what peers there were; stages."""

    setting: Setting
    seconds: dict[Task, dict[str, list[float]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    off_by: dict[str, int] = field(default_factory=dict)
    """Tokens by which a row missed its length, at most."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Share of windows in which the tokens equal openai-whisper's in the run's own dtype."""
    stages: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    gate_windows: int = 0

    def rate(self, task: Task, name: str) -> Spread:
        """Windows per second."""
        return Spread(tuple(task.count / seconds for seconds in self.seconds[task][name]))

    def against_openai(self, task: Task) -> Spread:
        """How many times faster than openai-whisper: than the faster of its two ways, this batch and one by one."""
        one_by_one = next((way for way in self.seconds if way == replace(task, batch=1, count=way.count)), task)
        both = ([seconds / way.count for seconds in self.seconds[way][THEIRS]] for way in (task, one_by_one))
        theirs = [min(pair) for pair in zip(*both, strict=True)]
        return speedup(theirs, [seconds / task.count for seconds in self.seconds[task][OURS]])


class GateError(SystemExit):
    """Our tokens differ: there are no figures."""


def measure(setting: Setting, folder: Path) -> Windows:
    """Everything for one shape. Raises GateError."""
    hold_threads(setting.threads)
    model = talking_model(SHAPES[setting.shape], setting.device)
    cases = {case: windows_for(model, setting.lengths(case)) for case in "FV"}
    found = Windows(setting)
    print(f"  {setting.shape}: the windows are made", flush=True)
    found.gate_windows = _gate(setting, model, cases)
    print(f"  {setting.shape}: tokens equal openai-whisper's in {found.gate_windows} windows", flush=True)
    with _contenders(setting, model, cases, folder, found) as contenders:
        _take_turns(contenders, found)
    if setting.dtype == torch.float32 and found.agreement[OURS] < 1:
        raise GateError("tokens differ from openai-whisper's in the rounds: no figures")
    _measure_stages(model, cases["F"], found)
    return found


def _gate(setting: Setting, model: Any, cases: dict[str, list[torch.Tensor]]) -> int:
    """In float32, whatever the run's own dtype: how many windows were equal, which is all of them."""
    torch.backends.cudnn.allow_tf32 = False
    network = _network(model, setting.device, torch.float32)
    mels = {case: [mel.to(setting.device) for mel in some[: setting.gate_windows]] for case, some in cases.items()}
    sounds = Sounds(mels, model.encoder)
    ours, theirs = Ours(network, sounds), OpenAi(model, sounds, torch.device("cpu"))  # "cpu": not in fp16
    checked = 0
    for case, some in mels.items():
        _, mine = ours.run(Task(case, len(some), min(len(some), max(setting.batches)), encoded=False))
        _, wanted = theirs.run(Task(case, len(some), 1, encoded=False))
        differing = sum(one != other for one, other in zip(mine, wanted, strict=True))
        if differing:
            raise GateError(f"tokens of {differing} of {len(some)} windows differ from openai-whisper's: no figures")
        _check_lengths(wanted, setting.lengths(case))
        checked += len(some)
    torch.backends.cudnn.allow_tf32 = True
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return checked


def _check_lengths(said: Tokens, lengths: Sequence[int]) -> None:
    wrong = [(len(text), length) for text, length in zip(said, lengths, strict=False) if len(text) != length]
    if wrong:
        raise GateError(f"windows say other numbers of tokens than they should (said, wanted): {wrong[:5]}")


def _network(model: Any, device: torch.device, dtype: torch.dtype) -> Network:
    return Network(model.state_dict(), model.dims, device=device, dtype=dtype)


@contextmanager
def _contenders(
    setting: Setting, model: Any, cases: dict[str, list[torch.Tensor]], folder: Path, found: Windows
) -> Iterator[list[Contender]]:
    """All that are there; who is not says why in `versions`."""
    weights, windows = folder / f"weights-{setting.shape}", folder / f"windows-{setting.shape}.npz"
    if setting.peers_python.exists():
        write_weights(weights, model.state_dict(), model.dims, setting.dtype)
        write_windows(windows, cases)
    mels = {case: [mel.to(setting.device, setting.dtype) for mel in some] for case, some in cases.items()}
    sounds = Sounds(mels, model.encoder)
    contenders: list[Contender] = [
        Ours(_network(model, setting.device, setting.dtype), sounds),
        OpenAi(model, sounds, setting.device),
    ]
    with ExitStack() as stack:
        for kind in KINDS:
            load = {"kind": kind, "folder": str(weights), "windows": str(windows)}
            load |= {"device": setting.device.type, "threads": setting.threads}  # type: ignore[dict-item]
            try:
                process = stack.enter_context(peer(setting.peers_python, folder / f"{kind}.log", **load))
                # some find only now that a library is missing
                process.ask(do="windows", case="F", count=1, batch=1, encoded=False)
            except PeerError as error:
                found.versions[kind] = str(error)
                continue
            found.versions[kind] = process.version
            contenders.append(Elsewhere(kind, process))
        yield contenders


def _take_turns(contenders: list[Contender], found: Windows) -> None:
    """Round 0 warms up and is not counted."""
    setting, began = found.setting, time.monotonic()
    for number in range(setting.rounds + 1):
        if number > 1 and time.monotonic() - began > setting.most_s:
            print(f"  {setting.shape}: no more rounds, the time is up", flush=True)
            break
        for task in setting.tasks():
            said_of: dict[str, Tokens] = {}
            if number == 0 and setting.device.type == "cpu" and (task.encoded or task.case == "V"):
                continue  # nothing is compiled or recorded there
            for contender in contenders:
                if number == 0 and contender.name == THEIRS and setting.device.type == "cuda" and task.batch > 1:
                    continue  # slow, and warm after its first windows
                seconds, said = contender.run(task)
                if number > 0:
                    found.seconds.setdefault(task, {}).setdefault(contender.name, []).append(seconds)
                    said_of[contender.name] = said
            _judge(said_of, task, found)
        print(f"  {setting.shape}: round {number} of {setting.rounds}" + (" (to warm up)" * (number == 0)), flush=True)


def _judge(said_of: dict[str, Tokens], task: Task, found: Windows) -> None:
    """Every row has its length, and how many are openai-whisper's word for word."""
    lengths = found.setting.lengths(task.case)
    for name, said in said_of.items():
        off = max(abs(len(text) - length) for text, length in zip(said, lengths, strict=False))
        found.off_by[name] = max(off, found.off_by.get(name, 0))
        same = sum(one == other for one, other in zip(said, said_of[THEIRS], strict=True)) / len(said)
        found.agreement[name] = min(same, found.agreement.get(name, 1.0))


def _measure_stages(model: Any, mels: list[torch.Tensor], found: Windows) -> None:
    setting = found.setting
    network = _network(model, setting.device, setting.dtype)
    for batch in setting.batches:
        some = [mel.to(setting.device, setting.dtype) for mel in mels[:batch]]
        once = stages_of(network, some, tokens=setting.tokens)
        for number in range(setting.rounds + 1):
            for name, seconds in once().items():
                if number > 0:
                    found.stages.setdefault(batch, {}).setdefault(name, []).append(seconds / batch)
