"""What of a fleet is pure, or small: settings, placement over boxes, names of files, what a box's end means."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from btworker.config import box_environment, load_settings
from btworker.control import answering
from btworker.errors import ErrorCode, ErrorInfo, StartupError
from btworker.fleet import files
from btworker.fleet.cordon import Cordon
from btworker.fleet.journals import Journals
from btworker.fleet.leases import TICKET_S, Leases
from btworker.fleet.pool import NO_BOX, FleetPool
from btworker.fleet.prefetching import Prefetches
from btworker.fleet.records import BoxCommand, BoxFound, BoxState, BoxWorkers, Connected, FromBox, Joined, Versions
from btworker.fleet.remote_box import LATE_S, REJOIN_S, BoxPhase, RemoteBox, difference
from btworker.fleet.sharing import Kept, Share, Sharing
from btworker.jobs import Job, JobId, Options
from btworker.messages import Blame, Failed, Finished, RunTask, WindowDone, WorkerLost
from btworker.pool import BoxStatus, BoxSummary, Phase, WorkerState
from btworker.pool.placing import Vacancy, choose, place
from btworker.pool.process import Gone
from btworker.specs import Device
from tests.process.pool_of import settings_for

OURS = Versions("0.2.0", "3.11", "20231117", "2.2.2", "2.60.0", "large-v3")


def task(number: int, *, alone: bool = False) -> RunTask:
    return RunTask(JobId(f"wk_{number}"), 1, Path(), (), Options(model="tiny"), alone=alone)


def box(*models: str) -> RemoteBox:
    """A box with two slots in each of its workers."""
    cpu = Device("cpu")
    states = tuple(WorkerState(n, cpu, Phase.IDLE, model=model, slots=2) for n, model in enumerate(models))
    found = RemoteBox("gpu-1", first_index=1000, session=7)
    found.joined(Joined(7, OURS, BoxWorkers(states, frozenset(range(len(models))))), OURS, "")
    return found


async def test_a_box_whose_answer_was_lost_is_asked_again(tmp_path: Path) -> None:
    """Its Joined went to nobody (to the gateway before, say), and it gives signs of life: after a while it is asked to
    join once more."""
    pool = FleetPool(settings_for(tmp_path), Leases(), Sharing(), port=8478)
    pool._on_gateway_event(BoxFound("gpu-1"))
    found = pool._box("gpu-1")
    asked = found.session
    alive = FromBox("gpu-1", BoxState(asked, BoxWorkers()))
    pool._on_gateway_event(alive)
    assert found.session == asked, "it may still answer"
    found.asked_at -= REJOIN_S + 1
    pool._on_gateway_event(alive)
    assert found.session != asked
    pool._on_gateway_event(FromBox("gpu-1", Joined(found.session, pool._versions, BoxWorkers())))
    assert found.phase is BoxPhase.READY


async def test_a_box_that_cannot_reach_the_front_end_takes_no_jobs(tmp_path: Path) -> None:
    """One sentence says which way is shut; it is asked again while it gives signs of life, and used once it is open."""
    pool = FleetPool(settings_for(tmp_path, fleet_host="10.0.0.1"), Leases(), Sharing(), port=8478)
    pool._on_gateway_event(BoxFound("gpu-1"))
    found = pool._box("gpu-1")
    workers = box("tiny").workers
    shut = Joined(found.session, pool._versions, workers, obstacle="ClientConnectorError")
    pool._on_gateway_event(FromBox("gpu-1", shut))
    (shown,) = pool.boxes()
    assert (shown.status, shown.ready) == (BoxStatus.JOINING, 0) and not found.vacancies()
    assert "cannot reach the front end at http://10.0.0.1:8478 (ClientConnectorError)" in shown.problem
    found.asked_at -= REJOIN_S + 1
    pool._on_gateway_event(FromBox("gpu-1", BoxState(found.session, workers)))
    assert found.session != shut.session and found.phase is BoxPhase.JOINING
    pool._on_gateway_event(FromBox("gpu-1", Joined(found.session, pool._versions, workers)))
    (shown,) = pool.boxes()
    assert (shown.status, shown.problem) == (BoxStatus.READY, "") and found.vacancies()


async def test_a_box_that_was_cut_off_from_the_listener_is_given_up(tmp_path: Path) -> None:
    """It says so by way of Ray: its jobs go on elsewhere without a charge, and it is asked to join again."""
    pool = FleetPool(settings_for(tmp_path), Leases(), Sharing(), port=8478)
    pool._on_gateway_event(BoxFound("gpu-1"))
    found, workers = pool._box("gpu-1"), box("tiny").workers
    pool._on_gateway_event(FromBox("gpu-1", Joined(found.session, pool._versions, workers)))
    assert pool.send(task(1)) is not None
    cut_off = Joined(found.session, pool._versions, BoxWorkers(), obstacle="no answer")
    pool._on_gateway_event(FromBox("gpu-1", cut_off))
    pool._events.end()
    events = [event async for event in pool.events()]
    (lost,) = [event for event in events if isinstance(event, WorkerLost)]
    assert (lost.job_id, lost.blame) == ("wk_1", Blame.NONE) and "cannot reach the front end any more" in lost.message
    assert found.phase is BoxPhase.JOINING and not pool._leases.is_open(JobId("wk_1"), 1)


async def test_why_there_are_no_boxes_is_said(tmp_path: Path) -> None:
    """By `btworker fleet list`, under no table: that none came yet; what to look at where the gateway ends before it is
    in the cluster, as Ray lets it where no head answers; and that it ended where it was in it."""
    pool = FleetPool(settings_for(tmp_path, ray_address="10.0.0.1:6379"), Leases(), Sharing(), port=8478)

    async def shown() -> str:
        (tmp_path / "data").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "btworker", "fleet", "list", "--data", str(tmp_path / "data")]
        async with answering(tmp_path / "data", {"fleet": pool.answer}):
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        return str(done.stdout)

    assert await shown() == f"{NO_BOX}\n"
    pool._on_gateway_event(Gone(1))
    assert (
        "the Ray cluster at 10.0.0.1:6379 (WORKER_RAY_ADDRESS) cannot be entered: the fleet's gateway exited"
        in ((await pool.answer({}))["problem"])
    )
    pool._on_gateway_event(Connected("10.0.0.1"))
    assert (await pool.answer({}))["problem"] == NO_BOX
    pool._on_gateway_event(Gone(1))
    assert (await pool.answer({}))["problem"] == "the fleet's gateway exited with status 1"


def test_a_box_that_does_not_answer_says_so_after_a_while() -> None:
    """Not while its process starts."""
    found = RemoteBox("gpu-1", first_index=1000)
    assert found.summary(drained=False).problem == ""
    found.asked_at -= LATE_S + 1
    assert "has not answered for over 60 s" in found.summary(drained=False).problem


SOUND = Kept(10, "a")


async def test_a_part_is_with_one_helper_at_a_time() -> None:
    """A helper whose answer was lost gets the same part again; another one gets none of its parts. What it has not
    decoded goes back with its end, and with the last one also what nobody has."""
    share = Share()
    wanted = asyncio.create_task(share.take(1, ()))
    lent = await share.lend({}, {}, is_whole=False)
    assert lent.wants_more
    asked = asyncio.create_task(share.lend({9: SOUND, 8: SOUND, 7: SOUND}, {}, is_whole=False))
    assert await wanted == await share.take(1, ()) == (9, SOUND)
    assert await share.take(2, ()) == (8, SOUND)
    share.note_decoded(9, 2, SOUND)
    assert not asked.done(), "it was not that help's to decode"
    share.note_decoded(9, 1, SOUND)
    assert (await asked).decoded == {9: SOUND}
    share.end_help(2, others=True)
    lent = await share.lend({8: SOUND, 7: SOUND}, {}, is_whole=False)
    assert lent.returned == (8,)
    share.end_help(1, others=False)
    assert (await share.lend({7: SOUND}, {}, is_whole=True)).returned == (7,)
    assert await share.take(3, ()) is None


def test_a_job_goes_to_its_model_then_to_the_emptiest_box() -> None:
    """Among workers with the model and as few jobs, the machine with the fewest jobs is taken."""
    vacancies = [Vacancy(0, "tiny", crowd=1), Vacancy(1000, "tiny", crowd=0), Vacancy(2000, "other", crowd=0)]
    assert place(vacancies, model="tiny", alone=False) == 1000
    assert place([vacancies[0], vacancies[2]], model="tiny", alone=False) == 0


def test_what_a_box_has_is_known_before_it_says_so() -> None:
    """Places that were given away count at once, and a job that is to be alone takes its whole worker."""
    found = box("tiny", "tiny")
    found.begin(0, task(1))
    found.begin(1, task(2, alone=True))
    assert [(one.worker, one.jobs, one.free, one.crowd) for one in found.vacancies()] == [
        (1000, 1, 1, 2),
        (1001, 1, 0, 2),
    ]
    assert [state.phase for state in found.states()] == [Phase.BUSY, Phase.BUSY]


@pytest.mark.parametrize(
    ("jobs", "innocent", "blame"), [(1, False, Blame.OWN), (2, False, Blame.SHARED), (2, True, Blame.NONE)]
)
def test_whose_fault_a_box_is(jobs: int, innocent: bool, blame: Blame) -> None:
    """As with a child: one job alone may have been the cause, one of several is charged nothing."""
    found = box("tiny")
    for number in range(jobs):
        found.begin(0, task(number))
    lost = found.lose("was killed", innocent=innocent)
    assert [one.blame for one in lost] == [blame] * jobs
    assert lost[0].message == "was lost with the box gpu-1, which was killed"
    assert found.phase is BoxPhase.LOST
    assert found.vacancies() == []


def test_a_box_as_the_operator_sees_it() -> None:
    """Drained goes before all else; a box that is there without a ready child loads; one of another release is refused
    until it is silent or its front end is lost."""
    found = box("tiny", "tiny")
    assert found.summary(drained=False) == BoxSummary("gpu-1", BoxStatus.READY, workers=2, ready=2, slots=4)
    assert found.summary(drained=True).status is BoxStatus.DRAINED
    starting = WorkerState(0, Device("cpu"), Phase.STARTING)
    found.show(BoxWorkers((starting,)))
    assert found.summary(drained=False).status is BoxStatus.LOADING
    found.lose("takes no jobs: it has btworker 9.9.9", refused=True)
    refused = found.summary(drained=False)
    assert (refused.status, refused.problem) == (
        BoxStatus.REFUSED,
        "the box gpu-1 takes no jobs: it has btworker 9.9.9",
    )
    assert found.is_silent(-1)
    found.lose("gave no sign of life for 20 s")
    assert found.summary(drained=False).status is BoxStatus.LOST


def test_a_slot_is_free_once_its_child_is_done() -> None:
    """Files on their way hold no slot, as long as there are not more such jobs than slots; they are the box's jobs all
    the same, and not the cause of its end."""
    found = box("tiny")
    for number in range(2):
        found.begin(0, task(number))
    for number in range(2):
        found.note_work_done(task(number).job_id, 1)
    assert [(one.jobs, one.free) for one in found.vacancies()] == [(0, 2)]
    found.begin(0, task(2))
    found.note_work_done(task(2).job_id, 1)
    assert [(one.jobs, one.free) for one in found.vacancies()] == [(1, 1)]
    assert found.job_ids == ["wk_2", "wk_0", "wk_1"]
    assert found.note(Finished(JobId("wk_0"), 1, (), (), ()))
    assert found.task(JobId("wk_0")) is None
    assert {one.job_id: one.blame for one in found.lose("was killed")} == {"wk_1": Blame.NONE, "wk_2": Blame.OWN}


def job(number: int, *, model: str = "tiny") -> Job:
    return Job(id=JobId(f"wk_{number}"), options=Options(model=model), inputs=(), created_at=float(number))


def names(commands: list[tuple[str, BoxCommand]]) -> list[tuple[str, str, str]]:
    """Box, kind and job of each command; and none of them is left."""
    found = [(box, type(one).__name__, getattr(one, "job_id", "")) for box, one in commands]
    commands.clear()
    return found


@pytest.mark.parametrize("fails", [False, True])
def test_a_lease_that_ends_during_a_write_is_forgotten_after_it(fails: bool) -> None:
    """Whether the write succeeds or not: what wants its job's files no more must say so, or their copies stay."""
    leases, job_id = Leases(), JobId("wk_0")
    leases.grant(job_id, 1)
    with suppress(OSError), leases.holding(job_id, 1):
        leases.revoke(job_id, 1)
        assert leases.wants(job_id)
        if fails:
            raise OSError
    assert not leases.wants(job_id)


