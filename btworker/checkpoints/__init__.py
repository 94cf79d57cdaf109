"""Checkpoints of models: OpenAI's and those of other people, what they are called, and how they come into the cache.

No torch: the settings, the command line (`btworker models`) and the engine's child share this package.
"""

from btworker.checkpoints.download import FetchError, WrongContentError
from btworker.checkpoints.folder import (
    ModelFolder,
    NotWhisperError,
    file_hashes,
    forbids_commerce,
    look_into,
    sha256_of_all,
)
from btworker.checkpoints.hashing import Hashes, Progress, file_sha256
from btworker.checkpoints.hub import Hub, HubModel, damaged, fetched_hashes
from btworker.checkpoints.openai import Official, fetch, official, official_name, official_names

__all__ = [
    "FetchError",
    "Hashes",
    "Hub",
    "HubModel",
    "ModelFolder",
    "NotWhisperError",
    "Official",
    "Progress",
    "WrongContentError",
    "damaged",
    "fetch",
    "fetched_hashes",
    "file_hashes",
    "file_sha256",
    "forbids_commerce",
    "look_into",
    "official",
    "official_name",
    "official_names",
    "sha256_of_all",
]
