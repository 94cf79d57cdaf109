"""Models from Hugging Face's hub: fetched whole and right or not at all, whatever the hub and the line do."""

import hashlib
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from btworker.checkpoints import FetchError, Hub, HubModel, damaged
from btworker.checkpoints.folder import NotWhisperError, forbids_commerce, look_into, weights_among
from tests.hub_server import COMMIT, HubServer, hub_server

MODEL = HubModel("someone/whisper-tuned")
WEIGHTS = bytes(range(256)) * 400
CONFIG = json.dumps({"model_type": "whisper"}).encode()
OTHER = "f" * 40


def plain() -> dict[str, bytes]:
    card = b"---\nlanguage:\n- de\nlicense: cc-by-nc-4.0\n---\n# A model\nlicense: mit\n"
    return {
        "README.md": card, "config.json": CONFIG, "tokenizer.json": b'{"model": 1}' + b" " * 3000,
        "model.safetensors": WEIGHTS, "pytorch_model.bin": b"the same once more" * 200, "training_args.bin": b"code",
        "runs/events.out": b"no part of it",
    }  # fmt: skip


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A hub with one model."""
    with hub_server(plain()) as running:
        yield running


def fetch(hub: HubServer, cache: Path, model: HubModel = MODEL, token: str | None = None) -> Path:
    return Hub(hub.address, token).fetch(model, cache)


def nothing_of_it(cache: Path) -> bool:
    """No folder has the name of a model."""
    return not MODEL.folder(cache).exists() and not list(cache.glob(f"hf/*/{COMMIT}"))


def test_what_counts_is_fetched_once(hub: HubServer, tmp_path: Path) -> None:
    """The weights in their best form, the settings and the card; a second fetch asks for the listing alone."""
    told: list[tuple[int, int | None]] = []
    folder = Hub(hub.address).fetch(MODEL, tmp_path, lambda done, total: told.append((done, total)))
    assert folder == MODEL.folder(tmp_path) == tmp_path / "hf" / "someone--whisper-tuned" / COMMIT
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "config.json", "tokenizer.json", "model.safetensors", "fetched.json"}
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert told[-1] == (len(WEIGHTS), len(WEIGHTS))
    manifest = json.loads((folder / "fetched.json").read_text())
    assert manifest["sha256"]["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert manifest["commit"] == COMMIT
    hub.asked.clear()
    assert fetch(hub, tmp_path) == folder
    assert [path for _, path, _ in hub.asked] == ["/api/models/someone/whisper-tuned/revision/main"]


def test_whoever_comes_second_waits_for_the_first(hub: HubServer, tmp_path: Path) -> None:
    """Two processes of one worker want the model at once: it comes once, and both are told where it is."""
    told: list[int] = []
    with ThreadPoolExecutor() as pool:
        found = [
            pool.submit(Hub(hub.address).fetch, MODEL, tmp_path, lambda done, _: told.append(done)) for _ in range(4)
        ]
        assert {one.result() for one in found} == {MODEL.folder(tmp_path)}
    assert [path for host, path, _ in hub.asked if host == "cdn"].count("/model.safetensors") == 1


def test_the_licence_of_the_card_is_named(hub: HubServer, tmp_path: Path) -> None:
    """Of its first lines, and only where it forbids commercial use."""
    folder = fetch(hub, tmp_path)
    assert forbids_commerce(folder) == "cc-by-nc-4.0"
    for card, licence in {
        "---\nlicense: mit\n---\nlicense: cc-by-nc-4.0": "",
        "no metadata\nlicense: cc-by-nc-4.0": "",
        "---\nlicense: other\nlicense_name: acme-non-commercial\n---": "acme-non-commercial",
        "---\nlicense: 'cc-by-nc-sa-4.0'\n---": "cc-by-nc-sa-4.0",
        "---\nlicense: apache-2.0\n---": "",
    }.items():
        (folder / "README.md").write_text(card)
        assert forbids_commerce(folder) == licence


def test_shards_are_those_of_the_index(hub: HubServer, tmp_path: Path) -> None:
    """All of them, and no other file."""
    hub.files = {
        "config.json": CONFIG,
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        ).encode(),
        "model-00001-of-00002.safetensors": WEIGHTS,
        "model-00002-of-00002.safetensors": WEIGHTS[::-1],
        "model-00003-of-00002.safetensors": WEIGHTS,
    }
    found = look_into(fetch(hub, tmp_path))
    assert found.weights == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert found.index == "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("names", "weights", "index"),
    [
        ({"model.safetensors", "pytorch_model.bin.index.json", "model.bin"}, ("model.safetensors",), ""),
        ({"model.safetensors.index.json", "pytorch_model.bin"}, (), "model.safetensors.index.json"),
        ({"pytorch_model.bin", "model.safetensors.index.fp32.json"}, ("pytorch_model.bin",), ""),
        ({"model.bin", "ggml-base.bin"}, ("model.bin",), ""),
    ],
)
def test_the_best_form_counts(names: set[str], weights: tuple[str, ...], index: str) -> None:
    """Where there are several, as in most repositories."""
    assert weights_among(names) == (weights, index)


def test_the_token_stays_with_the_hub(hub: HubServer, tmp_path: Path) -> None:
    """The host with the large files has signatures in its addresses, and is a stranger's."""
    hub.gated = True
    fetch(hub, tmp_path, token="hf_right")
    assert hub.tokens == {"hub": {"Bearer hf_right"}, "cdn": set()}
    assert "hf_right" not in repr(Hub(hub.address, "hf_right"))