def test_a_write_that_ends_late_takes_no_lease_but_its_own() -> None:
    """The thread that wrote looks whether its lease is still the job's, and just then the next attempt begins: that
    keeps its own. Its box would be refused for ever, and the job never end."""
    leases, job_id = Leases(), JobId("wk_0")
    granted = threading.Thread(target=lambda: leases.grant(job_id, 2))

    class Slow(dict[JobId, Any]):
        """Lets the next attempt begin, if it may, between a look and what follows it."""

        def get(self, key: JobId, default: Any = None) -> Any:
            found = super().get(key, default)
            if found is not None and found.over and not granted.ident:
                granted.start()
                granted.join(0.5)
            return found

    assert leases.grant(job_id, 1)
    leases._leases = Slow(leases._leases)
    with leases.holding(job_id, 1):
        leases.revoke(job_id, 1)
    granted.join()
    assert leases.is_open(job_id, 2)


def test_tickets_do_not_end_with_a_step_of_the_clock() -> None:
    """They count by a clock that nobody sets: a box whose ticket is refused stops without a word."""
    expires_at = int(Leases().ticket(JobId("wk_0"), 1).partition(".")[0])
    assert expires_at - time.monotonic() == pytest.approx(TICKET_S, abs=10)


def test_the_next_jobs_are_fetched_where_their_model_is() -> None:
    """One for each slot, over the boxes in turn; what is not among the next, or starts on another box, is dropped."""
    commands: list[tuple[str, BoxCommand]] = []
    found = Prefetches(Leases(), lambda box, command: commands.append((box.name, command)))
    one, two = box("tiny"), box("other")
    two.name, two.first_index = "gpu-2", 2000
    found.plan([job(0), job(1, model="other"), job(2), job(3), job(4)], [one, two])
    fetched = [("gpu-1", "Prefetch", "wk_0"), ("gpu-2", "Prefetch", "wk_1"), ("gpu-1", "Prefetch", "wk_2")]
    assert names(commands) == [*fetched, ("gpu-2", "Prefetch", "wk_3")]
    found.note_start(JobId("wk_0"), one)
    assert names(commands) == []
    found.note_start(JobId("wk_2"), two)
    assert names(commands) == [("gpu-1", "DropPrefetch", "wk_2")]
    found.plan([job(3), job(4)], [one, two])
    assert names(commands) == [("gpu-2", "DropPrefetch", "wk_1"), ("gpu-1", "Prefetch", "wk_4")]
    found.plan([job(3), job(4)], [one])  # the other one is drained
    assert names(commands) == [("gpu-2", "DropPrefetch", "wk_3"), ("gpu-1", "Prefetch", "wk_3")]
    found.lose(one)
    assert not found._of


