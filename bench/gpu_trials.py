"""What goes wrong on a GPU, made on purpose with the embedded models: each trial has a verdict, then comes the next.

    python -W ignore bench/gpu_trials.py [--device cuda] [--minutes 4]

speakers: two jobs with speakers and keywords at once, whose steps are recorded meanwhile, have the texts of one alone.
beside: speakers that are told apart beside what else there is are those of one thing after the other.
memory: where it runs out, the batch is halved and the text is the same. poison: a window that is no number fails alone.
kill: a process that is killed with live graphs leaves its GPU to the next one. Without a GPU the CPU does all of it.

On a CPU a text is the same to the letter. A GPU adds up in another order for each batch: there, a word in fifty may
differ where the model is undecided, and the verdict says how many do.
"""

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from support import ROOT, keep_raw, workplace

from bench.speed.attempts import open_engine, task_of, texts_of
from bench.speed.contenders import request_of, wait_for_all
from bench.speed.figures import how_alike
from bench.speed.recordings import Recording, dialogue_recordings
from bench.speed.shapes import tokenizer_of
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.weights import _place_bytes
from btworker.engine.stack.gpu_turns import release_cached_memory
from btworker.errors import BtworkerError
from btworker.jobs import JobId
from btworker.messages import RunTask
from btworker.storage import JobFolder

THREADS = os.cpu_count() or 1
WORDS = ("Marta", "Ludvik", "Ottakring")
"""Keywords, so that steps are recorded while both jobs are at work."""


OTHER_WORDS = {"cuda": 0.02, "cpu": 0.0}
"""Share of a text's words that may differ in another batch."""
FOR_PASSES_BYTES = 192 << 20
"""Besides places. Spectrograms of 16 windows take somewhat more: where half of the places are too many, so be it."""


class Trials:
    """One engine on one device, and recordings of several people."""

    def __init__(self, folder: Path, device: torch.device, minutes: float) -> None:
        self.folder = folder
        self.device = device
        self.recordings: Sequence[Recording] = dialogue_recordings(folder / "dialogues", minutes=minutes)
        self.engine = open_engine(folder, device, THREADS)

    def task(self, name: str, **options: object) -> RunTask:
        """A job of all recordings in a folder of its own."""
        task = task_of(self.recordings, self.folder / name, mode="fast")
        return replace(task, job_id=JobId(name.replace(" ", "-")), options=replace(task.options, **options))

    def texts(self, task: RunTask) -> list[str]:
        """Run the job; its texts."""
        for _ in self.engine.run(task, lambda: False):
            pass
        return texts_of(task)

    def speakers(self) -> str:
        """Two at once, beside one alone before."""
        options = {"diarization_enabled": True, "keywords": WORDS}
        alone = self.texts(self.task("alone", **options))
        found: dict[int, list[str]] = {}
        self._forget_graphs()
        jobs = [
            threading.Thread(
                target=lambda number=number: found.update({number: self.texts(self.task(f"{number}", **options))})
            )
            for number in range(2)
        ]
        for job in jobs:
            job.start()
        while any(job.is_alive() for job in jobs):
            time.sleep(0.2)
            if torch.cuda.is_initialized():
                release_cached_memory()
        assert set(found) == {0, 1}, "a job failed"
        return f"{len(alone)} recordings, twice: {self.alike([*found[0], *found[1]], [*alone, *alone])}"

    def alike(self, found: Sequence[str], wanted: Sequence[str]) -> str:
        """Say how alike texts are. Raises AssertionError where they are other texts."""
        return how_alike(found, wanted, most=OTHER_WORDS[self.device.type])

    def beside(self) -> str:
        """One job both ways."""
        diarizer = self.engine.equipment.speakers.load()
        before, found = diarizer.beside, []
        for beside in (False, True):
            diarizer.beside = diarizer.pipeline.looks_ahead = beside
            task = self.task(f"beside {beside}", diarization_enabled=True)
            self.texts(task)
            assert diarizer.beside is beside, "something went wrong beside other work: see the log"
            documents = [JobFolder(task.folder).transcript(index).read_bytes() for index in range(len(task.inputs))]
            found.append([json.loads(one)["turns"] for one in documents])
        diarizer.beside = diarizer.pipeline.looks_ahead = before
        assert all(found[0]), "no speakers"
        assert found[0] == found[1], "turns differ"
        return f"{sum(map(len, found[0]))} turns, the same"

    def _forget_graphs(self) -> None:
        with self.engine.equipment.models.lease("demo", lambda: None) as model:
            for places in model.decoder._lanes.values():  # noqa: SLF001 - to have them recorded once more, now
                if places.lane.graphs is not None:
                    places.lane.graphs.forget(lambda _key: True)

    def memory(self) -> str:
        """Leave no memory for as many places while a job runs; on a CPU a step raises what torch raises."""
        wanted = self.texts(self.task("roomy"))
        with self.engine.equipment.models.lease("demo", lambda: None) as model:
            decoder, before = model.decoder, model.decoder.batch_size
            with self._room_for_half(decoder, model.network) if self.device.type == "cuda" else _short_once(at=20):
                found = self.texts(self.task("narrow"))
            assert decoder.batch_size < before, "memory never ran out: nothing was tried"
            return f"batch {before} -> {decoder.batch_size}, {self.alike(found, wanted)}"

    @contextmanager
    def _room_for_half(self, decoder: Decoder, network: Network) -> Iterator[None]:
        """Give back all places, and have torch refuse memory for as many again."""
        decoder.drop_places()
        gc.collect()
        release_cached_memory()
        room = torch.cuda.memory_reserved() + decoder.batch_size // 2 * _place_bytes(network) + FOR_PASSES_BYTES
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.mem_get_info()[1])
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    def poison(self) -> str:
        """Windows of NaN among good ones, which say the same before, beside and after them."""
        with wave.open(str(self.recordings[0].path)) as file:
            samples = np.frombuffer(file.readframes(3 * 9 * 16_000), np.int16)
        with self.engine.equipment.models.lease("demo", lambda: None) as model:
            tokenizer, spectrogram = tokenizer_of(model.network.dims), model.log_mel(samples)
            good = [request_of(tokenizer, spectrogram.stretch(900 * at, 900, size=3000)) for at in range(3)]
            bad = replace(good[0], sound=torch.full_like(good[0].sound, float("nan")))

            def texts(poisoned: int) -> list[str]:
                failing = [model.decoder.submit(bad) for _ in range(poisoned)]
                tickets = [model.decoder.submit(one) for one in good]
                wait_for_all(model.decoder, [*failing, *tickets])
                for ticket in failing:
                    try:
                        _ = ticket.answer
                    except BtworkerError:
                        continue
                    raise AssertionError("a text was made of NaN")
                return [tokenizer.decode(list(ticket.answer.tokens)) for ticket in tickets]

            wanted = texts(0)
            return f"2 failed alone; 3 beside and after them: {self.alike(texts(2) + texts(0), wanted + wanted)}"

    def kill(self) -> str:
        """Kill a process of this bench in the middle of a job, then run one."""
        command = [sys.executable, "-W", "ignore", __file__, "--device", self.device.type, "--victim"]
        victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert victim.stdout is not None
        for line in victim.stdout:
            if line.startswith("decoding"):
                break
        free = torch.cuda.mem_get_info()[0] if self.device.type == "cuda" else 0
        victim.send_signal(signal.SIGKILL)
        victim.wait(60)
        if self.device.type == "cuda":
            deadline = time.monotonic() + 30
            while torch.cuda.mem_get_info()[0] <= free:
                assert time.monotonic() < deadline, "the killed process still holds memory of the GPU"
                time.sleep(0.1)
        assert all(self.texts(self.task("after the kill"))), "no text after the kill"
        return f"killed with {victim.returncode}; the next job has its texts"


