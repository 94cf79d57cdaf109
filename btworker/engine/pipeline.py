"""The engine that a child loads by name: `load` looks around, `open` loads the default model, `run` is one attempt at a
job (attempt.py). torch and whisper are imported by `load` and not before, so that a broken stack is a sentence.
"""

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from btworker.engine.attempt import Attempt
from btworker.engine.faults import translated
from btworker.engine.surroundings import Surroundings, look_around
from btworker.errors import BtworkerError, ErrorCode
from btworker.messages import EngineInfo, JobEvent, RunTask, WorkerSpec

if TYPE_CHECKING:
    from btworker.engine.asr.weights import Model


def load(spec: WorkerSpec) -> "WhisperEngine":
    """The engine of one child. Cheap next to a model, and never fails: what is wrong is in its `info`."""
    return WhisperEngine(spec, look_around(spec.device))


class WhisperEngine:
    """One device, one loaded model at a time. Implements pool.engine_api.Engine."""

    def __init__(self, spec: WorkerSpec, surroundings: Surroundings) -> None:
        self.spec = spec
        """What this child was told at spawn."""
        self._surroundings = surroundings
        self._model: Model | None = None
        self._model_error = "no model is loaded yet"

    @property
    def info(self) -> EngineInfo:
        """Versions, checks and capabilities."""
        return self._surroundings.info(model_error=self._model_error)

    @property
    def model(self) -> str:
        """The name of the loaded model, or nothing."""
        return self._model.name if self._model else ""

    def open(self) -> None:
        """Load the default model. Raises BtworkerError: GPU_ERROR, MODEL_UNAVAILABLE, OUT_OF_MEMORY."""
        blocker = self._surroundings.blocker
        if blocker:
            on_gpu = self.spec.device.kind == "cuda" and blocker == self._surroundings.errors.get("torch_cuda")
            raise BtworkerError(ErrorCode.GPU_ERROR if on_gpu else ErrorCode.MODEL_UNAVAILABLE, blocker)
        import torch

        from btworker.engine.asr.window_decoder import keep_compiled

        keep_compiled()
        if self.spec.settings.threads:
            torch.set_num_threads(self.spec.settings.threads)
        self._load(self.spec.settings.default_model)

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """One attempt at a job; see the protocol in pool/engine_api.py."""
        with translated():
            yield from Attempt(self, task, canceled).run()

    def use(self, name: str) -> "Model":
        """The model of this name, loaded in place of another one if need be."""
        if self._model is None or self._model.name != name:
            self._load(name)
        assert self._model is not None  # noqa: S101 - _load raises, or sets it
        return self._model

    def _load(self, name: str) -> None:
        import torch

        from btworker.engine.asr.weights import load_model

        self._model = None  # before the next one comes: there may not be room for both
        gc.collect()
        if self.spec.device.kind == "cuda":
            torch.cuda.empty_cache()
        device = torch.device("cuda:0" if self.spec.device.kind == "cuda" else "cpu")
        try:
            with translated():
                self._model = load_model(name, self.spec.settings, device)
        except BtworkerError as error:
            self._model_error = error.message
            raise
        self._model_error = ""
