"""Windows of noise through models of the true shapes: ours, openai-whisper and the peers in turns, on the same weights.

No figure leaves here unless our tokens equal openai-whisper's in float32 on these very windows.
"""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.speed.contenders import Contender, Elsewhere, OpenAi, Ours, Sounds, Task, Tokens, aligning_heads
from bench.speed.figures import Spread, speedup
from bench.speed.gate import Gate, GateError
from bench.speed.machine import hold_threads
from bench.speed.peers import KINDS, PeerError, peer, write_weights, write_windows
from bench.speed.shapes import SHAPES, lengths_of_case, talking_model, windows_for
from bench.speed.stages import stages_of
from btworker.engine.asr.decoding.kernels.choosing import set_kernels
from btworker.engine.asr.decoding.kernels.products import soonest
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.warping import load_compiled

OURS, THEIRS = Ours.name, OpenAi.name
DISTINCT = {"cuda": 32, "cpu": 1 << 30}
"""Windows of a case that differ; larger batches have them several times: each takes passes of the encoder to make."""


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
    in_full: bool = False
    """Whether ours is measured with word times, and with the sound in eight bits a number, too."""

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
    failed: dict[tuple[Task, str], str] = field(default_factory=dict)
    """Why there is no figure."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Share of windows in which the tokens equal openai-whisper's in the run's own dtype."""
    stages: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)

    @property
    def raw(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "seconds": [{**asdict(task), **seconds} for task, seconds in self.seconds.items()],
            "failed": [{**asdict(task), name: why} for (task, name), why in self.failed.items()],
            "stages": self.stages,
            "versions": self.versions,
            "agreement": self.agreement,
            "off_by": self.off_by,
            "gate": asdict(self.gate),
        }

    @property
    def rounds(self) -> int:
        """Rounds that were counted."""
        return max((len(seconds) for by_name in self.seconds.values() for seconds in by_name.values()), default=0)

    def rate(self, task: Task, name: str) -> Spread:
        """Windows per second."""
        return Spread(tuple(task.count / seconds for seconds in self.seconds[task][name]))

    def against_openai(self, task: Task) -> Spread | None:
        """How many times faster than openai-whisper: than the faster of its two ways, this batch and one by one. None
        where either has no figure."""
        if not {OURS, THEIRS} <= self.seconds.get(task, {}).keys():
            return None
        one_by_one = next((way for way in self.seconds if way == replace(task, batch=1, count=way.count)), task)
        both = ([seconds / way.count for seconds in self.seconds[way].get(THEIRS, ())] for way in (task, one_by_one))
        theirs = [min(pair) for pair in zip(*both, strict=True)] or [s / task.count for s in self.seconds[task][THEIRS]]
        return speedup(theirs, [seconds / task.count for seconds in self.seconds[task][OURS]])


Tell = Callable[[Windows], None]
"""Takes what is known so far."""


def measure(setting: Setting, folder: Path, tell: Tell = lambda _found: None) -> Windows:
    """Everything for one shape; `tell` takes the speeds after each round, before the stages. Raises GateError."""
    hold_threads(setting.threads)
    model = talking_model(SHAPES[setting.shape], setting.device)
    cases = {case: _windows_of(model, setting.lengths(case), setting.device) for case in "FV"}
    found = Windows(setting)
    print(f"  {setting.shape}: the windows are made", flush=True)
    _compare(setting, model, cases, found.gate)
    print(f"  {setting.shape}: tokens equal openai-whisper's in {found.gate}", flush=True)
    network = _network(model, setting.device, setting.dtype)
    with _contenders(network, model, cases, folder, found) as contenders:
        _take_turns(contenders, found, tell)
    del model
    _measure_stages(network, cases["F"], found)
    return found


def _windows_of(model: Any, lengths: Sequence[int], device: torch.device) -> list[torch.Tensor]:
    distinct = windows_for(model, lengths[: DISTINCT[device.type]])
    return [distinct[index % len(distinct)] for index in range(len(lengths))]


def _compare(setting: Setting, model: Any, cases: dict[str, list[torch.Tensor]], gate: Gate) -> None:
    """In float32, whatever the run's own dtype. Raises GateError."""
    torch.backends.cudnn.allow_tf32 = False
    network = _network(model, setting.device, torch.float32)
    mels = {case: [mel.to(setting.device) for mel in some[: setting.gate_windows]] for case, some in cases.items()}
    sounds = Sounds(mels, model.encoder)
    ours, theirs = Ours(network, sounds), OpenAi(model, sounds, torch.device("cpu"))  # "cpu": not in fp16
    for case, some in mels.items():
        _, mine = ours.run(Task(case, len(some), min(len(some), max(setting.batches)), encoded=False))
        _, wanted = theirs.run(Task(case, len(some), 1, encoded=False))
        gate.compare(model, some, mine, wanted)
        _check_lengths(wanted, setting.lengths(case))
    torch.backends.cudnn.allow_tf32 = True
    del ours, network
    _free(setting.device)


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _check_lengths(said: Tokens, lengths: Sequence[int]) -> None:
    wrong = [(len(text), length) for text, length in zip(said, lengths, strict=False) if len(text) != length]
    if wrong:
        raise GateError(f"windows say other numbers of tokens than they should (said, wanted): {wrong[:5]}")