def test_a_job_starts_where_its_inputs_are_but_does_not_wait_for_ever() -> None:
    """Others may start before it, as many as there are slots; and it goes elsewhere where nothing else can start."""
    found = Prefetches(Leases(), lambda _box, _command: None)
    one, two = box("tiny"), box("tiny")
    two.name, two.first_index = "gpu-2", 2000
    found.plan([job(0), job(1)], [one, two])
    here, there = Vacancy(1000, "tiny"), Vacancy(2000, "tiny")
    jobs = [job(0), job(1), job(2)]
    assert choose(jobs, [here, there], starts_in=found.starts_in) == ("wk_0", None)
    assert choose(jobs, [there], starts_in=found.starts_in) == ("wk_1", None)
    assert choose(jobs[:1], [there], starts_in=found.starts_in) == ("wk_0", None)
    for _ in range(4):
        assert not found.starts_in(JobId("wk_0"), there)
        found.note_pick(JobId("wk_1"), jobs)
    assert choose(jobs, [there], starts_in=found.starts_in) == ("wk_0", None)


def test_what_is_kept_of_a_box_is_never_stale() -> None:
    """Vacancies and states are made once and kept: after each change they are what a box without any kept has."""
    found = box("tiny", "tiny", "tiny")
    busy = WorkerState(1, Device("cpu"), Phase.STARTING, model="tiny", slots=2)
    rejoined = Joined(8, OURS, BoxWorkers((replace(busy, index=0),), frozenset({0})))
    changes: list[Callable[[], object]] = [
        lambda: found.begin(0, task(1)),
        lambda: found.begin(2, task(2, alone=True)),
        lambda: found.note(WindowDone(JobId("wk_1"), 1, 0, 0, 30.0, 60.0)),
        lambda: found.note_work_done(JobId("wk_1"), 1),
        lambda: found.show(BoxWorkers((found.workers.states[0], busy, found.workers.states[2]), frozenset({0, 2}))),
        lambda: found.note(Failed(JobId("wk_2"), 1, ErrorInfo(ErrorCode.NO_AUDIO, "no sound"))),
        lambda: found.begin_session(8),
        lambda: found.joined(rejoined, OURS, ""),
        lambda: found.lose("was killed"),
        lambda: found.joined(Joined(9, replace(OURS, ray="1"), BoxWorkers()), OURS, ""),
    ]
    for change in changes:
        found.vacancies(), found.states()
        change()
        fresh = replace(found)
        assert (found.vacancies(), found.states()) == (fresh.vacancies(), fresh.states())


