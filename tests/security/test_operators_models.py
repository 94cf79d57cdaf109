"""S9, in the engine: a checkpoint is weights, and no code in it is run, wherever it came from."""

from pathlib import Path

import pytest
import torch

from btworker.engine.asr.weights import load_model
from btworker.errors import BtworkerError, ErrorCode
from btworker.specs import EngineSettings
from tests.security.canary import Canary, planted

pytestmark = pytest.mark.speech


def settings_with(own: Path, cache: Path) -> EngineSettings:
    return EngineSettings(
        default_model="own",
        models=(("own", own), ("tiny", None)),
        model_cache=cache,
        scratch=cache,
        offline=True,
        threads=1,
    )


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["pickle", "torch", "dictionary", "script"])
def test_a_pickle_among_the_models_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    """Under an operator's own name, as a file and in a folder, and in the cache under an official one."""
    raw, sprung = planted(tmp_path)
    path = tmp_path / "tiny.pt"
    if kind == "pickle":
        path.write_bytes(raw)
    elif kind == "script":
        torch.jit.script(torch.nn.Identity()).save(str(path))
    else:
        torch.save({"dims": Canary(sprung), "model_state_dict": {}} if kind == "dictionary" else Canary(sprung), path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "whisper"}')
    (folder / "pytorch_model.bin").write_bytes(path.read_bytes())
    with pytest.raises(BtworkerError, match="cannot be loaded"):
        load_model("own", settings_with(folder, tmp_path), torch.device("cpu"))
    for name in ("own", "tiny"):
        with pytest.raises(BtworkerError) as caught:
            load_model(name, settings_with(path, tmp_path), torch.device("cpu"))
        assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
        assert str(tmp_path) not in caught.value.message
    assert not sprung.exists()
