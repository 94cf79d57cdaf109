"""`btworker models fetch` and `verify` against a web server, good and bad; and a worker that then needs no network."""

import importlib.metadata
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, Cli
from tests.acceptance.places import HELD_OUT
from tests.demo_worker import DEMO_WORKER
from tests.hub_server import COMMIT, hub_server
from tests.model_server import ModelServer, model_server, whisper_that_knows
from tests.process.server_of import ROOT, Server, plain_environment, serving
from tests.waiting import until

CONTENT = bytes(range(256)) * 4096
DEMO = ROOT / "btworker" / "demo" / "whisper-tiny-words.pt"
Ended = tuple[int, str, str]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A server with a checkpoint of 1 MB."""
    with model_server(CONTENT) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The cache of models; made by the first fetch."""
    return tmp_path / "cache"


@pytest.fixture
def models(server: ModelServer, cache: Path, tmp_path: Path) -> "Models":
    """`btworker models …` with an openai-whisper whose `tiny` and `base` are that checkpoint."""
    table = {"tiny": server.address("tiny"), "base": server.address("base")}
    stub = whisper_that_knows(tmp_path / "stub", table)
    environment = plain_environment(WORKER_MODEL_CACHE=str(cache), WORKER_MODEL="tiny")
    return Models(Cli(tmp_path, {**environment, "PYTHONPATH": f"{stub}:{ROOT}"}))


class Models:
    """Runs the command."""

    def __init__(self, cli: Cli) -> None:
        self._cli = cli

    def __call__(self, *words: str, **settings: str) -> Ended:
        """Exit code, stdout, stderr."""
        with self._cli.start("models", *words, **settings) as process:
            out, err = process.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in err
        return process.returncode, out, err


def test_fetch_brings_the_default_model(models: Models, server: ModelServer, cache: Path) -> None:
    """Whole, under its own name, its path on stdout; a second fetch asks nobody."""
    code, out, err = models("fetch")
    assert (code, out.strip()) == (0, str(cache / "tiny.pt"))
    assert "1.0 MB of 1.0 MB" in err
    assert (cache / "tiny.pt").read_bytes() == CONTENT
    assert models("fetch", "tiny")[0] == 0
    assert server.asked == [""]
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == ["tiny.pt"]


def test_an_interruption_is_gone_over(models: Models, server: ModelServer, cache: Path) -> None:
    """The connection breaks twice: each next one asks for the rest only."""
    server.breaks_after = [300_000, 500_000]
    assert models("fetch")[0] == 0
    assert server.asked == ["", "bytes=300000-", "bytes=800000-"]
    assert (cache / "tiny.pt").read_bytes() == CONTENT