@pytest.mark.parametrize(
    ("token", "what"), [(None, "and set HF_TOKEN .401."), ("hf_wrong", "the account that HF_TOKEN is of .403.")]
)
def test_conditions_are_a_sentence(hub: HubServer, tmp_path: Path, token: str | None, what: str) -> None:
    """With what to do, and without the token."""
    hub.gated = True
    with pytest.raises(FetchError, match=what) as caught:
        fetch(hub, tmp_path, token=token)
    assert "hf_" not in str(caught.value)
    assert nothing_of_it(tmp_path)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (HubModel("someone/else"), "no such repository.*401"),
        (HubModel("someone/whisper-tuned", "v9"), "no such revision"),
    ],
)
def test_what_the_hub_has_not_is_a_sentence(hub: HubServer, tmp_path: Path, model: HubModel, what: str) -> None:
    """A repository, a revision."""
    with pytest.raises(FetchError, match=what):
        fetch(hub, tmp_path, model)


def test_too_many_requests_are_waited_for(hub: HubServer, tmp_path: Path) -> None:
    """As long as the hub says; and not for ever."""
    hub.busy = 3
    assert look_into(fetch(hub, tmp_path)).weights == ("model.safetensors",)
    hub.busy = 1000
    with pytest.raises(FetchError, match="429"):
        fetch(hub, tmp_path)


def test_an_interruption_is_gone_over(hub: HubServer, tmp_path: Path) -> None:
    """The connection breaks, and the next one asks the hub again for the rest."""
    del hub.files["tokenizer.json"]
    hub.breaks_after = [30_000, 40_000]
    folder = fetch(hub, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert [size for host, _, size in hub.asked if host == "cdn"] == ["", "bytes=30000-", "bytes=70000-"]


def test_what_came_is_kept_for_the_next_time(hub: HubServer, tmp_path: Path) -> None:
    """And is no model until it is whole."""
    del hub.files["tokenizer.json"]
    hub.breaks_after = [30_000, 0]
    with pytest.raises(FetchError, match=r"model\.safetensors: the server closed"):
        fetch(hub, tmp_path)
    assert nothing_of_it(tmp_path)
    hub.asked.clear()
    fetch(hub, tmp_path)
    assert [size for host, _, size in hub.asked if host == "cdn"] == ["bytes=30000-"]
    assert [path for _, path, _ in hub.asked if path.endswith("config.json")] == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_wrong_hash_is_never_a_model(hub: HubServer, tmp_path: Path, name: str) -> None:
    """A large file's and a small one's."""
    hub.sends_instead[name] = hub.files[name][:-1] + b"!"
    with pytest.raises(FetchError, match="differs"):
        fetch(hub, tmp_path)
    assert nothing_of_it(tmp_path)


def test_a_damaged_file_is_fetched_again(hub: HubServer, tmp_path: Path) -> None:
    """That one alone."""
    folder = fetch(hub, tmp_path)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"!")
    assert damaged(folder) == "model.safetensors"
    hub.asked.clear()
    assert damaged(fetch(hub, tmp_path)) == ""
    assert [path for host, path, _ in hub.asked if host == "cdn"] == ["/model.safetensors"]


