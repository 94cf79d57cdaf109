"""Settings: defaults, all mistakes at once, no secret in a message, and which device a worker gets."""

import subprocess
import sys
from pathlib import Path

import pytest

from btworker.config import load_settings
from btworker.errors import EXIT_BAD_SETTINGS, StartupError
from btworker.pool.backoff import LOAD_DELAYS_S, LONGEST_CRASH_DELAY_S, Backoff
from btworker.pool.devices import CPU, places, select, threads_per_child
from btworker.pool.process import Gone
from btworker.specs import Device


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
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


def test_defaults(monkeypatch):
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


def test_every_mistake_is_reported_at_once_and_no_secret(monkeypatch):
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


def test_token_is_required():
    """No token, no start; the sentence names both ways to give one."""
    with pytest.raises(StartupError, match=r"WORKER_TOKEN is required \(or WORKER_TOKEN_FILE"):
        load_settings()


def test_token_file_and_rotation(monkeypatch, tmp_path):
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


def test_models(monkeypatch, tmp_path):
    """Names with paths serve the operator's checkpoints; the default model must be among the names."""
    monkeypatch.setenv("WORKER_TOKEN", "t")
    monkeypatch.setenv("WORKER_MODELS", f"tiny, mine={tmp_path}/m.pt")
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
def test_visible_gpus(selection, indices):
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
def test_places(choice, gpus, slots, processes, expected):
    """Children and slots are spread over the GPUs; cuda without one is a child that will say why, not a silent CPU."""
    found = places(choice=choice, gpus=gpus, slots=slots, processes_per_device=processes)
    assert [(place.device, place.slots) for place in found] == expected
    assert slots == "auto" or sum(place.slots for place in found) == slots


def test_labels_and_threads():
    """A worker's label in metrics, and its share of the cores."""
    assert (CPU.label, GPUS[1].label, Device("cuda").label) == ("cpu", "1", "cuda")
    assert Device("cuda", "MIG-2", "MIG instance").label == "MIG-2"
    assert threads_per_child(wanted=3, children=8) == 3 and threads_per_child(wanted=0, children=1000) == 1


def test_backoff_grows_and_starts_again():
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
def test_exit_codes_are_sentences(code, sentence):
    """A child's end is said in words."""
    assert Gone(code).sentence == sentence


def test_configuration_page_is_current():
    """docs/configuration.md is what the settings' own documentation says; every setting has some."""
    root = Path(__file__).resolve().parents[2]
    checked = subprocess.run([sys.executable, root / "tools" / "configuration_doc.py", "--check"], check=False)
    assert checked.returncode == 0, "run python tools/configuration_doc.py"
