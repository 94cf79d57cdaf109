"""openai-whisper's dynamic time warping, by two ways that give the same path: numba's, which is quick and takes 2 s of
CPU time and 70 MB to load, and numpy's for the first windows, since a short recording takes less than that in all.
"""

import contextlib
from itertools import count
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from whisper import timing

BY_NUMPY = 128
"""Windows of a process after which numba is loaded: by numpy they have cost about as much as that does."""
Path = npt.NDArray[np.int64]
"""(2, steps): token and frame of each step."""
_compiled = numba.njit(nogil=True)(timing.dtw_cpu.py_func)
"""Without numba's threads: they would set the number of torch's, and spin."""
_windows = count()


def warp(costs: npt.NDArray[np.float64]) -> Path:
    """Find the cheapest path through (tokens, frames) that goes back in neither. May run in any thread."""
    return by_numba(costs) if next(_windows) >= BY_NUMPY else by_numpy(costs)


def by_numba(costs: npt.NDArray[np.float64]) -> Path:
    """Call whisper's own function, compiled."""
    path: Path = _compiled(costs)
    return path


def load_compiled() -> None:
    """Use numba from the first window on: where a GPU waits for it, 10 ms are a window's whole budget."""
    by_numba(np.zeros((1, 1)))
    for _ in range(BY_NUMPY):
        next(_windows)


def keep_compiled() -> None:
    """Have numba store what it compiles beside whisper: seconds saved when it is next loaded."""
    with contextlib.suppress(RuntimeError):  # no folder that could be written to
        timing.backtrace.enable_caching()
        _compiled.enable_caching()


def by_numpy(costs: npt.NDArray[np.float64]) -> Path:
    """Compute the same for the places of one diagonal (token + frame) at a time, which do not depend on each other."""
    tokens, frames = costs.shape
    on_diagonal = np.zeros((tokens + frames + 1, tokens + 1))
    for token in range(1, tokens + 1):
        on_diagonal[token + 1 : token + frames + 1, token] = costs[token - 1]
    came_from = np.full(on_diagonal.shape, 2, dtype=np.int8)
    before, last = np.full((2, tokens + 1), np.inf)
    before[0] = 0
    for diagonal in range(2, tokens + frames + 1):
        low, high = max(1, diagonal - frames), min(tokens, diagonal - 1) + 1
        both, token_only, frame_only = before[low - 1 : high - 1], last[low - 1 : high - 1], last[low:high]
        is_both = (both < token_only) & (both < frame_only)
        is_token = (token_only < both) & (token_only < frame_only)
        cheapest = np.where(is_both, both, np.where(is_token, token_only, frame_only))
        came_from[diagonal, low:high] = np.where(is_both, 0, np.where(is_token, 1, 2))
        before, last = last, np.full(tokens + 1, np.inf)
        last[low:high] = on_diagonal[diagonal, low:high] + cheapest
    return _back(came_from, tokens, frames)


def _back(came_from: npt.NDArray[Any], token: int, frame: int) -> Path:
    """Follow the path from its end; `came_from` by diagonal and token: 0 both, 1 the token before, 2 the frame."""
    steps = []
    while token or frame:
        steps.append((token - 1, frame - 1))
        move = 2 if token == 0 else 1 if frame == 0 else came_from[token + frame, token]
        token -= move != 2
        frame -= move != 1
    path: Path = np.array(steps[::-1], dtype=np.int64).T
    return path
