"""Settings: defaults, all mistakes at once, no secret in a message, and which device a worker gets."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from btworker.config import GROUPS, ClientSettings, load_client_settings, load_settings, unknown_names
from btworker.config.mistakes import expected
from btworker.config.names import letters_between
from btworker.errors import EXIT_BAD_SETTINGS, StartupError
from btworker.pool.backoff import LOAD_DELAYS_S, LONGEST_CRASH_DELAY_S, Backoff
from btworker.pool.devices import CPU, places, select, threads_per_child
from btworker.pool.process import Gone
from btworker.specs import Device


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what the test sets."""
    for name in (
        "WORKER_TOKEN",
        "WORKER_MODEL",
        "WORKER_MODELS",
        "HF_TOKEN",
        "HUGGINGFACE_TOKEN",
        "CUDA_VISIBLE_DEVICES",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORKER_DATA_DIR", str(tmp_path))


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is enough."""
    monkeypatch.setenv("WORKER_TOKEN", "t0ken")
    settings = load_settings()
    assert (settings.host, settings.port, settings.model, settings.max_concurrent_jobs) == (
        "127.0.0.1",
        8477,
        "large-v3",
        1,
    )
    assert settings.tokens == ("t0ken",)
    assert {"tiny", "large-v3", "medium.en"} <= set(settings.model_paths)
    assert settings.max_file_bytes == 2000 * 2**20


@pytest.mark.parametrize(
    ("text", "heads"),
    [
        ("mine=3:1  4:2, other=medium", (("mine", "3:1 4:2"), ("other", "medium"))),
        ("mine=0:0", (("mine", "0:0"),)),
        ("mine=", None),
        ("mine", None),
        ("mine=3.1", None),
        ("mine=enormous", None),
        ("../m=base", None),
    ],
)
def test_alignment_heads_are_pairs_or_an_official_model(monkeypatch: pytest.MonkeyPatch, text: str, heads: Any) -> None:
    """Anything else ends the start."""
    monkeypatch.setenv("WORKER_ALIGNMENT_HEADS", text)
    if heads is not None:
        assert load_settings(WORKER_TOKEN="t").alignment_heads == heads
        return
    with pytest.raises(StartupError, match="WORKER_ALIGNMENT_HEADS"):
        load_settings(WORKER_TOKEN="t")


def test_every_mistake_is_reported_at_once_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start tells all; values are not repeated, since one may be a token."""
    monkeypatch.setenv("WORKER_TOKEN", "canary with spaces")
    monkeypatch.setenv("WORKER_PORT", "eighty")
    monkeypatch.setenv("WORKER_MAX_CONCURRENT_JOBS", "0")
    monkeypatch.setenv("WORKER_DEVICE", "tpu")
    monkeypatch.setenv("WORKER_MODELS", "../../etc=/x")
    with pytest.raises(StartupError) as caught:
        load_settings()
    message = caught.value.message
    for name in ("WORKER_TOKEN", "WORKER_PORT", "WORKER_MAX_CONCURRENT_JOBS", "WORKER_DEVICE", "WORKER_MODELS"):
        assert name in message
    assert "canary" not in message and caught.value.exit_code == EXIT_BAD_SETTINGS


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WORKER_PORT", "eighty", "must be a whole number of at least 0 and at most 65535"),
        ("WORKER_PORT", "99999", "must be a whole number of at least 0 and at most 65535"),
        ("WORKER_BODY_IDLE_SECONDS", "0", "must be a number of more than 0 and at most 3600"),
        ("WORKER_RETENTION_HOURS", "-1", "must be a number of more than 0"),
        ("WORKER_DISK_RESERVE_MB", "1.5", "must be a whole number of at least 0"),
        ("WORKER_OFFLINE", "perhaps", "must be true or false"),
        ("WORKER_DEVICE", "tpu", "must be auto, cuda or cpu"),
        ("WORKER_TOKEN_FILE", "here/tokens", "/here/tokens cannot be read: no such file or directory"),
        ("WORKER_TOKEN_FILE", "/", "/ cannot be read: is a directory"),
    ],
)
def test_a_mistake_says_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    """In our words, with the whole path."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError) as caught:
        load_settings()
    assert f"{name}: " in caught.value.message and sentence in caught.value.message
    assert "input" not in caught.value.message.lower() and caught.value.exit_code == EXIT_BAD_SETTINGS


def test_every_setting_has_words_for_what_it_takes() -> None:
    """No type without them."""
    for group in (*GROUPS, ClientSettings):
        for field in group.model_fields.values():
            assert re.fullmatch(
                r"(a (whole )?number( of .*\d)?|a path|true or false|text|[a-z, ]+ or [a-z]+)", expected(field)
            )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("WORKER_MODLE", "WORKER_MODEL"),
        ("WORKER_MODEL_", "WORKER_MODEL"),
        ("WORKERTOKEN", None),
        ("WORKER_TKEN", "WORKER_TOKEN"),
        ("worker_modle", "WORKER_MODEL"),
        ("WORKER_RETENTION_HOUR", "WORKER_RETENTION_HOURS"),
        ("WORKER_MAX_FILES_MB", "WORKER_MAX_FILE_MB"),
        ("WORKER_UR", "WORKER_URL"),
    ],
)
@pytest.mark.parametrize("load", [load_settings, load_client_settings])
def test_a_slip_in_a_name_is_an_error(monkeypatch: pytest.MonkeyPatch, load: Any, name: str, meant: str | None) -> None:
    """Within two letters of a setting, and whatever else is wrong; for a client's command as well as for a worker."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    monkeypatch.setenv(name, "whatever")
    if meant is None:
        load()
        return
    with pytest.raises(StartupError) as caught:
        load()
    assert f"{name} is no setting; {meant} is" in caught.value.message
    assert caught.value.exit_code == EXIT_BAD_SETTINGS