def test_a_branch_that_moves_is_another_folder(hub: HubServer, tmp_path: Path) -> None:
    """The one before stays for who has it; a commit is always the same."""
    before = fetch(hub, tmp_path)
    hub.commits["main"] = OTHER
    hub.files["model.safetensors"] = WEIGHTS[::-1]
    after = fetch(hub, tmp_path)
    assert (before.name, after.name) == (COMMIT, OTHER)
    assert MODEL.folder(tmp_path) == after
    assert (before / "model.safetensors").read_bytes() == WEIGHTS
    assert HubModel(MODEL.name, COMMIT).folder(tmp_path) == before


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"config.json": b'{"model_type": "wav2vec2"}', "model.safetensors": WEIGHTS}, "wav2vec2"),
        ({"config.json": CONFIG, "ggml-base.bin": WEIGHTS}, "whisper.cpp"),
        ({"config.json": CONFIG}, "has no weights"),
        ({"config.json": CONFIG, "model.safetensors.index.json": b'{"weight_map": {"a": "../../x.bin"}}'}, "no files"),
        ({"config.json": CONFIG, "model.safetensors.index.json": b'{"weight_map": {"a": "x.bin"}}'}, "lacks x.bin"),
        ({"config.json": b"[", "model.safetensors": WEIGHTS}, "no JSON"),
    ],
)
def test_what_is_no_whisper_is_not_fetched(hub: HubServer, tmp_path: Path, files: dict[str, bytes], what: str) -> None:
    """It is told before gigabytes come."""
    hub.files = files
    with pytest.raises(FetchError, match=what):
        fetch(hub, tmp_path)
    assert not [path for host, path, _ in hub.asked if host == "cdn"]
    assert nothing_of_it(tmp_path)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"sha": "x", "siblings": []}'])
def test_what_is_no_hub_is_a_sentence(hub: HubServer, tmp_path: Path, answer: bytes) -> None:
    """A page of a hotel's network, say."""
    hub.listing = lambda _revision: answer.decode()  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(FetchError, match="the hub's answer"):
        fetch(hub, tmp_path)


def test_no_hub_is_a_sentence(tmp_path: Path) -> None:
    """The reason of the system."""
    with pytest.raises(FetchError, match="refused"):
        Hub("http://127.0.0.1:9").fetch(MODEL, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:owner",
        "hf:a/b/c",
        "hf:../b",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b@x..y",
        "hf:a b/c",
        "hf:a/b@/x",
    ],
)
def test_a_name_is_no_path(text: str) -> None:
    """But hf:owner/name, and a revision."""
    if text == "hf:a/b@":
        assert HubModel.parse(text) == HubModel("a/b")
        return
    with pytest.raises(ValueError, match="is not hf:owner/name"):
        HubModel.parse(text)


def test_names_come_back_as_they_were() -> None:
    """For the settings of another process."""
    for text in ("hf:owner/name", "hf:owner/name@refs/pr/1", f"hf:o/n@{COMMIT}"):
        assert str(HubModel.parse(text)) == text


def test_a_folder_that_cannot_be_read_is_no_model(tmp_path: Path) -> None:
    """Nor one that is none."""
    with pytest.raises(NotWhisperError):
        look_into(tmp_path)


def test_a_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    """The sentence names its address, the system's reason, and both ways round it."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(FetchError) as refused:
        Hub(address).fetch(MODEL, tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{address} cannot be reached (Connection refused)")
    assert "HF_ENDPOINT" in said and "by its path" in said
    assert nothing_of_it(tmp_path)