@contextmanager
def _short_once(*, at: int) -> Iterator[None]:
    """Have a step find no memory."""
    step, left = Network.step, [at]

    def short(*args: object, **named: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return step(*args, **named)

    with mock.patch.object(Network, "step", short):
        yield


def be_killed(device: torch.device) -> None:
    """Decode for ever, once it has begun to."""
    with workplace() as folder:
        trials = Trials(folder, device, 4.0)
        for number in range(1000):
            for event in trials.engine.run(trials.task(f"{number}"), lambda: False):
                if type(event).__name__ == "WindowDone":
                    print("decoding", flush=True)


def attempt(name: str, trial: Callable[[], str]) -> bool:
    """One trial and its verdict."""
    began = time.monotonic()
    try:
        verdict, passed = trial(), True
    except Exception as error:  # noqa: BLE001 - the next trial begins
        traceback.print_exc()
        verdict, passed = f"{type(error).__name__}: {error}"[:300], False
    print(f"  {name}: {'passed' if passed else 'FAILED'}, {time.monotonic() - began:.1f} s: {verdict}", flush=True)
    return passed


def main() -> int:
    """All trials; 1 where one fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, help="of dialogues: 10 on a GPU, half a minute elsewhere")
    parser.add_argument("--victim", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.victim:
        be_killed(device)
        return 0
    minutes = options.minutes or (10.0 if options.device == "cuda" else 0.5)
    passed: dict[str, float] = {}
    with workplace() as folder:
        trials = Trials(folder, device, minutes)
        for name in ("speakers", "beside", "poison", "kill", "memory"):
            passed[name] = float(attempt(name, getattr(trials, name)))
            gc.collect()
            keep_raw("gpu_trials", passed, {"device": str(device), "minutes": minutes})
    print("RESULT " + " ".join(f"{name}={value:g}" for name, value in passed.items()), flush=True)
    return 0 if all(passed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
