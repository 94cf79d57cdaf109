"""Corrections by hand: the command line and the Python client against a worker."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import docx
import pytest

from btworker.client import Client, ClientError
from tests.acceptance.conftest import Cli

NEW = {"op": "assign", "segment": 0, "speaker": "SPEAKER_00"}
"""The scripted engine looks for no speakers: somebody brings one in."""


@pytest.fixture
def job_id(cli: Cli, recording: Path) -> str:
    """A complete job."""
    return str(json.loads(cli("transcribe", recording.name, "--json").stdout)[0]["workerJobId"])


def asked(cli: Cli, ask: Callable[[Client], Awaitable[Any]]) -> Any:
    """What the client gives."""

    async def run() -> Any:
        async with Client(cli.environment["WORKER_URL"], cli.environment["WORKER_TOKEN"]) as client:
            return await ask(client)

    return asyncio.run(run())


def test_names_by_hand_are_in_what_is_exported(cli: Cli, job_id: str) -> None:
    """Named, exported, taken away again; --raw has no name, and a file that was there is kept."""
    assert asked(cli, lambda client: client.transcripts.correct(job_id, [NEW], version=0))["version"] == 1
    done = cli("jobs", "name", job_id, "SPEAKER_00=Anna Müller")
    assert (done.returncode, "version 2" in done.stderr) == (0, True), done.stderr
    done = cli("jobs", "export", job_id, "--formats", "srt,docx", "--output-dir", "minutes")
    assert done.stdout.split() == ["minutes/talk.srt", "minutes/talk.docx"]
    assert "Anna Müller: hello" in (cli.folder / "minutes" / "talk.srt").read_text()
    document = docx.Document(io.BytesIO((cli.folder / "minutes" / "talk.docx").read_bytes()))
    assert document.paragraphs[2].text == "[00:00] Anna Müller: hello from the other side"
    done = cli("jobs", "export", job_id, "--formats", "srt", "--output-dir", "minutes", "--raw")
    assert "talk.srt~ now" in done.stderr and "Anna" not in (cli.folder / "minutes" / "talk.srt").read_text()
    assert cli("jobs", "name", job_id, "SPEAKER_00=").returncode == 0
    assert cli("jobs", "export", job_id, "--formats", "txt").returncode == 0
    assert (cli.folder / "talk.txt").read_text() == "SPEAKER_00: hello from the other side\n"


def test_an_export_is_called_as_its_recording(cli: Cli, recording: Path) -> None:
    """In any script, with signs that mean something in headers, too."""
    named = recording.with_name("Réunion 会議; 50%.wav")
    recording.rename(named)
    job_id = json.loads(cli("transcribe", named.name, "--json").stdout)[0]["workerJobId"]
    done = cli("jobs", "export", job_id, "--formats", "srt", "--output-dir", "minutes")
    assert (done.returncode, done.stdout) == (0, "minutes/Réunion 会議; 50%.srt\n"), done.stderr
    assert (cli.folder / done.stdout.strip()).is_file()


def test_mistakes_are_sentences(cli: Cli, job_id: str, recording: Path) -> None:
    """What is no name, no format, no such speaker; and several inputs, which have speakers of their own."""
    for words, code, text in (
        (("name", job_id, "Anna"), 2, "SPEAKER_00=Anna"),
        (("export", job_id, "--formats", "pdf"), 2, "is no format"),
        (("name", job_id, "SPEAKER_09=Anna"), 3, "there is no such speaker"),
        (("export", "wk_0123456789abcdef"), 3, "no such job"),
    ):
        done = cli("jobs", *words)
        assert (done.returncode, text in done.stderr) == (code, True), (words, done.stderr)
    several = asked(cli, lambda client: client.submit([recording, recording]))
    done = cli("jobs", "name", several.id, "SPEAKER_00=Anna")
    assert (done.returncode, "--input" in done.stderr) == (2, True)


def test_the_client_has_history_and_undo(cli: Cli, job_id: str) -> None:
    """Versions, who was first, and any of them back again."""

    async def work(client: Client) -> list[Any]:
        transcripts = client.transcripts
        for number in range(3):
            await transcripts.correct(job_id, [{"op": "text", "segment": 0, "text": f"{number}"}], version=number)
        with pytest.raises(ClientError) as late:
            await transcripts.correct(job_id, [NEW], version=1)
        await asyncio.gather(*(transcripts.correct(job_id, [NEW]) for _ in range(3)))
        await transcripts.restore(job_id, 1)
        now, then = await transcripts.corrections(job_id), await transcripts.corrections(job_id, version=1)
        history = await transcripts.history(job_id)
        return [late.value.code, now["inputs"] == then["inputs"], [one["version"] for one in history]]

    assert asked(cli, work) == ["PRECONDITION_FAILED", True, [7, 6, 5, 4, 3, 2, 1]]
