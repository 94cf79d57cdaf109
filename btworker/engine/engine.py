"""The engine that a child loads by name: `load` looks around, `open` loads the default model, `run` is one attempt at a
job (attempt.py). torch and whisper are imported by `load` and not before, so that a broken stack is a sentence.
"""

import gc
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from btworker.engine.job.attempt import Attempt
from btworker.engine.job.model_slot import ModelSlot
from btworker.engine.stack.faults import translated
from btworker.engine.stack.surroundings import BROKEN, DIARIZATION_LOADING, Surroundings, look_around, unusable
from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger
from btworker.messages import EngineInfo, HelpTask, JobEvent, RunTask
from btworker.specs import WorkerSpec
from btworker.storage import JobFolder

if TYPE_CHECKING:
    from btworker.engine.asr.weights import Model
    from btworker.engine.diarization.diarizer import Diarizer
    from btworker.engine.sound.pool import SoundPool

log = get_logger()


def load(spec: WorkerSpec) -> "WhisperEngine":
    """The engine of one child. Cheap next to a model, and never fails: what is wrong is in its `info`."""
    return WhisperEngine(spec, look_around(spec.device))


class _EnoughError(Exception):
    """How a helper is left."""


class WhisperEngine:
    """One device, one loaded model at a time, any number of jobs. Implements pool.engine_api.Engine."""

    def __init__(self, spec: WorkerSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        """What this child was told at spawn."""
        self._surroundings = surroundings
        self.models: ModelSlot[Model] = ModelSlot(self._load)
        """The loaded model; each attempt borrows it."""
        self.sounds: SoundPool
        """Decodes the inputs of all jobs; there after `open`."""
        self._model_error = "no model is loaded yet"
        self.diarizer: Diarizer | None = None
        """Loaded by `open`, where it can be."""
        self.diarization_error = DIARIZATION_LOADING
        """Why there is none; empty where there is one."""

    @property
    def info(self) -> EngineInfo:
        """Versions, checks and capabilities."""
        return self._surroundings.info(model_error=self._model_error, diarization_error=self.diarization_error)

    @property
    def model(self) -> str:
        """The name of the loaded model, or nothing."""
        return self.models.name

    def open(self) -> None:
        """Load the default model. Raises BtworkerError: GPU_ERROR, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
        blocker = self._surroundings.blocker
        if blocker:
            on_gpu = self.spec.device.kind == "cuda" and blocker == self._surroundings.errors.get("torch_cuda")
            raise BtworkerError(ErrorCode.GPU_ERROR if on_gpu else ErrorCode.MODEL_UNAVAILABLE, blocker)
        import torch

        from btworker.engine.asr.decoding.alignment import keep_compiled
        from btworker.engine.sound.pool import SoundPool

        keep_compiled()
        self.sounds = SoundPool(self.spec.settings.ffmpeg_processes)
        if self.spec.settings.threads:
            torch.set_num_threads(self.spec.settings.threads)
        with self.models.lease(self.spec.settings.default_model, check=lambda: None):
            self._load_diarizer()

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """One attempt at a job; see the protocol in pool/engine_api.py."""
        with translated():
            yield from Attempt(self, task, canceled).run()

    def help(self, task: HelpTask, enough: Callable[[], bool]) -> Generator[None, None, bool]:
        """Windows of another child's recording; see the protocol in pool/engine_api.py."""
        from btworker.engine.asr.spread.helping import help_with
        from btworker.engine.asr.spread.shares import Shares

        def check() -> None:
            if enough() or self.models.name != task.options.model:
                raise _EnoughError

        try:
            check()
            folder = JobFolder(task.folder).shares(task.file_index)
            with (
                translated(),
                self.models.lease(task.options.model, check) as model,
                closing(Shares.find(folder)) as shares,
            ):
                count = yield from help_with(model, shares, task.options, task.source.sha256, check=check)
                log.info("help_finished", windows=count)
        except _EnoughError:  # a job of its own has come
            return False
        except FileNotFoundError:  # the other one has ended
            pass
        return True

    def _load_diarizer(self) -> None:
        """Without speakers a worker is of use as well: what is wrong is a sentence for ping and for jobs."""
        from btworker.engine.diarization.loading import DiarizationError, where_to_load_from

        if mismatch := self._surroundings.errors.get("torchaudio"):
            self.diarization_error = mismatch
            return
        try:
            where_to_load_from(self.spec.settings)
            from btworker.engine.diarization.diarizer import Diarizer

            self.diarizer = Diarizer(self.spec.settings, on_gpu=self.spec.device.kind == "cuda")
        except (DiarizationError, *BROKEN) as error:
            said = str(error) if isinstance(error, DiarizationError) else unusable("pyannote.audio", error)
            self.diarization_error = said
            log.info("diarization_unavailable", message=said)
        else:
            self.diarization_error = ""
            log.info("diarization_device_selected", device=self.diarizer.device)

    def _load(self, name: str) -> "Model":
        import torch

        from btworker.engine.asr.weights import load_model

        gc.collect()
        if self.spec.device.kind == "cuda":
            torch.cuda.empty_cache()
        device = torch.device("cuda:0" if self.spec.device.kind == "cuda" else "cpu")
        try:
            with translated():
                model = load_model(name, self.spec.settings, device)
        except BtworkerError as error:
            self._model_error = error.message
            raise
        self._model_error = ""
        return model
