"""The command line's own logic: wording, arguments, the doctor's judgements, and what a command imports."""

import argparse
import os
import pty
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from btworker.cli import checks, gpu_check, keys, usage
from btworker.cli.board import summary, wait
from btworker.cli.checks import Verdict
from btworker.cli.job_options import wire_options
from btworker.cli.main import COMMANDS, build_parser, main
from btworker.cli.model_files import describe, model_files
from btworker.cli.recordings import Remote
from btworker.cli.tables import print_table
from btworker.cli.wording import clock, megabytes, printable, shortened, times
from btworker.client.model import read_job
from btworker.config import Settings
from btworker.gpu_support import TorchFacts
from btworker.specs import Device

LOCKS = Path(__file__).resolve().parents[2] / "locks"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 KB"), (2**19, "512 KB"), (2**20, "1.0 MB"), (12 * 2**20, "12 MB"), (6 * 2**30, "6.0 GB")],
)
def test_megabytes(size_bytes: int, text: str) -> None:
    """Sizes have two or three figures that count."""
    assert megabytes(size_bytes) == text


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0:00"), (7.9, "0:07"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    """Hours only where there are any."""
    assert clock(seconds) == text


def test_names() -> None:
    """Control characters are replaced, long names keep their end."""
    assert printable("a\x1b[2J\nb\u202e") == "a\ufffd[2J\ufffdb\ufffd"
    assert shortened("a" * 30 + ".mp3", 12) == "aaaaaa…a.mp3"
    assert shortened("short", 12) == "short"
    assert len(shortened("x" * 99, 12)) == 12
    assert (times(0.84), times(25.4)) == ("0.8x", "25x")


def test_summary_needs_both_ends() -> None:
    """How fast a job was, and nothing where that is not known."""
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    wire = {
        "workerJobId": "wk_0", "status": "complete", "startedAt": began.isoformat(),
        "finishedAt": (began + timedelta(seconds=2)).isoformat(),
        "inputs": [{"filename": "a", "durationSeconds": 70.0}],
    }  # fmt: skip
    assert summary(read_job(wire)) == "1:10 in 2.0 s, 35x real time"
    assert summary(read_job({**wire, "startedAt": None})) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("beamSize=5", ("beamSize", 5)),
        ("prompt=a=b", ("prompt", "a=b")),
        ('outputs=["srt"]', ("outputs", ["srt"])),
        ("x=", ("x", "")),
    ],
)
def test_options_of_any_kind(text: str, value: tuple[str, object]) -> None:
    """JSON where it is JSON, else text."""
    args = parsed("transcribe", "f", "--option", text)
    assert args.option == [value]


def test_only_what_was_said_is_sent() -> None:
    """Every default is the worker's; --option wins over an argument of the same name."""
    assert wire_options(parsed("transcribe", "f")) == {}
    assert wire_options(parsed("transcribe", "f", "--model", "a", "--option", "model=b")) == {"model": "b"}
    assert wire_options(parsed("transcribe", "f", "--formats", "SRT, md")) == {"outputs": ["srt", "md"]}
    part = ("--channels", "separate", "--start", "0:05:00", "--end", "600")
    assert wire_options(parsed("transcribe", "f", *part)) == {
        "channels": "separate",
        "start": "0:05:00",
        "end": "600",
    }
    parts = ("--range", "0:10-0:20", "--range", "1:00-")
    assert wire_options(parsed("transcribe", "f", *parts)) == {"ranges": ["0:10-0:20", "1:00-"]}


