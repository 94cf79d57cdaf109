"""What the tests with real weights share."""

import warnings

import pytest
from whisper.tokenizer import get_tokenizer

from bench.real.scoring import plain_words
from tests.lazy_modules import forget_lazy_modules

forget_lazy_modules()


@pytest.fixture(scope="session", autouse=True)
def _whispers_files() -> None:
    """Read the files that whisper reads once and does not close."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for multilingual in (True, False):
            get_tokenizer(multilingual)
        plain_words("", "en")
