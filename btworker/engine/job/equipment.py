"""What opening the engine builds, and what attempts at jobs work with: one frozen record. Runs in the child."""

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from btworker.engine.asr.decoding.alignment import keep_compiled
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.diarization.source import DiarizationError, where_to_load_from
from btworker.engine.job.model_slot import ModelSlot
from btworker.engine.sound.pool import SoundPool
from btworker.engine.stack.faults import translated
from btworker.engine.stack.surroundings import BROKEN, Surroundings, unusable
from btworker.logs import get_logger
from btworker.specs import WorkerSpec

if TYPE_CHECKING:
    from btworker.engine.diarization.diarizer import Diarizer

log = get_logger()


@dataclass(frozen=True, slots=True)
class Equipment:
    """What the attempts of one child have in common, for as long as it lives."""

    spec: WorkerSpec
    """What this child was told at spawn."""
    versions: tuple[tuple[str, str], ...]
    """(package, version), for the provenance of transcripts."""
    models: ModelSlot[Model]
    """The loaded model; each attempt leases it."""
    sounds: SoundPool
    """Decodes the inputs of all jobs."""
    diarizer: "Diarizer | None"
    diarization_error: str
    """Why there is no diarizer; empty where there is one."""


def equip(spec: WorkerSpec, surroundings: Surroundings) -> Equipment:
    """Load the default model and what else a job may need. Raises BtworkerError: MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
    keep_compiled()
    if spec.settings.threads:
        torch.set_num_threads(spec.settings.threads)
    models: ModelSlot[Model] = ModelSlot(lambda name: _load_model(name, spec))
    sounds = SoundPool(spec.settings.ffmpeg_processes)
    with models.lease(spec.settings.default_model, check=lambda: None):
        diarizer, error = _load_diarizer(spec, mismatch=surroundings.errors.get("torchaudio", ""))
    return Equipment(spec, tuple(surroundings.versions.items()), models, sounds, diarizer, error)


def _load_model(name: str, spec: WorkerSpec) -> Model:
    gc.collect()
    on_gpu = spec.device.kind == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
    with translated():
        return load_model(name, spec.settings, torch.device("cuda:0" if on_gpu else "cpu"))


def _load_diarizer(spec: WorkerSpec, *, mismatch: str) -> "tuple[Diarizer | None, str]":
    """Load the diarizer, or give the sentence, for ping and for jobs, why there is none: words are of use without."""
    if mismatch:
        return None, mismatch
    try:
        where_to_load_from(spec.settings)
        # late: pyannote.audio takes seconds to import, and may be broken
        from btworker.engine.diarization.diarizer import Diarizer

        diarizer = Diarizer(spec.settings, on_gpu=spec.device.kind == "cuda")
    except (DiarizationError, *BROKEN) as error:
        reason = str(error) if isinstance(error, DiarizationError) else unusable("pyannote.audio", error)
        log.info("diarization_unavailable", message=reason)
        return None, reason
    log.info("diarization_device_selected", device=diarizer.device)
    return diarizer, ""
