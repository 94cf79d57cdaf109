"""CAM++ as pyannote's embedding, with random weights: what is measured with the real ones is in tests/real."""

from pathlib import Path

import numpy as np
import pytest
import torch

from btworker.engine.campplus import DIMENSION, CamPlusPlus
from tests.speech.diarization.cases import with_statistics
from tools.demo_diarization.checkpoint import save
from tools.demo_diarization.specifications import of_embedding

pytestmark = pytest.mark.speech


@pytest.fixture(scope="module")
def network() -> CamPlusPlus:
    """One whose norms have statistics, so that it is no constant."""
    torch.manual_seed(0)
    model = CamPlusPlus()
    model.specifications = of_embedding(10.0)
    with_statistics(model)
    return model.eval()


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    """Two chunks of 3 s, (2, 1, samples)."""
    return 0.1 * torch.randn(2, 1, 48_000, generator=torch.Generator().manual_seed(1))


def test_several_masks_give_what_each_gives_alone(network: CamPlusPlus, sound: torch.Tensor) -> None:
    """One pass for all speakers of a chunk; an empty mask is the same whatever the sound is."""
    masks = torch.zeros(2, 3, 100)
    masks[:, 0, :60], masks[:, 1, 40:] = 1, 1
    with torch.inference_mode():
        together = network(sound, weights=masks)
        apart = torch.stack([network(sound, weights=masks[:, one]) for one in range(3)], dim=1)
        whole, unmasked = network(sound, weights=torch.ones(2, 100)), network(sound)
    assert together.shape == (2, 3, DIMENSION)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whole, unmasked, rtol=1e-4, atol=1e-4)
    assert torch.equal(together[0, 2], together[1, 2])
    assert not torch.allclose(together[0, 0], together[0, 1])
    assert not torch.allclose(together[0, 0], together[1, 0])


def test_loudness_changes_nothing(network: CamPlusPlus, sound: torch.Tensor) -> None:
    """The mean of each band is taken out."""
    with torch.inference_mode():
        np.testing.assert_allclose(network(sound), network(4 * sound), rtol=1e-3, atol=1e-3)


def test_pyannote_loads_it_from_a_checkpoint(network: CamPlusPlus, sound: torch.Tensor, tmp_path: Path) -> None:
    """By the names of module and class in the file."""
    from pyannote.audio import Model

    save(network, tmp_path / "embedding.ckpt")
    loaded = Model.from_pretrained(str(tmp_path / "embedding.ckpt")).eval()
    assert isinstance(loaded, CamPlusPlus)
    assert loaded.dimension == DIMENSION
    with torch.inference_mode():
        assert torch.equal(loaded(sound), network(sound))
