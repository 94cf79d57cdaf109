"""Both ways of the time warping, and when each is taken."""

import subprocess
import sys
from itertools import count

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btworker.engine.asr.decoding import warping
from btworker.engine.asr.decoding.warping import BY_NUMPY, by_numba, by_numpy, load_compiled, warp
from tests.lazy_modules import forget_lazy_modules
from tests.slices import FULL

pytestmark = pytest.mark.speech
IMPORTED = "import sys, btworker.engine.job.attempt; print(*sys.modules)"
forget_lazy_modules()


@settings(max_examples=500 if FULL else 60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 200)),
    seed=st.integers(0, 2**32 - 1),
    digits=st.sampled_from([0, 1, 12]),
    damaged=st.booleans(),
)
def test_numpy_finds_whisper_s_path(shape: tuple[int, int], seed: int, digits: int, damaged: bool) -> None:
    """Of costs at random, also where many ways cost the same, and where a cost is not finite."""
    chance = np.random.default_rng(seed)
    costs = np.round(chance.normal(size=shape), digits)
    if damaged:
        costs[tuple(chance.integers(shape))] = chance.choice([np.nan, np.inf, -np.inf])
    assert np.array_equal(by_numpy(costs), by_numba(costs))


def test_numba_is_for_those_who_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first windows go by numpy, all later ones by numba; on a GPU none waits for either."""
    ways: list[str] = []

    def noted(way: str) -> None:
        def find(costs: npt.NDArray[np.float64]) -> warping.Path:
            ways.append(way)
            return costs.astype(np.int64)

        monkeypatch.setattr(warping, f"by_{way}", find)

    noted("numpy")
    noted("numba")
    monkeypatch.setattr(warping, "_windows", count())
    for _ in range(BY_NUMPY + 2):
        warp(np.zeros((1, 1)))
    assert ways == ["numpy"] * BY_NUMPY + ["numba"] * 2
    monkeypatch.setattr(warping, "_windows", count())
    load_compiled()
    warp(np.zeros((1, 1)))
    assert ways[-2:] == ["numba", "numba"]


def test_what_a_job_without_speakers_needs_is_all_that_is_imported() -> None:
    """scipy.optimize and pyannote come with the first job that wants speakers: half a second, and seconds."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {"torch", "whisper"} <= modules
    assert not {"scipy.optimize", "pyannote.audio", "speechbrain", "sklearn"} & modules
