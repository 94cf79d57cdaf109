"""The engine that a child loads by name: `load` looks around, `open` loads the default model, `run` is one attempt at a
job (job/attempt.py).

What imports torch and whisper is imported by `open` and after it, so that a broken stack is a sentence: below this file
every import stands at the top.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from btworker.checkpoints import Hashes
from btworker.engine.asr.loading import checkpoint_of
from btworker.engine.sound.process import runs_confined
from btworker.engine.stack.faults import translated
from btworker.engine.stack.surroundings import LOADING, Surroundings, look_around
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import find_ffmpeg
from btworker.job_folder import JobFolder
from btworker.messages import EngineInfo, HelpTask, JobEvent, Loading, RunTask
from btworker.specs import WorkerSpec

if TYPE_CHECKING:
    from btworker.engine.job.equipment import Equipment


def load(spec: WorkerSpec) -> "WhisperEngine":
    """Make the engine of one child. Cheap next to a model, and never fails: what is wrong is in its `info`.

    The default model's checkpoint is hashed, and the sandbox tried, while torch is imported: that takes a core for
    seconds.
    """
    hashes = Hashes()
    if (path := checkpoint_of(spec.settings.default_model, spec.settings)) is not None:
        hashes.begin(path)
    sandbox = threading.Thread(target=_try_sandbox, name="sandbox", daemon=True)
    sandbox.start()
    return WhisperEngine(spec, look_around(spec.device), hashes, sandbox)


def _try_sandbox() -> None:
    """Find out, for the jobs and the log, how ffmpeg is held."""
    if (ffmpeg := find_ffmpeg()) is not None:
        runs_confined(str(ffmpeg))


class WhisperEngine:
    """One device, one loaded model at a time, any number of jobs. Implements pool.engine_api.Engine."""

    def __init__(self, spec: WorkerSpec, surroundings: Surroundings, hashes: Hashes, sandbox: threading.Thread) -> None:
        """`hashes` and `sandbox` are what `load` began."""
        self._hashes = hashes
        self._sandbox = sandbox
        self.spec = spec
        """What this child got at spawn."""
        self._surroundings = surroundings
        self._model_error = "no model is loaded yet"
        self.equipment: Equipment | None = None
        """What the attempts work with; there after `open`."""

    @property
    def info(self) -> EngineInfo:
        """Versions, checks and capabilities."""
        if self.equipment is None:
            return self._surroundings.info(model_error=self._model_error, no_speakers=LOADING, speakers_at_fault=False)
        speakers = self.equipment.speakers
        return self._surroundings.info(
            model_error=self._model_error, no_speakers=speakers.error, speakers_at_fault=speakers.is_set_up
        )

    @property
    def model(self) -> str:
        """The name of the loaded model, or nothing."""
        return self.equipment.models.name if self.equipment else ""

    def open(self, emit: Callable[[Loading], None] = lambda _loading: None) -> None:
        """Load the default model; `emit` takes what is done for it.

        Raises BtworkerError: GPU_ERROR, MODEL_UNAVAILABLE, OUT_OF_MEMORY.
        """
        blocker = self._surroundings.blocker
        if blocker:
            on_gpu = self.spec.device.kind == "cuda" and blocker == self._surroundings.errors.get("torch_cuda")
            raise BtworkerError(ErrorCode.GPU_ERROR if on_gpu else ErrorCode.MODEL_UNAVAILABLE, blocker)
        from btworker.engine.job.equipment import equip

        try:
            self.equipment = equip(self.spec, self._surroundings, self._hashes, emit)
        except BtworkerError as error:
            self._model_error = error.message
            raise
        self._sandbox.join()
        self._model_error = ""

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """Run one attempt at a job; see the protocol in pool/engine_api.py."""
        from btworker.engine.job.attempt import Attempt

        assert self.equipment is not None  # noqa: S101 - the child opens the engine before its first task
        with translated():
            yield from Attempt(self.equipment, task, canceled).run()

    def help(self, task: HelpTask, enough: Callable[[], bool]) -> Generator[None, None, bool]:
        """Decode windows of another child's recording; see the protocol in pool/engine_api.py."""
        from btworker.engine.asr.spread.helping import help_with
        from btworker.engine.asr.spread.shares import Shares
        from btworker.engine.stack.gpu_turns import enter_thread

        assert self.equipment is not None  # noqa: S101 - as above
        with self.equipment.models.lease_if_loaded(task.options.model) as model:
            if model is None:
                return False
            enter_thread(model.device)
            try:
                with (
                    translated(),
                    closing(Shares.find(JobFolder(task.folder).shares(task.file_index, task.take))) as shares,
                    closing(help_with(model, shares, task.options, task.source.sha256, take=task.take)) as steps,
                ):
                    for _ in steps:
                        if enough():
                            return False
                        yield
            except FileNotFoundError:  # the other one has ended
                pass
        return True
