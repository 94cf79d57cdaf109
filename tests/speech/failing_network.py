"""A network that fails when it is told to."""

from typing import Any

import torch

from btworker.engine.asr.decoding.network import Network


class Failing(Network):
    """A network that raises once, at a step."""

    def fail_at(self, step: int, error: Exception) -> None:
        """Count from the next one."""
        self.left, self.error = step, error

    def step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Raise when it is time."""
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().step(*args, **kwargs)
