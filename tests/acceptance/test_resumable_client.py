"""The command line's uploads: they arrive over restarts of the server, and through proxies that cut every request."""

import asyncio
import hashlib
import signal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from btworker.client import Client, ClientError
from btworker.client.resumable import ResumableUpload
from btworker.jobs import JobStatus
from tests.acceptance.conftest import Worker
from tests.acceptance.cutting_proxy import CuttingProxy
from tests.process.server_of import TOKEN

MIB = 2**20


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path, {"WORKER_MODEL": "fake", "WORKER_MODELS": "fake", "WORKER_MAX_FILE_MB": "512"})


def a_file(folder: Path, megabytes: int) -> Path:
    path = folder / "long recording.wav"
    rng = Random(megabytes)
    path.write_bytes(b"".join(rng.randbytes(MIB) for _ in range(megabytes)) + b"end")
    return path


async def check(client: Client, job_id: str, source: Path) -> None:
    job = await client.wait(job_id, timeout_s=60)
    assert job.status is JobStatus.COMPLETE
    await client.download(job_id, job.outputs[0].filename, source.parent)
    answer = await client._ask("GET", f"/v1/jobs/{job_id}")
    (item,) = answer["inputs"]
    assert item["filename"] == source.name
    assert item["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


async def test_an_upload_goes_on_over_a_restart(worker: Worker, tmp_path: Path) -> None:
    """Killed in the middle and started again a moment later: nobody has to do anything."""
    worker.start()
    source, sent = a_file(tmp_path, 48), [0]
    killed = asyncio.Event()

    def progress(so_far: int, total: int) -> None:
        sent[0] = so_far
        if so_far > total // 2:
            killed.set()

    async with Client(worker.url, TOKEN) as client:
        sending = asyncio.create_task(client.send(source, {"language": "en"}, on_progress=progress))
        await killed.wait()
        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        await asyncio.to_thread(worker.start)
        job = await sending
        await check(client, job.id, source)
    assert worker.stop() == 0


@pytest.mark.parametrize(("cut_s", "largest"), [(0.4, 2**40), (60.0, 6 * MIB)], ids=["by time", "by size"])
async def test_a_large_file_gets_through_a_proxy_that_cuts(
    cut_s: float, largest: int, worker: Worker, tmp_path: Path
) -> None:
    """Pieces become as small as it takes."""
    worker.start()
    source = a_file(tmp_path, 40)
    proxy = CuttingProxy(worker.url, cut_s, largest, bytes_per_s=30e6)
    async with proxy.listening(), Client(proxy.url, TOKEN) as client:
        job = await client.send(source, {}, patience_s=60)
    assert proxy.cuts_by_size + proxy.cuts_by_time > 0
    async with Client(worker.url, TOKEN) as client:
        await check(client, job.id, source)
    assert worker.stop() == 0


async def test_what_cannot_be_is_said_before_a_byte_is_sent(worker: Worker, tmp_path: Path) -> None:
    """A wrong option, a wrong token, a file that is too large, an empty one, none."""
    worker.settings["WORKER_MAX_FILE_MB"] = "1"
    worker.start()
    small, large, empty = tmp_path / "a.wav", a_file(tmp_path, 2), tmp_path / "empty.wav"
    small.write_bytes(b"speech")
    empty.touch()
    sent: list[int] = []
    async with Client(worker.url, TOKEN) as client:
        for path, options, code in (
            (small, {"langage": "en"}, "BAD_OPTION"),
            (large, {}, "FILE_TOO_LARGE"),
            (empty, {}, "EMPTY_FILE"),
            (tmp_path / "none.wav", {}, "BAD_FILE"),
        ):
            with pytest.raises(ClientError) as caught:
                await client.send(path, options, on_progress=lambda so_far, _: sent.append(so_far))
            assert caught.value.code == code
    async with Client(worker.url, "wrong") as client:
        with pytest.raises(ClientError) as caught:
            await client.send(small)
        assert caught.value.code == "UNAUTHORIZED"
    async with Client("http://127.0.0.1:9", TOKEN) as client:
        with pytest.raises(ClientError) as caught:
            await client.send(small)
        assert caught.value.code == "UNREACHABLE"
    assert sent == []
    assert worker.stop() == 0


async def test_a_server_that_stays_away_is_given_up(worker: Worker, tmp_path: Path) -> None:
    """After the patience that was given; the error says what is wrong."""
    worker.start()
    source, begun = a_file(tmp_path, 24), asyncio.Event()
    async with Client(worker.url, TOKEN) as client:
        sending = asyncio.create_task(client.send(source, on_progress=lambda *_: begun.set(), patience_s=1.0))
        await begun.wait()
        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        with pytest.raises(ClientError) as caught:
            await sending
    assert caught.value.code in ("UNREACHABLE", "CONNECTION_LOST")


async def test_an_answer_that_was_lost_is_found_again(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last piece arrived and became a job, but the line broke before the client heard of it: there is one job."""
    worker.start()
    source = a_file(tmp_path, 1)
    real, lost = ResumableUpload._ask, [0]

    async def losing(self: ResumableUpload, method: str, *arguments: Any) -> Any:
        answer = await real(self, method, *arguments)
        if method == "PATCH" and not lost[0]:
            lost[0] += 1
            raise ClientError("CONNECTION_LOST", "the line broke")
        return answer

    monkeypatch.setattr(ResumableUpload, "_ask", losing)
    async with Client(worker.url, TOKEN) as client:
        job = await client.send(source)
        await check(client, job.id, source)
        assert len((await client.jobs()).jobs) == 1
    assert worker.stop() == 0


async def test_voices_of_known_speakers_go_along(worker: Worker, tmp_path: Path) -> None:
    """As uploads of their own, over a kill of the server; where the job is refused, nothing of them is left there."""
    worker.start()
    source, ann, ben = a_file(tmp_path, 24), tmp_path / "ann.wav", tmp_path / "ben.wav"
    ann.write_bytes(b"ann" * 1000)
    ben.write_bytes(b"ben" * 1000)
    people = {"Ann": ann, "Ben": ben}
    killed = asyncio.Event()
    async with Client(worker.url, TOKEN) as client:
        with pytest.raises(ClientError, match="colour"):
            await client.send(source, {"colour": "red"}, known_speakers=people)
        with pytest.raises(ClientError, match="look the same"):
            await client.send(source, known_speakers={"Ann": ann, "ANN": ben})
        assert not list((tmp_path / "data" / "uploads").glob("*/data"))
        sending = asyncio.create_task(
            client.send(source, known_speakers=people, on_progress=lambda at, _: at > MIB and killed.set())
        )
        await killed.wait()
        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        await asyncio.to_thread(worker.start)
        job = await sending
        known = (await client._ask("GET", f"/v1/jobs/{job.id}"))["options"]["knownSpeakers"]
        assert known == [
            {"name": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for name, path in people.items()
        ]
        await check(client, job.id, source)
        with open(ben, "wb") as file:
            file.truncate(2**25)
        with pytest.raises(ClientError, match="WORKER_REFERENCE_MAX_MB"):
            await client.send(source, known_speakers=people)
    assert not list((tmp_path / "data" / "uploads").glob("*/data"))
    assert worker.stop() == 0
