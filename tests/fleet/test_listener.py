"""The fleet's listener and the box's side of it, over a real socket: what a ticket opens, what a fence keeps out."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yarl

from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FencedError, FrontEnd
from btworker.fleet.leases import ATTEMPTS, HELPS, path_of
from btworker.jobs import new_job_id
from tests.fleet.desk_of import SOUND, Desk, desk_of, inputs
from tests.waiting import eventually


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(tmp_path) as found:
        yield found


async def test_files_of_an_attempt_come_whole(desk: Desk) -> None:
    """Inputs, voices, windows and notes come as they are; nothing else of the folder does."""
    desk.front.reference(0, stored=True).write_text("{}")
    desk.front.windows.mkdir()
    desk.front.windows_of(0).write_text('{"index": 0}\n')
    desk.front.diarizing.write_text("0")
    (desk.front.path / "receiving").touch()
    await desk.courier().fetch(inputs())
    found = {str(path.relative_to(desk.box.path)) for path in desk.box.path.rglob("*") if path.is_file()}
    assert found == {"in/0", "in/voice.0.json", "windows/0.jsonl", "diarizing"}
    assert desk.box.input(0).read_bytes() == SOUND


async def test_a_damaged_input_is_an_error(desk: Desk) -> None:
    """What a box decodes is what the client sent, or nothing."""
    with pytest.raises(BtworkerError) as raised:
        await desk.courier().fetch(inputs("0" * 64))
    assert raised.value.code is ErrorCode.DOWNLOAD_FAILED


async def test_an_input_goes_on_where_its_connection_broke(desk: Desk) -> None:
    """The rest alone is asked for: a proxy that cuts each answer short still lets the whole file through."""
    asked: list[str] = []

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode())
        front_reader, front_writer = await asyncio.open_connection("127.0.0.1", int(desk.url.rpartition(":")[2]))
        front_writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        try:
            writer.write(await front_reader.readexactly(900_000))
        except asyncio.IncompleteReadError as error:
            writer.write(error.partial)
        front_writer.close()
        writer.close()

    proxy = await asyncio.start_server(cut, "127.0.0.1", 0)
    through = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}{path_of(desk.job_id, 1)}"
    await Courier(FrontEnd(desk.session, through, desk.ticket), desk.box).fetch(inputs())
    proxy.close()
    asked = [head for head in asked if "/files/in" in head]
    ranges = [line for head in asked for line in head.splitlines() if line.lower().startswith("range")]
    assert desk.box.input(0).read_bytes() == SOUND
    assert len(asked) >= 3, asked
    assert len(ranges) == len(asked) - 1


async def test_windows_reach_the_front_end_as_they_are_done(desk: Desk) -> None:
    """Whole lines go up once; a file that was cut at the box is cut at the front end, too."""
    courier = desk.courier()
    desk.box.windows.mkdir(parents=True)
    path, there = desk.box.windows_of(0), desk.front.windows_of(0)
    path.write_text('{"index": 0}\n{"torn')
    await courier.push_state()
    assert there.read_text() == '{"index": 0}\n'
    path.write_text('{"index": 0}\n{"index": 1}\n')
    desk.box.windows_complete_mark(0).touch()
    await courier.push_state()
    assert there.read_text() == path.read_text()
    assert desk.front.windows_complete_mark(0).exists()
    path.write_text('{"index": 0, "run": "another"}\n')
    desk.box.windows_complete_mark(0).unlink()
    await courier.push_state()
    assert there.read_text() == path.read_text()
    assert not desk.front.windows_complete_mark(0).exists()


async def test_windows_are_sent_anew_where_the_front_end_lost_some(desk: Desk) -> None:
    """A gap is never written: the file comes from its beginning."""
    courier = desk.courier()
    desk.box.windows.mkdir(parents=True)
    path = desk.box.windows_of(0)
    path.write_text("one\n")
    await courier.push_state()
    desk.front.windows_of(0).unlink()
    path.write_text("one\ntwo\n")
    await courier.push_state()
    assert desk.front.windows_of(0).read_text() == "one\ntwo\n"


async def test_results_are_seen_once_all_are_there(desk: Desk) -> None:
    """A client never finds half of a job's results, and those of an earlier attempt go with their publication."""
    desk.front.outputs.mkdir()
    (desk.front.outputs / "old.json").write_text("{}")
    desk.box.outputs.mkdir(parents=True)
    for name in ("talk.json", ".transcript.0.json", "naïve 🎧.txt"):
        (desk.box.outputs / name).write_text(name)
    (desk.box.path / "voice.json").write_text("{}")
    await desk.courier().publish_results()
    assert {path.name for path in desk.front.outputs.iterdir()} == {"talk.json", ".transcript.0.json", "naïve 🎧.txt"}
    assert (desk.front.outputs / "naïve 🎧.txt").read_text() == "naïve 🎧.txt"
    assert (desk.front.path / "voice.json").exists()
    assert not desk.front.unfinished_outputs.exists()


