"""What a script goes by: exit codes as their table has them, files that are kept, a folder that is tried first."""

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Cli, Worker, script
from tests.waiting import until


def submitted(cli: Cli, recording: Path, *steps: object) -> str:
    """The id of a job that ended, or runs."""
    cli("transcribe", recording, "--prompt", script(*steps), "--output-dir", "elsewhere")
    return first_id(cli)


def first_id(cli: Cli) -> str:
    """The newest job."""
    return cli("jobs", "list", "--limit", "1").stdout.splitlines()[1].split()[0]


def test_fetch_of_a_failed_job_is_1(cli: Cli, recording: Path) -> None:
    """And says why it failed; the others are fetched all the same."""
    good = submitted(cli, recording)
    bad = submitted(cli, recording, ["fail", "CORRUPT_AUDIO", "the file is damaged"])
    done = cli("jobs", "fetch", bad, good)
    assert done.returncode == 1
    assert f"{bad}: is failed: the file is damaged" in done.stderr
    assert done.stdout.splitlines() == ["talk_transcript.json"]


def test_fetch_of_a_job_at_work_is_1(cli: Cli, recording: Path) -> None:
    """Nothing was fetched, and that is said."""
    gate = cli.folder / "gate"
    with cli.start("transcribe", recording, "--prompt", script(["wait_file", str(gate)])) as working:
        until(lambda: "%" in cli("jobs", "list", "--limit", "1").stdout, "the job runs")
        done = cli("jobs", "fetch", first_id(cli))
        assert (done.returncode, done.stdout) == (1, "")
        assert "is running, and has no results yet" in done.stderr
        gate.touch()
        working.communicate(timeout=60)


@pytest.mark.parametrize("action", ["show", "rm", "fetch", "cancel"])
def test_a_refusal_is_3_and_does_not_stop_the_others(cli: Cli, recording: Path, action: str) -> None:
    """Whichever action meets it."""
    job_id = submitted(cli, recording)
    done = cli("jobs", action, "wk_0000000000000000", job_id)
    assert done.returncode == 3
    assert "wk_0000000000000000: there is no such job" in done.stderr
    assert job_id in done.stdout + done.stderr or action == "fetch"
    assert action != "fetch" or done.stdout.splitlines() == ["talk_transcript.json"]


@pytest.mark.parametrize("command", ["transcribe", "jobs fetch"])
def test_a_folder_that_cannot_be_written_is_said_before_the_work(cli: Cli, recording: Path, command: str) -> None:
    """With its whole path; no job is made, and exit code 2 says that the arguments are wrong."""
    (cli.folder / "in-the-way").write_text("")
    before = cli("jobs", "list", "--limit", "1").stdout
    what = [recording] if command == "transcribe" else ["wk_0000000000000000"]
    done = cli(*command.split(), *what, "--output-dir", "in-the-way/texts")
    assert done.returncode == 2 and done.stdout == ""
    assert f"{cli.folder}/in-the-way/texts cannot be written: not a directory" in done.stderr
    assert cli("jobs", "list", "--limit", "1").stdout == before


def test_a_file_that_is_there_is_kept(cli: Cli, recording: Path) -> None:
    """Under its name with a ~, and with a word; the same result once more costs neither."""
    target = cli.folder / "talk_transcript.json"
    target.write_text("corrected by hand")
    done = cli("transcribe", recording)
    assert done.returncode == 0 and done.stdout.splitlines() == [target.name]
    assert "talk_transcript.json: the file that was there is talk_transcript.json~ now" in done.stderr
    assert target.with_name(f"{target.name}~").read_text() == "corrected by hand"
    result = target.read_bytes()
    done = cli("jobs", "fetch", first_id(cli))
    assert done.returncode == 0 and "was there" not in done.stderr
    assert target.read_bytes() == result
    assert target.with_name(f"{target.name}~").read_text() == "corrected by hand"


def test_https_asked_of_http_is_said(cli: Cli, fake_worker: Worker) -> None:
    """With the address that is probably right."""
    https = fake_worker.url.replace("http://", "https://")
    done = cli("jobs", "list", WORKER_URL=https)
    assert done.returncode == 3
    assert f"{https} does not speak https" in done.stderr and fake_worker.url in done.stderr


def test_an_unknown_model_in_the_settings_is_64(lone_cli: Cli, recording: Path) -> None:
    """Told before a worker is started."""
    done = lone_cli("transcribe", recording, WORKER_MODEL="larg-v3")
    assert done.returncode == 64 and "did you mean large-v3?" in done.stderr


COMPLETE_IN_BASH = """
source completion
COMP_WORDS=($1); [[ $1 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE=$1; COMP_POINT=${#1}
_shtab_btworker btworker "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
COMPLETE_IN_FISH = "source completion; complete -C $argv[1] | string split -f1 \\t"
WANTED = [
    ("btworker tr", {"transcribe"}),
    ("btworker jobs ", {"list", "show", "cancel", "rm", "fetch", "name", "export"}),
    ("btworker jobs list --status ", {"queued", "running", "complete", "failed", "canceled"}),
    ("btworker transcribe --for", {"--formats"}),
    ("btworker transcribe --output-dir tex", {"texts"}),
]


def completed_in(shell: str, line: str, folder: Path) -> set[str]:
    program = {"bash": ["bash", "-c", COMPLETE_IN_BASH, "bash"], "fish": ["fish", "-c", COMPLETE_IN_FISH]}[shell]
    done = subprocess.run([*program, line], cwd=folder, capture_output=True, text=True, check=True)
    return {word.strip().rstrip("/") for word in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", pytest.param("fish", marks=pytest.mark.system("fish"))])
def test_a_shell_completes_commands_options_and_folders(lone_cli: Cli, shell: str) -> None:
    """By the script that is printed for it."""
    (lone_cli.folder / "texts").mkdir()
    (lone_cli.folder / "text.txt").touch()
    (lone_cli.folder / "completion").write_text(lone_cli("completion", shell).stdout)
    for line, words in WANTED:
        assert completed_in(shell, line, lone_cli.folder) == words, line


@pytest.mark.system("zsh")
def test_the_script_for_zsh_is_one(lone_cli: Cli) -> None:
    """zsh takes it, and it names every command."""
    script_text = lone_cli("completion", "zsh").stdout
    (lone_cli.folder / "_btworker").write_text(script_text)
    subprocess.run(["zsh", "-n", "_btworker"], cwd=lone_cli.folder, check=True)
    assert script_text.startswith("#compdef btworker") and "transcribe" in script_text