def test_a_difference_is_one_sentence() -> None:
    """The first thing that differs, with both sides and where to read on."""
    theirs = Versions("0.2.0", "3.11", "20231117", "2.2.2", "", "large-v3")
    assert difference("gpu-1", OURS, OURS) == ""
    assert difference("gpu-1", theirs, OURS) == (
        "the box gpu-1 takes no jobs: it has Ray none, and the front end 2.60.0; give both the same "
        "(docs/fleet.md, Upgrade)"
    )


def test_a_cordon_is_kept(tmp_path: Path) -> None:
    """It is in a file, and a file that cannot be read drains nobody."""
    Cordon(tmp_path).change("gpu-1", drained=True)
    assert Cordon(tmp_path).names == ("gpu-1",)
    Cordon(tmp_path).change("gpu-1", drained=False)
    assert "gpu-1" not in Cordon(tmp_path)
    (tmp_path / "fleet.json").write_text("{")
    assert Cordon(tmp_path).names == ()


def test_a_journal_is_sent_once_and_anew_where_it_was_cut(tmp_path: Path) -> None:
    """Whole lines, from where the last piece ended; from the beginning where what was sent is not there any more."""
    journals, path = Journals(), tmp_path / "0.jsonl"
    path.write_bytes(b"one\ntwo\ntor")
    assert journals.unsent("0", path) == (0, b"one\ntwo\n")
    journals.took("0", 0, b"one\ntwo\n")
    assert journals.unsent("0", path) == (8, b"")
    path.write_bytes(b"one\ntwo\ntorn\n")
    assert journals.unsent("0", path) == (8, b"torn\n")
    path.write_bytes(b"one\nother\n")
    assert journals.unsent("0", path) == (0, b"one\nother\n")