async def test_results_are_published_once_more_where_the_answer_was_lost(desk: Desk) -> None:
    """The line breaks off when they are in their place and before the box knows: its second try is no error, which
    would fail a job that is done, and nothing of them changes."""
    desk.box.outputs.mkdir(parents=True)
    (desk.box.outputs / "talk.json").write_text("{}")
    await desk.courier().publish_results()
    again = {"json": {"names": ["out/talk.json"]}}
    assert await desk.status("POST", f"{path_of(desk.job_id, 1)}/results", **again) == 204
    assert [path.name for path in desk.front.outputs.iterdir()] == ["talk.json"]
    assert not desk.front.unfinished_outputs.exists()


async def test_results_that_are_not_all_there_are_not_published(desk: Desk) -> None:
    """Whoever publishes names what there must be."""
    path = path_of(desk.job_id, 1)
    assert await desk.status("POST", f"{path}/results", json={"names": ["out/talk.json"]}) == 409
    assert not desk.front.outputs.exists()


async def test_a_late_attempt_changes_nothing(desk: Desk) -> None:
    """Once another attempt has the job, each request of the first one is refused, and its files are left alone."""
    desk.box.outputs.mkdir(parents=True)
    desk.box.windows.mkdir()
    (desk.box.outputs / "talk.json").write_text("late")
    desk.box.windows_of(0).write_text("late\n")
    courier = desk.courier()
    assert desk.leases.grant(desk.job_id, 2) is not None
    before = sorted(str(path) for path in desk.front.path.rglob("*"))
    for work in (
        courier.push_state,
        courier.publish_results,
        lambda: courier.hold(0.0),
        lambda: courier.fetch(inputs()),
    ):
        with pytest.raises(FencedError):
            await work()
    assert sorted(str(path) for path in desk.front.path.rglob("*")) == before