def test_what_is_unknown_and_what_kubernetes_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one is told, the other passed over: also as the port, which has its default then."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    monkeypatch.setenv("WORKER_SOMETHING_ELSE", "1")
    for name, value in {
        "WORKER_SERVICE_HOST": "10.0.0.7",
        "WORKER_SERVICE_PORT": "8477",
        "WORKER_SERVICE_PORT_HTTP": "8477",
        "WORKER_PORT": "tcp://10.0.0.7:8477",
        "WORKER_PORT_8477_TCP": "tcp://10.0.0.7:8477",
        "WORKER_PORT_8477_TCP_ADDR": "10.0.0.7",
        "WORKER_MODEL_SERVICE_HOST": "10.0.0.8",
        "WORKER_MODELS_PORT": "tcp://10.0.0.8:80",
        "WORKER_MODELS_PORT_80_TCP_PROTO": "tcp",
    }.items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == 8477
    assert unknown_names() == ("WORKER_SOMETHING_ELSE",)


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [
        ("", "", 0),
        ("a", "", 1),
        ("modle", "model", 1),
        ("kitten", "sitting", 3),
        ("abcd", "badc", 2),
        ("same", "same", 0),
    ],
)
def test_letters_between_words(one: str, other: str, letters: Any) -> None:
    """In both directions."""
    assert letters_between(one, other) == letters_between(other, one) == letters


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"WORKER_MODEL": "larg-v3"}, "no model larg-v3; did you mean large-v3?"),
        ({"WORKER_MODEL": "whisper-1"}, "no model whisper-1: it knows"),
        ({"WORKER_MODEL": "tiny", "WORKER_MODELS": "tiny,basic"}, "no model basic"),
        ({"WORKER_MODEL": "mine", "WORKER_MODELS": "mine=/models/m.pt"}, None),
        ({"WORKER_MODEL": "fake", "WORKER_ENGINE": "tests.fake_engine:load"}, None),
    ],
)
def test_an_unknown_model_is_an_error(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str) -> None:
    """Not a worker that never gets ready; one's own names, and those of another engine, are right."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    if sentence is None:
        load_settings()
        return
    with pytest.raises(StartupError) as caught:
        load_settings()
    assert sentence in caught.value.message and caught.value.exit_code == EXIT_BAD_SETTINGS


def test_token_is_required() -> None:
    """No token, no start; the sentence names both ways to give one."""
    with pytest.raises(StartupError, match=r"WORKER_TOKEN is required \(or WORKER_TOKEN_FILE"):
        load_settings()


def test_token_file_and_rotation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Several tokens are accepted at once; an unreadable or odd file is said."""
    file = tmp_path / "tokens"
    file.write_text("new\nold\n")
    monkeypatch.setenv("WORKER_TOKEN_FILE", str(file))
    assert load_settings().tokens == ("new", "old")
    for bad in ("", "\u00e9\n"):
        file.write_text(bad, encoding="utf-8")
        with pytest.raises(StartupError):
            load_settings()
    monkeypatch.setenv("WORKER_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(StartupError, match="cannot be read"):
        load_settings()


def test_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Names with paths serve the operator's checkpoints; the default model is one of the names, else the first."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    assert load_settings().model == "large-v3"
    monkeypatch.setenv("WORKER_MODELS", "tiny,large-v3")
    assert load_settings().model == "large-v3"
    monkeypatch.setenv("WORKER_MODELS", f"tiny, mine={tmp_path}/m.pt")
    assert load_settings().model == "tiny"
    monkeypatch.setenv("WORKER_MODEL", "large-v3")
    with pytest.raises(StartupError, match="large-v3 is not among WORKER_MODELS"):
        load_settings()
    monkeypatch.setenv("WORKER_MODEL", "mine")
    assert load_settings().model_paths == {"tiny": None, "mine": tmp_path / "m.pt"}


GPUS = tuple(Device("cuda", f"GPU-{n}a{n}b-ffff", "NVIDIA H200", n) for n in range(3))


@pytest.mark.parametrize(
    ("selection", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("1,7,0", [1]),
        ("GPU-2a2b", [2]),
        ("-1", []),
        ("GPU", []),
    ],
)
def test_visible_gpus(selection: str | None, indices: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES means what it means to CUDA."""
    assert [gpu.index for gpu in select(GPUS, selection)] == indices


@pytest.mark.parametrize(
    ("choice", "gpus", "slots", "processes", "expected"),
    [
        ("auto", (), 1, 1, [(CPU, 1)]),
        ("auto", (), "auto", 1, [(CPU, 1)]),
        ("auto", (), 2, 1, [(CPU, 2)]),
        ("auto", (), 3, 2, [(CPU, 2), (CPU, 1)]),
        ("auto", GPUS, 1, 1, [(GPUS[0], 1)]),
        ("auto", GPUS, "auto", 1, [(gpu, 1) for gpu in GPUS]),
        ("auto", GPUS[:2], "auto", 2, [(GPUS[0], 1), (GPUS[1], 1), (GPUS[0], 1), (GPUS[1], 1)]),
        ("auto", GPUS[:2], 3, 1, [(GPUS[0], 2), (GPUS[1], 1)]),
        ("auto", GPUS[:2], 3, 4, [(GPUS[0], 1), (GPUS[1], 1), (GPUS[0], 1)]),
        ("auto", GPUS, 64, 1, [(GPUS[0], 22), (GPUS[1], 21), (GPUS[2], 21)]),
        ("cpu", GPUS, "auto", 1, [(CPU, 1)]),
        ("cuda", (), 1, 1, [(Device("cuda"), 1)]),
    ],
)
def test_places(choice: str, gpus: tuple[Device, ...], slots: int | str, processes: int, expected: Any) -> None:
    """Children and slots are spread over the GPUs; cuda without one is a child that will say why, not a silent CPU."""
    found = places(choice=choice, gpus=gpus, slots=slots, processes_per_device=processes)
    assert [(place.device, place.slots) for place in found] == expected
    assert slots == "auto" or sum(place.slots for place in found) == slots


def test_labels_and_threads() -> None:
    """A worker's label in metrics, and its share of the cores."""
    assert (CPU.label, GPUS[1].label, Device("cuda").label) == ("cpu", "1", "cuda")
    assert Device("cuda", "MIG-2", "MIG instance").label == "MIG-2"
    assert threads_per_child(wanted=3, children=8) == 3 and threads_per_child(wanted=0, children=1000) == 1


def test_backoff_grows_and_starts_again() -> None:
    """Deaths in a row wait longer, up to a bound; a finished job forgives."""
    backoff = Backoff()
    crashes = [backoff.after_death(loaded=True) for _ in range(15)]
    assert crashes == sorted(crashes) and crashes[0] < 1 and crashes[-1] == LONGEST_CRASH_DELAY_S
    backoff.worked()
    assert backoff.after_death(loaded=True) == crashes[0]
    assert [backoff.after_death(loaded=False) for _ in range(5)] == [*LOAD_DELAYS_S, LOAD_DELAYS_S[-1]]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (-9, "was killed by SIGKILL (perhaps for want of memory)"),
        (-11, "was killed by SIGSEGV"),
        (3, "exited with status 3"),
        (None, "disappeared"),
        (-99, "was killed by signal 99"),
    ],
)
def test_exit_codes_are_sentences(code: int | None, sentence: str) -> None:
    """A child's end is said in words."""
    assert Gone(code).sentence == sentence