def test_what_came_is_kept_for_the_next_time(models: Models, server: ModelServer, cache: Path) -> None:
    """The server goes away in the middle: exit code 3; the next fetch begins where this one ended."""
    server.breaks_after = [400_000, 0]
    code, _, err = models("fetch")
    assert code == 3 and "tiny could not be fetched" in err
    assert (cache / "tiny.part").stat().st_size == 400_000
    assert not (cache / "tiny.pt").exists()
    server.asked.clear()
    assert models("fetch")[0] == 0
    assert server.asked == ["bytes=400000-"]
    assert (cache / "tiny.pt").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_again(models: Models, server: ModelServer, cache: Path) -> None:
    """From the beginning, and right."""
    server.knows_range = False
    server.breaks_after = [300_000]
    assert models("fetch")[0] == 0
    assert (cache / "tiny.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("leftover", [b"another file's beginning", b"x" * (len(CONTENT) + 1), CONTENT])
def test_a_wrong_beginning_costs_a_second_round_only(
    models: Models, server: ModelServer, cache: Path, leftover: bytes
) -> None:
    """What lay there was another file's, too long, or already whole."""
    cache.mkdir()
    (cache / "tiny.part").write_bytes(leftover)
    assert models("fetch")[0] == 0
    assert (cache / "tiny.pt").read_bytes() == CONTENT


def test_a_wrong_hash_is_never_a_model(models: Models, server: ModelServer, cache: Path) -> None:
    """Exit code 3, one sentence, and nothing in the cache."""
    server.content = CONTENT[:-1] + b"!"
    code, _, err = models("fetch")
    assert code == 3 and "SHA-256" in err
    assert not [path for path in cache.iterdir() if path.suffix != ".lock"]


def test_no_network_is_a_sentence(models: Models, server: ModelServer, tmp_path: Path) -> None:
    """Exit code 3, the reason, and where to carry the file; the same for a server that has it not."""
    server.status = 404
    code, _, err = models("fetch")
    assert code == 3 and "404" in err
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    stub = whisper_that_knows(tmp_path / "other", {"tiny": f"http://127.0.0.1:{port}/{'0' * 64}/tiny.pt"})
    code, _, err = models("fetch", PYTHONPATH=f"{stub}:{ROOT}")
    assert code == 3 and "refused" in err and "tiny.pt" in err and len(err.splitlines()) == 1


def test_a_cache_that_cannot_be_written(models: Models, tmp_path: Path) -> None:
    """A file where the folder should be: exit code 3, with the reason."""
    (tmp_path / "cache").write_text("in the way")
    code, _, err = models("fetch")
    assert code == 3 and "could not be fetched" in err


def test_offline_forbids_it(models: Models, server: ModelServer) -> None:
    """WORKER_OFFLINE is obeyed here too (64, a setting); a name that is none is said, and a file that is missing."""
    code, _, err = models("fetch", WORKER_OFFLINE="true")
    assert code == 64 and "WORKER_OFFLINE" in err
    assert models("fetch", "no-such-model")[0] == 2
    code, out, _ = models("fetch", WORKER_MODELS="mine=/no/such.pt", WORKER_MODEL="mine")
    assert code == 3 and out.startswith("missing")
    assert server.asked == []


def test_verify_tells_whole_damaged_and_missing(
    models: Models, cache: Path, tmp_path: Path, server: ModelServer
) -> None:
    """By the published hash, without a network; the operator's own file has only its own hash."""
    code, out, _ = models("verify")
    assert code == 1 and out.startswith("missing")
    assert models("fetch", "tiny", "base")[0] == 0
    code, out, _ = models("verify")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["ok", "ok"]
    assert server.sha256 in out
    (cache / "base.pt").write_bytes(CONTENT[1:])
    code, out, _ = models("verify")
    assert code == 1 and [line.split()[0] for line in out.splitlines()] == ["ok", "damaged"]
    assert models("verify", "tiny")[0] == 0
    own = tmp_path / "own.pt"
    own.write_bytes(b"mine")
    code, out, _ = models("verify", WORKER_MODELS=f"mine={own}", WORKER_MODEL="mine")
    assert code == 0 and out.startswith("own ")


@pytest.mark.sliced("whole jobs", 1)
@pytest.mark.speech
@pytest.mark.timeout(300)
def test_a_worker_downloads_once_and_then_needs_no_network(tmp_path: Path) -> None:
    """The first start fetches the model from the server; the second, without one and offline, is ready as well.

    Under a name of its own: whisper has attention heads for "tiny", which the demo model has not.
    """
    real = Path(str(importlib.metadata.distribution("openai-whisper").locate_file("whisper")))
    with model_server(DEMO.read_bytes()) as server:
        stub = whisper_that_knows(tmp_path / "stub", {"words": server.address("words")}, copy_of=real)
        environment = {
            "PYTHONPATH": f"{stub}:{ROOT}", "WORKER_MODEL": "words", "WORKER_MODELS": "words",
            "WORKER_MODEL_CACHE": str(tmp_path / "cache"), "WORKER_ENGINE": "btworker.engine.engine:load",
        }  # fmt: skip
        with serving(tmp_path, **environment) as worker:
            until(lambda: worker.request("GET", "/health/ready")[0] == 200)
            assert worker.stop() == 0
        assert "model_download_finished" in worker.log.read_text()
        assert len(server.asked) == 1
    with serving(tmp_path, **environment, WORKER_OFFLINE="true") as worker:
        until(lambda: worker.request("GET", "/health/ready")[0] == 200)
        assert worker.stop() == 0


@pytest.mark.sliced("whole jobs", 1)
@pytest.mark.speech
@pytest.mark.timeout(300)
def test_a_whisper_of_the_hub_is_downloaded_for_the_first_job(tmp_path: Path) -> None:
    """Where the hub refuses, the job fails with what to do; later loads ask nobody, and need no network."""
    import torch
    from whisper.model import ModelDimensions

    from btworker.engine.asr.checkpoint_file import read_checkpoint
    from tests.speech.checkpoint_forms import SHAPES, hugging_face

    raw = read_checkpoint(DEMO)
    dims, state = ModelDimensions(**raw["dims"]), raw["model_state_dict"]
    folder = hugging_face(tmp_path / "tuned", SHAPES["base"], state, dtype=torch.float16, dims=dims)
    short = (HELD_OUT / "12.opus").read_bytes()
    cache = tmp_path / "cache"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    environment = {
        **DEMO_WORKER, "WORKER_MODELS": f"demo={DEMO},tuned=hf:someone/whisper-tuned",
        "WORKER_MODEL_CACHE": str(cache), "WORKER_OFFLINE": "false",
    }  # fmt: skip

    def words(worker: Server, model: str) -> list[str]:
        job = worker.ended(worker.upload("short.opus", short, model=model, language="en", outputs="txt"))
        if job["status"] == "failed":
            return [job["error"]["message"]]
        return worker.output(job["workerJobId"], job["outputs"][0]["filename"]).split()

    with hub_server(files) as hub:
        hub.gated = True
        with serving(tmp_path, **environment, HF_ENDPOINT=f"{hub.address}/") as worker:
            expected = words(worker, "demo")
            assert "could not be downloaded (accept the conditions" in words(worker, "tuned")[0]
            hub.gated = False
            assert words(worker, "tuned") == expected
            asked = len(hub.asked)
            assert words(worker, "demo") == words(worker, "tuned") == expected, "it was loaded again"
            assert len(hub.asked) == asked
            assert worker.stop() == 0
        assert worker.log.read_text().count("model_download_finished") == 1
    environment["WORKER_OFFLINE"] = "true"
    with serving(tmp_path, **environment) as worker:
        assert words(worker, "tuned") == expected
        assert worker.stop() == 0


def test_a_whisper_of_the_hub(models: Models, cache: Path) -> None:
    """Fetched with the token of the settings, which is told to nobody; listed and verified by name, without a network
    from then on; its licence is named."""
    name, config = "hf:someone/whisper-tuned", b'{"model_type": "whisper"}'
    card = b"---\nlicense: cc-by-nc-4.0\n---\n"
    with hub_server({"README.md": card, "config.json": config, "model.safetensors": CONTENT}) as hub:
        hub.gated = True
        settings = {"HF_ENDPOINT": hub.address, "WORKER_MODELS": f"tuned={name}", "WORKER_MODEL": "tuned"}
        code, out, err = models("list", **settings)
        assert "is downloaded when first used" in out
        code, _, err = models("fetch", **settings)
        assert code == 3 and "accept the conditions" in err and len(err.splitlines()) == 1
        code, out, err = models("fetch", "tuned", HF_TOKEN="hf_right", **settings)
        folder = cache / "hf" / "someone--whisper-tuned" / COMMIT
        assert (code, out.strip()) == (0, str(folder))
        assert "may not be used commercially: its licence is cc-by-nc-4.0" in err
        assert "hf_right" not in out + err
        code, _, err = models("fetch", name, HF_TOKEN="hf_right", HF_ENDPOINT=hub.address)
        assert code == 0 and f"WORKER_MODELS=NAME={name}" in err
    settings["WORKER_OFFLINE"] = "true"
    _, out, _ = models("list", **settings)
    assert str(folder) in out and "no commercial use: cc-by-nc-4.0" in out and "1.0 MB" in out
    code, out, _ = models("verify", **settings)
    assert code == 0 and out.startswith("ok ")
    (folder / "model.safetensors").write_bytes(CONTENT[:-1] + b"!")
    code, out, _ = models("verify", **settings)
    assert code == 1 and out.startswith("damaged") and out.strip().endswith("model.safetensors")


@pytest.mark.parametrize("name", ["hf:owner", "hf:../x", "hf:a/b@../c"])
def test_a_name_that_is_no_repository(models: Models, name: str) -> None:
    """Two words and a revision, in the command and in the settings."""
    code, _, err = models("fetch", name)
    assert code == 2 and "hf:owner/name" in err
    code, _, err = models("list", WORKER_MODELS=f"mine={name}", WORKER_MODEL="mine")
    assert code == 64 and "WORKER_MODELS" in err


def test_a_folder_that_is_no_whisper(models: Models, tmp_path: Path) -> None:
    """It is listed as nothing, and verify says what it is."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.json").write_text('{"model_type": "wav2vec2"}')
    (tmp_path / "own" / "model.safetensors").write_bytes(CONTENT)
    settings = {"WORKER_MODELS": f"mine={tmp_path / 'own'}", "WORKER_MODEL": "mine"}
    code, out, _ = models("verify", **settings)
    assert code == 1 and out.startswith("refused") and "wav2vec2" in out
    code, out, _ = models("list", **settings)
    assert code == 0 and "holds no Whisper that can be read (`btworker models verify mine` says why)" in out