async def test_a_body_under_way_is_fenced_at_its_end(desk: Desk) -> None:
    """An upload that began in time and ends too late takes no place."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        begun.set()
        await go_on.wait()
        yield b"}"

    put = asyncio.create_task(desk.status("PUT", f"{path_of(desk.job_id, 1)}/files/out/talk.json", data=body()))
    await begun.wait()
    desk.leases.revoke(desk.job_id, 1)
    go_on.set()
    assert await put == 410
    assert [path.name for path in desk.front.path.rglob("*") if path.is_file()] == ["receiving", "0"]


async def test_no_attempt_begins_under_a_write(desk: Desk) -> None:
    """While a file of the first attempt is being put in its place, the second one gets no lease; then it does."""
    held, let_go = threading.Event(), threading.Event()

    def write() -> None:
        with desk.leases.holding(desk.job_id, 1):
            held.set()
            let_go.wait()

    thread = threading.Thread(target=write)
    thread.start()
    held.wait()
    assert desk.leases.grant(desk.job_id, 2) is None
    let_go.set()
    thread.join()
    assert desk.leases.grant(desk.job_id, 2) is not None


async def test_a_help_opens_the_parts_of_one_recording(desk: Desk) -> None:
    """It reads the sound of parts, and leaves the texts of those that it was given; no other file opens, and nothing
    once the attempt is over."""
    key = (desk.job_id, 1, "0")
    number, ticket = desk.leases.begin_help(desk.job_id, 1)
    desk.sharing.begin_help(key, number, "two", 7)
    helper, owner = (path_of(desk.job_id, *which) for which in ((number, HELPS), (1, ATTEMPTS)))
    texts = f"{helper}/files/shares/0/3.texts"
    assert await desk.status("POST", f"{helper}/parts", ticket, json={"has": []}) == 410, "nothing is shared yet"

    desk.sharing.begin(key)
    sound = desk.box.shares(0) / "3.s16"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(SOUND)
    await desk.courier().put_files((sound,))
    kept = {"sizeBytes": len(SOUND), "sha256": hashlib.sha256(SOUND).hexdigest()}
    body = {"lent": {"3": kept}, "plan": {"run": "one"}, "isWhole": True}
    headers = {"Authorization": f"Bearer {desk.ticket}"}
    lent = asyncio.create_task(desk.session.post(f"{desk.url}{owner}/shares/0", json=body, headers=headers))
    share = await eventually(lambda: desk.sharing.find(key), "it is shared")
    assert await desk.status("PUT", texts, ticket, data=b"{}") == 410, "nobody gave it this part"
    headers = {"Authorization": f"Bearer {ticket}"}
    async with desk.session.post(f"{desk.url}{helper}/parts", json={"has": []}, headers=headers) as answer:
        assert await answer.json() == {"number": 3, "plan": {"run": "one"}, "sound": kept}
    async with desk.session.get(f"{desk.url}{helper}/files/shares/0/3.s16", headers=headers) as answer:
        assert await answer.read() == SOUND
    for name in ("in/0", "shares/0/plan.json", "shares/0/3.texts", "windows/0.jsonl"):
        assert await desk.status("GET", f"{helper}/files/{name}", ticket) == 404
    for name in ("out/talk.json", "shares/0/3.s16", "shares/0/x.texts"):
        assert await desk.status("PUT", f"{helper}/files/{name}", ticket, data=b"x") == 404
    assert await desk.status("PUT", f"{helper}/files/shares/1/3.texts", ticket, data=b"{}") == 410
    assert await desk.status("POST", f"{helper}/results", ticket, json={"names": []}) in (404, 405)
    damaged = {"Content-SHA256": "0" * 64, "Authorization": f"Bearer {ticket}"}
    async with desk.session.put(desk.url + texts, data=b"{}", headers=damaged) as answer:
        assert answer.status == 460
    assert await desk.status("PUT", texts, ticket, data=b'{"texts": []}') == 204
    async with await lent as answer:
        found = await answer.json()
    assert found["decoded"]["3"]["sizeBytes"] == 13 and not found["returned"] and not found["wantsMore"]
    await desk.courier().fetch_file("shares/0/3.texts", 13, found["decoded"]["3"]["sha256"])
    assert not (desk.front.shares(0) / "3.s16").exists()

    assert desk.leases.grant(desk.job_id, 2) is not None
    before = sorted(str(path) for path in desk.front.path.rglob("*"))
    for method, path in (("GET", helper), ("PUT", texts), ("POST", f"{helper}/parts"), ("DELETE", helper)):
        assert await desk.status(method, path, ticket, data=b'{"has": []}') == 410
    assert sorted(str(path) for path in desk.front.path.rglob("*")) == before
    assert share.is_taken(3, number)


@pytest.mark.parametrize("ticket", ["", "nonsense", "other"])
async def test_without_its_ticket_nothing_opens(desk: Desk, ticket: str) -> None:
    """A ticket of another attempt opens as little as none."""
    if ticket == "other":
        ticket = desk.leases.grant(new_job_id(), 1) or ""
    assert await desk.status("GET", f"{path_of(desk.job_id, 1)}/files", ticket) == 401


async def test_each_answer_brings_a_new_ticket(desk: Desk) -> None:
    """A ticket is short-lived: who is at work gets another one in time."""
    headers = {"Authorization": f"Bearer {desk.ticket}"}
    async with desk.session.get(desk.url + path_of(desk.job_id, 1), headers=headers) as answer:
        fresh = answer.headers["Fleet-Ticket"]
    assert await desk.status("GET", path_of(desk.job_id, 1), fresh) == 204


@pytest.mark.parametrize(
    "name",
    [
        "in/0",
        "receiving",
        "out/../in/0",
        "out/.hidden",
        "out/",
        "windows/x.jsonl",
        "..%2f..%2fjobs.sqlite3",
        "out/a%2fb",
    ],
)
async def test_a_box_writes_what_a_box_makes(desk: Desk, name: str) -> None:
    """No other name is a file, however it is spelt."""
    url = desk.url + path_of(desk.job_id, 1) + "/files/" + name
    headers = {"Authorization": f"Bearer {desk.ticket}"}
    before = sorted(str(path) for path in desk.settings.data_dir.rglob("*"))
    async with desk.session.put(yarl.URL(url, encoded=True), headers=headers, data=b"x") as answer:
        assert answer.status in (401, 404)
    assert sorted(str(path) for path in desk.settings.data_dir.rglob("*")) == before