@pytest.mark.parametrize(
    ("name", "readable", "writable"),
    [
        ("in/0", True, False),
        ("in/voice.3.json", True, False),
        ("windows/0.2.jsonl", True, True),
        ("windows/0.done", True, True),
        ("diarizing", True, True),
        ("renditions/0.m4a", False, True),
        ("out/talk.json", False, True),
        ("out/.transcript.0.json", False, True),
        ("voice.json", False, True),
        ("out/..", False, False),
        ("out/a/b", False, False),
        ("out/", False, False),
        ("receiving", False, False),
        ("../jobs.sqlite3", False, False),
        ("windows/0.jsonl\n", False, False),
    ],
)
def test_which_names_are_files(name: str, readable: bool, writable: bool) -> None:
    """A box reads and writes what belongs to an attempt, and nothing else."""
    assert (files.is_readable(name), files.is_writable(name)) == (readable, writable)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"fleet_host": "127.0.0.1"}, ""),
        ({"fleet_host": "::1"}, ""),
        ({"fleet_host": "10.0.0.1", "ray_auth_mode": "token"}, ""),
        ({"fleet_host": "10.0.0.1"}, "needs RAY_AUTH_MODE=token"),
        ({"fleet_host": "0.0.0.0"}, "needs RAY_AUTH_MODE=token"),
        ({"fleet_url": "http://10.0.0.1:8478/"}, ""),
        ({"fleet_url": "10.0.0.1:8478"}, "must be like"),
    ],
)
def test_a_fleet_outside_loopback_wants_rays_token(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], complaint: str
) -> None:
    """Whoever reaches Ray's ports runs programs: the start is refused, in a sentence."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if not complaint:
        assert load_settings(token="a-token", pool="ray", **settings).pool == "ray"
        return
    with pytest.raises(StartupError, match=complaint):
        load_settings(token="a-token", pool="ray", **settings)


def test_a_box_gets_none_of_the_front_ends_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all machines have the same settings, those of clients and stores stay with the front end."""
    for name in ("WORKER_TOKEN", "WORKER_STORES_FILE", "WORKER_FLEET_STORE", "WORKER_MODEL"):
        monkeypatch.setenv(name, "x")
    assert {name for name in box_environment() if name.startswith("WORKER_")} == {"WORKER_MODEL"}


def test_without_a_fleet_nothing_of_it_is_imported() -> None:
    """`btworker serve` on a single machine loads what it loaded before."""
    code = "import sys, btworker.cli.serving; print([name for name in sys.modules if 'fleet' in name or name == 'ray'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['btworker.config.fleet']"
