"""A network that fails when it is told to."""

from collections.abc import Iterator
from typing import Any

import torch

from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.network import Network


class Failing(Network):
    """A network that raises once, at a step or another pass."""

    left, error, of = 0, Exception(), ""

    def fail_at(self, number: int, error: Exception, *, of: str = "step") -> None:
        """Count from the next one. `of` is the name of a pass: step, encode, cross_keys_values or read."""
        self.left, self.error, self.of = number, error, of

    def _pass(self, name: str) -> None:
        """Raise when it is time."""
        self.left -= name == self.of
        if self.left == 0 and name == self.of:
            raise self.error

    def step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """See Network."""
        self._pass("step")
        return super().step(*args, **kwargs)

    def encode(self, mel: torch.Tensor) -> torch.Tensor:
        """See Network."""
        self._pass("encode")
        return super().encode(mel)

    def cross_keys_values(self, features: torch.Tensor) -> Iterator[KeysValues]:
        """See Network."""
        self._pass("cross_keys_values")
        return super().cross_keys_values(features)

    def read(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, list[KeysValues]]:
        """See Network."""
        self._pass("read")
        return super().read(*args, **kwargs)