def test_configuration_page_is_current() -> None:
    """docs/configuration.md is what the settings' own documentation says; every setting has some."""
    root = Path(__file__).resolve().parents[2]
    checked = subprocess.run([sys.executable, root / "tools" / "configuration_doc.py", "--check"], check=False)
    assert checked.returncode == 0, "run python tools/configuration_doc.py"


@pytest.mark.parametrize(
    ("aliases", "sentence"),
    [
        ("a/b=tiny,c=large-v3", ""),
        ("whisper-1", "is not name=model"),
        ("a b=tiny", "is not name=model"),
        ("mine=tinny", "mine=tinny: the model tinny is not offered"),
        ("tiny=large-v3", "tiny is the name of a model"),
    ],
)
def test_other_names_of_models(monkeypatch: pytest.MonkeyPatch, aliases: str, sentence: str) -> None:
    """They stand for a model that is offered, and for no other one's name."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    monkeypatch.setenv("WORKER_MODELS", "tiny,large-v3")
    monkeypatch.setenv("WORKER_MODEL", "tiny")
    monkeypatch.setenv("WORKER_MODEL_ALIASES", aliases)
    if not sentence:
        assert load_settings().aliases == {"a/b": "tiny", "c": "large-v3"}
        return
    with pytest.raises(StartupError, match=sentence):
        load_settings()