def test_keywords_come_from_the_line_and_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In any mixture; a file that is not there is named."""
    names = tmp_path / "names.txt"
    names.write_text("Ann Lovelace\n\nBob, Carl\n")
    found = parsed("transcribe", "f", "--keywords", "Dora", "--keywords", f"@{names}")
    assert wire_options(found) == {"keywords": ["Dora", "Ann Lovelace", "Bob", "Carl"]}
    with pytest.raises(SystemExit):
        parsed("transcribe", "f", "--keywords", f"@{tmp_path}/none")
    assert "none cannot be read: No such file" in capsys.readouterr().err


def parsed(*words: str) -> argparse.Namespace:
    """The arguments of a command."""
    return build_parser(words[0]).parse_args(words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-waiting", "-1", "a whole number, 0 or more, or none"),
        ("--max-stored-mb", "1.5", "a whole number, 0 or more, or none"),
        ("--audio-hours-a-day", "inf", "a number, 0 or more, or none"),
        ("--weight", "0", "from 0.01 to 100.0"),
        ("--expires", "tomorrow", "or a day in UTC like"),
        ("--scopes", "root", "one or more of submit"),
    ],
)
def test_options_of_a_key_say_what_they_take(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence, and nothing is made."""
    with pytest.raises(SystemExit):
        parsed("keys", "add", "alice", option, value)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["ftp://a.example/talk.mp3"], "ftp:// is not fetched"),
        (["s3://archive"], "must be s3://store/bucket/key"),
        (["s3://archive/calls/../x"], "must be s3://store/bucket/key"),
        (["talk.mp3", "--outputs-to", "texts/2026"], "must be s3://store/bucket/folder"),
        (["talk.mp3", "--outputs-to", "s3://archive/x"], "must be s3://store/bucket/folder"),
    ],
)
def test_an_address_is_looked_at_before_anything_is_sent(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip in it is found before gigabytes have gone to the worker."""
    with pytest.raises(SystemExit):
        parsed("transcribe", *words)
    assert complaint in capsys.readouterr().err


def test_addresses_and_paths_are_told_apart() -> None:
    """By their scheme; a bucket itself is a folder, too."""
    args = parsed(
        "transcribe", "https://a.example/b", "S3://store/bucket/key", "a:b.wav", "--outputs-to", "s3://s/bkt/"
    )
    assert args.files == [Remote("https://a.example/b"), Remote("S3://store/bucket/key"), Path("a:b.wav")]


def test_keys_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every id, scope and limit is whole."""
    limits = {"waiting": 100, "stored_mb": 2000, "audio_hours": 2.5, "requests": 30}
    row = {"id": "3f9c21a07b44", "name": "nightly-batch", "scopes": ["read-own", "submit"], "weight": 0.5,
           "limits": limits, "createdAt": 1.8e9, "expiresAt": None, "state": "revoked"}  # fmt: skip
    terminal, screen = pty.openpty()
    with open(screen, "w") as stdout:
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setattr(sys, "stdout", stdout)
        print_table(keys.table([row]), fitted=False)
    shown = os.read(terminal, 4096).decode()
    os.close(terminal)
    for word in ("3f9c21a07b44", "read-own,submit", "max-stored-mb 2000, audio-hours-a-day 2.5", "revoked"):
        assert word in shown


@pytest.mark.parametrize(
    ("ids", "names"),
    [(("a", "b"), ["alice (a)", "alice (b)"]), (("a", "a"), ["alice", "alice"]), ((), [])],
)
def test_usage_tells_keys_of_one_name_apart(ids: tuple[str, ...], names: list[str]) -> None:
    """By their ids, which nobody wants to see otherwise."""
    numbers = dict.fromkeys(("jobs", "audioSeconds", "workSeconds", "gpuSeconds", "inputBytes"), 0)
    days = [{"day": "2026-11-29", "owner": "alice", "keyId": one, **numbers} for one in ids]
    assert list(usage.table(days).columns[1].cells) == names


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [80, 200])
def test_every_command_has_help(
    command: str, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--help works for each, fits the terminal, and is not spread over a wide one."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: btworker {command}")
    assert max(map(len, text.splitlines())) <= min(columns, 100)


def test_no_arguments_print_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of commands, as a usage error."""
    assert main([]) == 2
    assert "transcribe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("version", ("aiohttp", "pydantic", "rich", "asyncio", "btworker.config", "btworker.client")),
        ("serve", ("btworker.client", "rich.progress", "torch", "numpy")),
        ("transcribe", ("btworker.web", "btworker.service", "torch", "numpy")),
        ("bench", ("btworker.web", "btworker.service", "torch", "numpy")),
        ("doctor", ("btworker.client", "btworker.web", "torch", "numpy", "whisper")),
    ],
)
def test_a_command_imports_what_it_needs(command: str, modules: tuple[str, ...]) -> None:
    """The parser of one command loads nothing of the others."""
    code = (
        "import sys\nfrom btworker.cli.main import build_parser\n"
        f"build_parser({command!r})\nprint(*[name for name in {modules!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("stack", checks.STACKS)
def test_the_doctor_knows_the_locks(stack: str) -> None:
    """The versions that it compares with are the ones that are locked."""
    pins = dict(
        line.split(" ")[0].split("==")
        for line in (LOCKS / f"{stack}.txt").read_text().splitlines()
        if line[:1].isalpha()
    )
    for name, version in checks.STACKS[stack].items():
        assert pins[name.replace(".", "-")].partition("+")[0] == version
    assert checks.stack_check(dict(checks.STACKS[stack])).verdict is Verdict.OK


def test_a_mixture_of_stacks_fails() -> None:
    """One package of the other stack, or none, is a failure that says how to mend it."""
    mixed = checks.stack_check({**checks.STACKS["cu121"], "torch": "2.11.0"})
    absent = checks.stack_check({**checks.STACKS["cu121"], "torch": None})
    assert (mixed.verdict, absent.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "torch missing" in absent.found
    assert "make setup" in absent.mend


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("ext4", Verdict.OK), ("overlay", Verdict.OK), ("nfs4", Verdict.FAIL), ("cifs", Verdict.FAIL),
        ("fuse.sshfs", Verdict.FAIL), ("9p", Verdict.WARN),
    ],
)  # fmt: skip
def test_file_systems(tmp_path: Path, kind: str, verdict: Verdict) -> None:
    """Network file systems fail, a host's shared folder warns; the innermost and latest mount counts."""
    point = str(tmp_path).replace(" ", "\\040")
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nold {point} tmpfs rw 0 0\nnew {point} {kind} rw 0 0\nx {point}x nfs rw 0 0\n"
    )
    check = checks.file_system_check(tmp_path / "not" / "there", mounts)
    assert check.verdict is verdict
    assert kind in check.found


