"""The parts of word alignment equal openai-whisper's; the whole is compared in test_equal_to_transcribe.py."""

import pytest
import torch
from whisper import timing

from btworker.engine.asr.decoding.alignment import median_of_seven

pytestmark = pytest.mark.speech


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 50, 1500])
def test_the_median_is_whispers(length: int) -> None:
    """With ties, at the ends, and where there is nothing to mirror."""
    generator = torch.Generator().manual_seed(length)
    for values in (torch.randn((3, 9, length), generator=generator), torch.randint(0, 4, (2, 5, length)).float()):
        assert torch.equal(median_of_seven(values), timing.median_filter(values, 7))