def _network(model: Any, device: torch.device, dtype: torch.dtype) -> Network:
    products = soonest(model.dims.n_text_state, device, dtype)
    network = Network(model.state_dict(), model.dims, device=device, dtype=dtype, products=products)
    set_kernels(network)
    network.align_by(aligning_heads(model.dims))
    return network


@contextmanager
def _contenders(
    network: Network, model: Any, cases: dict[str, list[torch.Tensor]], folder: Path, found: Windows
) -> Iterator[list[Contender]]:
    """All that are there; who is not says why in `versions`. Their memory is free behind the block."""
    setting = found.setting
    weights, windows = folder / f"weights-{setting.shape}", folder / f"windows-{setting.shape}.npz"
    if setting.peers_python.exists():
        write_weights(weights, model.state_dict(), model.dims, setting.dtype)
        write_windows(windows, cases)
    mels = {case: [mel.to(setting.device, setting.dtype) for mel in some] for case, some in cases.items()}
    sounds = Sounds(mels, model.encoder)
    ours = Ours(network, sounds)
    further = [ours.with_word_times(), ours.in_bytes(only=max(setting.batches))] if setting.in_full else []
    contenders: list[Contender] = [ours, *further, OpenAi(model, sounds, setting.device)]
    load_compiled()  # as the worker does, where a GPU waits for it
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
    contenders.clear()
    _free(setting.device)


def _take_turns(contenders: list[Contender], found: Windows, tell: Tell = lambda _found: None) -> None:
    """Round 0 warms up and is not counted. Each other one is told: who ends this in the middle has those before."""
    setting, began = found.setting, time.monotonic()
    for number in range(setting.rounds + 1):
        if number > 1 and time.monotonic() - began > setting.most_s:
            print(f"  {setting.shape}: no more rounds, the time is up", flush=True)
            break
        for task in setting.tasks():
            said_of: dict[str, Tokens] = {}
            if number == 0 and setting.device.type == "cpu" and (task.encoded or task.case == "V"):
                continue  # nothing is compiled or recorded there
            for contender in filter(partial(_takes_part, task, number, setting), contenders):
                one = _turn(contender, task, contenders, found)
                if number > 0 and one is not None:
                    found.seconds.setdefault(task, {}).setdefault(contender.name, []).append(one[0])
                    said_of[contender.name] = one[1]
            _judge(said_of, task, found)
        print(f"  {setting.shape}: round {number} of {setting.rounds}" + (" (to warm up)" * (number == 0)), flush=True)
        if setting.dtype == torch.float32 and found.agreement.get(OURS, 1.0) < 1:
            raise GateError("tokens differ from openai-whisper's in the rounds: no figures")
        if number > 0:
            tell(found)


def _takes_part(task: Task, number: int, setting: Setting, contender: Contender) -> bool:
    """Whether it has a turn. openai-whisper is slow, and warm after its first windows."""
    is_warm = number == 0 and contender.name == THEIRS and setting.device.type == "cuda" and task.batch > 1
    return contender.takes(task) and not is_warm


def _turn(
    contender: Contender, task: Task, contenders: Sequence[Contender], found: Windows
) -> tuple[float, Tokens] | None:
    """One contender's turn. Where memory is short, all give back what they hold, and it tries once more; None where
    there is none for it alone, now or before: the others go on."""
    if (task, contender.name) in found.failed:
        return None
    for _ in range(2):
        try:
            return contender.run(task)
        except torch.cuda.OutOfMemoryError as error:
            why = f"no memory: {str(error).splitlines()[0][:80]}"
        for one in contenders:
            one.release()
        _free(found.setting.device)
    found.failed[task, contender.name] = why
    print(f"  {contender.name}, batch {task.batch}: {why}", flush=True)
    return None


def _judge(said_of: dict[str, Tokens], task: Task, found: Windows) -> None:
    """Every row has its length, and how many are openai-whisper's word for word."""
    lengths = found.setting.lengths(task.case)
    for name, said in said_of.items():
        off = max(abs(len(text) - length) for text, length in zip(said, lengths, strict=False))
        found.off_by[name] = max(off, found.off_by.get(name, 0))
        pairs = list(zip(said, said_of.get(THEIRS, ()), strict=False))  # of theirs there may be fewer
        if pairs:
            same = sum(one == other for one, other in pairs) / len(pairs)
            found.agreement[name] = min(same, found.agreement.get(name, 1.0))


def _measure_stages(network: Network, mels: list[torch.Tensor], found: Windows) -> None:
    """One batch after the other, none beside another; one for which there is no memory has no row."""
    setting = found.setting
    for batch in setting.batches:
        some = [mel.to(setting.device, setting.dtype) for mel in mels[:batch]]
        try:
            once = stages_of(network, some, tokens=setting.tokens)
            for number in range(setting.rounds + 1):
                for name, seconds in once().items():
                    if number > 0:
                        found.stages.setdefault(batch, {}).setdefault(name, []).append(seconds / batch)
        except torch.cuda.OutOfMemoryError:
            print(f"  stages of batch {batch}: no memory", flush=True)
        once = None
        _free(setting.device)
