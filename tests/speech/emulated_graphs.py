"""CUDA graphs without a GPU: a step's operations are recorded once, and replayed on the same memory.

As on a GPU, recording has no effect, what the host reads is an error, and whatever Python decided while the step was
recorded is decided for good. Tensors that a step makes lie at the same place at every replay.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from btworker.engine.asr.decoding.graphs import Recording, Step

Operation = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor] | None]
"""What is called, with what, and the tensors that it makes; None where it only changes its arguments."""


class EmulatedRecorder:
    """Records steps on the CPU."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def record(self, step: Step) -> Step:
        """See Recorder."""
        with _Operations() as operations:
            given = step()
        operations.undo()
        self.recorded += 1
        todo = operations.todo

        def replay() -> Any:
            self.replayed += 1
            for function, arguments, named, made in todo:
                result = function(*arguments, **named)
                if made is not None:
                    for place, value in zip(made, _tensors(result), strict=True):
                        place.copy_(value)
            return given

        return replay

    @property
    def recording(self) -> Recording:
        """Record by this one, for all lanes."""
        return Recording(lambda: self)


class FailingRecorder(EmulatedRecorder):
    """Fails at a step, in the middle of it."""

    def __init__(self, error: RuntimeError, *, at: int) -> None:
        super().__init__()
        self._error = error
        self._at = at

    def record(self, step: Step) -> Step:
        """See Recorder."""
        if self.recorded == self._at:
            raise self._error
        return super().record(step)


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.todo: list[Operation] = []
        self._before: dict[int, tuple[Any, Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        changes = function._schema.is_mutable
        inputs = {tensor.untyped_storage().data_ptr() for tensor in _tensors((arguments, named))}
        if changes:
            for tensor in _tensors((arguments, named)):
                storage = tensor.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = function(*arguments, **named)
        made = _tensors(result)
        if not made and not changes:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {function} is read")
        is_new = not all(tensor.untyped_storage().data_ptr() in inputs for tensor in made)
        if changes or is_new:  # else it is a view
            self.todo.append((function, arguments, named, made if is_new else None))
        return result

    def undo(self) -> None:
        """Put all memory back as it was."""
        for storage, before in self._before.values():
            storage.copy_(before)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
