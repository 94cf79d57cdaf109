"""What opening the engine builds, and what attempts at jobs work with: one frozen record. Runs in the child."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from btworker.checkpoints import Hashes
from btworker.engine.asr.decoding.warping import keep_compiled, load_compiled
from btworker.engine.asr.loading import EmitLoading
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.diarization.slot import DiarizerSlot
from btworker.engine.job.model_slot import ModelSlot
from btworker.engine.sound.pool import SoundPool
from btworker.engine.stack.faults import translated
from btworker.engine.stack.free_memory import give_back_freed_memory
from btworker.engine.stack.gpu_turns import enter_thread, release_cached_memory
from btworker.engine.stack.surroundings import Surroundings
from btworker.specs import WorkerSpec

SWITCH_S = 0.0005
"""Seconds after which a thread that computes in Python gives way to the one that makes the decoder's rounds. Python's
own 5 ms are half of what a window takes on a large GPU."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What the attempts of one child have in common, for as long as it lives."""

    spec: WorkerSpec
    """What this child got at spawn."""
    versions: tuple[tuple[str, str], ...]
    """(package, version), for the provenance of transcripts."""
    models: ModelSlot[Model]
    """The loaded model; each attempt leases it."""
    sounds: SoundPool
    """Decodes the inputs of all jobs."""
    speakers: DiarizerSlot
    """Who tells speakers apart, once somebody asks for it."""


def equip(spec: WorkerSpec, surroundings: Surroundings, hashes: Hashes, emit: EmitLoading) -> Equipment:
    """Load the default model and what else a job may need. Raises BtworkerError: MODEL_UNAVAILABLE, OUT_OF_MEMORY.

    `emit` takes what is done for a model, now and when a job asks for another one.
    """
    keep_compiled()
    if spec.device.kind == "cuda":
        sys.setswitchinterval(SWITCH_S)
        load_compiled()
    if spec.settings.threads:
        torch.set_num_threads(spec.settings.threads)
    models: ModelSlot[Model] = ModelSlot(lambda name: _load_model(name, spec, hashes, emit), _rest)
    sounds = SoundPool(spec.settings.ffmpeg_processes)
    with _one_thread(), models.lease(spec.settings.default_model, check=lambda: None):
        pass  # loaded, and nobody's
    mismatch = surroundings.errors.get("torchaudio", "")
    speakers = DiarizerSlot(spec.settings, on_gpu=spec.device.kind == "cuda", mismatch=mismatch)
    return Equipment(spec, tuple(surroundings.versions.items()), models, sounds, speakers)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch use the calling thread alone: hundreds of small copies spend four times as long on waking others.

    Only while no other thread uses torch, since one that begins meanwhile would keep that number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _rest(model: Model) -> None:
    """Give back what only jobs need. On a GPU the places stay: their steps are recorded, and its memory is the worker's
    own; on a CPU, making them again costs a hundredth of a short job."""
    if model.device.type == "cpu":
        model.decoder.drop_places()
        give_back_freed_memory()


def _load_model(name: str, spec: WorkerSpec, hashes: Hashes, emit: EmitLoading) -> Model:
    gc.collect()
    on_gpu = spec.device.kind == "cuda"
    if on_gpu:
        release_cached_memory()
    device = torch.device("cuda:0" if on_gpu else "cpu")
    with translated():
        enter_thread(device)  # before kernels are tried there
        return load_model(name, spec.settings, device, emit, hashes)