def test_a_mount_point_with_a_space(tmp_path: Path) -> None:
    """/proc/mounts writes a space as \\040."""
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/x /my\\040data nfs rw 0 0\n")
    assert checks.mount_of(Path("/my data/jobs"), mounts) == (Path("/my data"), "nfs")
    assert checks.mount_of(Path("/my"), mounts) == (Path("/"), "ext4")
    assert checks.mount_of(Path("/x"), tmp_path / "none") == (Path("/"), "")


def test_models_are_found(tmp_path: Path) -> None:
    """In the cache under whisper's file names, at the operator's own path, or to be downloaded."""
    (tmp_path / "large-v3.pt").write_bytes(b"x" * 2**20)
    cached = Settings(WORKER_TOKEN="t", WORKER_MODEL_CACHE=str(tmp_path), WORKER_MODEL="large")
    found = {model.name: describe(model, offline=False) for model in model_files(cached)}
    assert found["large"].strip() == found["large-v3"].strip() == f"1.0 MB  {tmp_path / 'large-v3.pt'}"
    assert found["tiny"] == "  72 MB  is downloaded when first used"
    assert found["medium.en"].split()[:2] == ["1.4", "GB"] and found["base.en"].split()[:2] == ["139", "MB"]
    own = Settings(WORKER_TOKEN="t", WORKER_MODELS="mine=/no/such.pt", WORKER_MODEL="mine")
    assert [describe(model, offline=False) for model in model_files(own)] == ["is missing: /no/such.pt"]


@pytest.mark.parametrize(
    ("device", "visible", "verdicts"),
    [("cpu", None, {Verdict.OK}), ("cuda", "none", {Verdict.FAIL}), ("auto", "none", {Verdict.WARN, Verdict.FAIL})],
)
def test_gpu_that_is_not_to_be_had(device: str, visible: str | None, verdicts: set[Verdict]) -> None:
    """Not asked for: fine. Asked for, or hidden by a wrong CUDA_VISIBLE_DEVICES: a failure that says so."""
    settings = Settings(WORKER_TOKEN="t", WORKER_DEVICE=device, CUDA_VISIBLE_DEVICES=visible)
    (check,) = gpu_check.gpu_checks(settings)
    assert check.verdict in verdicts
    assert check.mend or check.verdict is Verdict.OK


@pytest.mark.speech
def test_torch_is_asked_in_a_process_of_its_own() -> None:
    """What torch was built for, and why no kernel ran on a GPU that it does not see."""
    facts = gpu_check.probe(Device("cuda", "GPU-00000000-0000-0000-0000-000000000000", "none", 0))
    assert isinstance(facts, TorchFacts)
    assert facts.version.startswith(("2.2.2", "2.11.0"))
    assert facts.error
    assert facts.name is None


@pytest.mark.speech
def test_a_torch_that_cannot_be_asked_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation: the last line of what Python says."""
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "libcudart.so.12" in str(gpu_check.probe(Device("cuda", None, "none", 0)))


@pytest.mark.gpu
def test_a_real_gpu_runs_a_kernel() -> None:
    """Driver and every GPU pass."""
    verdicts = [check.verdict for check in gpu_check.gpu_checks(Settings(WORKER_TOKEN="t", WORKER_DEVICE="cuda"))]
    assert len(verdicts) > 1
    assert set(verdicts) == {Verdict.OK}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "next"),
        ({"queuePosition": 2}, "2 before it"),
        ({"waitingFor": "a worker that is free, 2 jobs before it"}, "a worker that is free, 2 jobs before it"),
        ({"waitingFor": "a worker that is free", "startsInSeconds": 99.6}, "a worker that is free, in about 1:39"),
    ],
)
def test_what_a_waiting_job_shows(fields: dict[str, object], text: str) -> None:
    """What the worker says, and how long where it can; of an older worker, the place alone."""
    assert wait(read_job({"workerJobId": "wk_1", "status": "queued", **fields})) == text
