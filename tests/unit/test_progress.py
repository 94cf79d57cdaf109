"""How the events of inputs that are at work side by side become one job's progress."""

import random
from collections.abc import Iterable
from typing import Any

import pytest

from btworker.jobs import Input, Job, JobId, Options, Stage
from btworker.messages import Alive, FileDone, Finished, Progressed, Started, WindowDone
from btworker.service.progress import SOUND_SHARE, UNFINISHED_PERCENT, WORDS_SHARE, after, completed

ID = JobId("wk_test")
LENGTHS_S = (60.0, 3600.0, 90.0)
"""Of the inputs: percent counts them all alike."""
WINDOW_S = 30.0


def a_job(count: int = 3, **options: Any) -> Job:
    """One with inputs 0.wav, 1.wav, …"""
    inputs = tuple(Input(f"in_{n}", f"{n}.wav", str(n), 1, "0" * 64) for n in range(count))
    return Job(id=ID, options=Options("tiny", **options), inputs=inputs, created_at=1.0)


def told(job: Job, *events: object, at: float = 2.0) -> Job:
    """The job after all of them."""
    for event in events:
        job = after(job, event, at)
    return job


def progressed(index: int, stage: Stage, done_s: float, total_s: float) -> Progressed:
    """Input number `index` is that far."""
    return Progressed(ID, 1, stage, index, done_s, total_s)


def window(index: int, number: int, done_s: float, total_s: float) -> WindowDone:
    """Input number `index` has one more window."""
    return WindowDone(ID, 1, index, number, done_s, total_s)


def done(index: int) -> FileDone:
    """Input number `index` is done."""
    return FileDone(ID, 1, index)


def whole(index: int, length_s: float, *, speakers: bool = False) -> list[object]:
    """All that is told of one input, in order."""
    sound = [progressed(index, Stage.INITIALIZING, part * length_s, length_s) for part in (0, 0.5, 1)]
    ends = [min(WINDOW_S * (n + 1), length_s) for n in range(int(-(-length_s // WINDOW_S)))]
    words = [
        progressed(index, Stage.TRANSCRIBING, 0, length_s),
        *(window(index, n, end, length_s) for n, end in enumerate(ends)),
    ]
    turns = [progressed(index, Stage.DIARIZING, part * length_s, length_s) for part in (0, 0.5, 1)]
    return [*sound, *words, *(turns if speakers else []), done(index)]


def interleaved(sequences: Iterable[list[object]], *, seed: int) -> list[object]:
    """All events, each input's in their order."""
    chance = random.Random(seed)
    left = [list(sequence) for sequence in sequences]
    found = []
    while left:
        one = chance.choice(left)
        found.append(one.pop(0))
        left = [sequence for sequence in left if sequence]
    return found


def share(done_s: float, total_s: float) -> float:
    """Of an input whose sound is decoded and whose windows are so far."""
    return SOUND_SHARE + (1 - SOUND_SHARE) * done_s / total_s


@pytest.mark.parametrize("speakers", [False, True], ids=["words", "speakers"])
@pytest.mark.parametrize("seed", range(20))
def test_percent_never_falls(seed: int, speakers: bool) -> None:
    """However the inputs are interleaved; it passes by nothing that is done, and says 100 at the job's end only."""
    job = a_job(diarization_enabled=speakers)
    over = set()
    for event in interleaved((whole(n, s, speakers=speakers) for n, s in enumerate(LENGTHS_S)), seed=seed):
        before, job = job, after(job, event, 2.0)
        if isinstance(event, FileDone):
            over.add(event.file_index)
        percent = job.progress.percent
        assert before.progress.percent <= percent <= UNFINISHED_PERCENT
        assert percent >= min(round(100 * len(over) / 3, 1), UNFINISHED_PERCENT)
        shown = min({0, 1, 2} - over, default=2)
        assert (job.progress.file_index, job.progress.current_file) == (shown, f"{shown}.wav")
        assert job.progress.total_files == 3
    assert job.progress.percent == UNFINISHED_PERCENT
    job = completed(job, Finished(ID, 1, (), LENGTHS_S, ()))
    assert job.progress.percent == 100.0
    assert (job.progress.audio_s_done, job.progress.audio_s_total) == (sum(LENGTHS_S), sum(LENGTHS_S))
    assert job.progress.files == ()


def test_percent_counts_all_inputs_alike() -> None:
    """Half of a short one is as much as half of a long one, whichever they are. Decoded sound is a little of it, so
    that short ones, whose windows are all in one batch, move before their text is there."""
    job = a_job(4)
    assert told(job, progressed(1, Stage.INITIALIZING, 60, 60)).progress.percent == round(25 * SOUND_SHARE, 1)
    job = told(job, *(progressed(n, Stage.INITIALIZING, 60, 60) for n in range(4)))
    assert job.progress.percent == 100 * SOUND_SHARE
    job = told(job, window(2, 0, 30, 60))
    assert job.progress.percent == round(25 * (share(30, 60) + 3 * SOUND_SHARE), 1)
    job = told(job, window(0, 0, 1800, 3600))
    assert job.progress.percent == round(25 * (2 * share(30, 60) + 2 * SOUND_SHARE), 1)
    job = told(job, done(3), done(1))
    assert job.progress.percent == round(25 * (2 * share(30, 60) + 2), 1)
    job = told(job, done(2))
    assert job.progress.percent == round(25 * (share(30, 60) + 3), 1)


def test_what_is_shown_is_the_first_input_that_is_not_done() -> None:
    """With its own windows, seconds and stage, whatever the others do meanwhile; the end of another one changes
    nothing of it, its own end moves on to the next one that is not done."""
    job = told(a_job(4), progressed(0, Stage.INITIALIZING, 0, 0))
    assert (job.stage, job.progress.file_index, job.progress.chunk_index) == (Stage.INITIALIZING, 0, 0)
    job = told(job, window(0, 0, 28, 100), window(1, 0, 25, 200), window(1, 1, 50, 200), window(2, 0, 10, 10), done(2))
    shown = job.progress
    assert (shown.file_index, shown.current_file, shown.chunk_index) == (0, "0.wav", 1)
    assert (shown.audio_s_done, shown.audio_s_total) == (28, 100)
    job = told(job, progressed(3, Stage.INITIALIZING, 5, 9), window(0, 1, 55, 100), done(0))
    shown = job.progress
    assert (shown.file_index, shown.current_file, shown.chunk_index) == (1, "1.wav", 2)
    assert (shown.audio_s_done, shown.audio_s_total) == (50, 200)
    job = told(job, done(1))
    shown = job.progress
    assert (job.stage, shown.file_index, shown.current_file, shown.chunk_index) == (Stage.INITIALIZING, 3, "3.wav", 0)
    assert (shown.audio_s_done, shown.audio_s_total) == (5, 9)
    job = told(job, window(3, 0, 9, 9), done(3))
    assert (job.progress.file_index, job.progress.chunk_index) == (3, 1), "the last one stays until the files are there"


def test_the_stage_is_that_of_the_shown_input_and_has_its_beginning() -> None:
    """Other inputs' stages do not touch it; who moves on to an input in another stage begins that stage then."""
    job = after(a_job(2), progressed(0, Stage.INITIALIZING, 0, 0), 10.0)
    assert (job.stage, job.stage_started_at) == (Stage.INITIALIZING, 10.0)
    job = after(job, window(0, 0, 30, 60), 20.0)
    job = after(job, progressed(1, Stage.INITIALIZING, 0, 0), 30.0)
    job = after(job, window(0, 1, 60, 60), 40.0)
    assert (job.stage, job.stage_started_at) == (Stage.TRANSCRIBING, 20.0)
    job = after(job, done(0), 50.0)
    assert (job.stage, job.stage_started_at) == (Stage.INITIALIZING, 50.0)
    job = after(job, window(1, 0, 30, 60), 60.0)
    assert (job.stage, job.stage_started_at) == (Stage.TRANSCRIBING, 60.0)


def test_a_second_attempt_begins_the_inputs_anew() -> None:
    """Its first one is shown again, with what this attempt has told of it; percent waits for it to catch up."""
    job = told(a_job(), *whole(0, 60), window(1, 0, 30, 60), window(2, 0, 45, 60))
    before = round(100 * (1 + share(30, 60) + share(45, 60)) / 3, 1)
    assert (job.progress.file_index, job.progress.percent) == (1, before)
    job = told(job, Started(ID, 2))
    assert job.progress.percent == before
    job = told(job, progressed(0, Stage.INITIALIZING, 0, 0))
    assert (job.progress.file_index, job.progress.chunk_index, job.progress.percent) == (0, 0, before)
    assert (job.stage, job.progress.audio_s_done) == (Stage.INITIALIZING, 0)
    job = told(job, progressed(0, Stage.TRANSCRIBING, 30, 60), window(0, 1, 60, 60), done(0))
    assert (job.progress.file_index, job.progress.chunk_index, job.progress.percent) == (1, 0, before)
    job = told(job, done(1), window(2, 1, 50, 60))
    assert job.progress.percent == round(100 * (2 + share(50, 60)) / 3, 1)


@pytest.mark.parametrize("part", [0.0, 0.25, 1.0])
def test_speakers_have_their_share_of_each_input(part: float) -> None:
    """Words are the first seven tenths, where speakers are told apart; an input that is done without has all of it."""
    job = a_job(2, diarization_enabled=True)
    job = told(job, window(1, 0, 60 * part, 60))
    assert job.progress.percent == pytest.approx(50 * WORDS_SHARE * share(part, 1), abs=0.06)
    job = told(job, window(1, 1, 60, 60))
    assert job.progress.percent == 50 * WORDS_SHARE
    speaking = told(job, progressed(1, Stage.DIARIZING, 60 * part, 60))
    assert speaking.progress.percent == round(50 * (WORDS_SHARE + (1 - WORDS_SHARE) * part), 1)
    assert told(job, done(1)).progress.percent == told(speaking, done(1)).progress.percent == 50.0


def test_a_job_says_99_until_it_is_complete() -> None:
    """Of one input, and of many."""
    for count in (1, 3):
        job = told(a_job(count), *(event for n in range(count) for event in whole(n, 60)))
        assert job.progress.percent == UNFINISHED_PERCENT


@pytest.mark.parametrize(("done_s", "total_s"), [(5.0, 0.0), (0.0, 0.0), (70.0, 60.0)])
def test_seconds_that_do_not_fit_do_no_harm(done_s: float, total_s: float) -> None:
    """A header that says nothing of a length, a recording longer than was thought: an input counts once at most."""
    job = told(a_job(2), progressed(0, Stage.TRANSCRIBING, done_s, total_s))
    assert job.progress.percent == (50.0 if total_s else round(50 * SOUND_SHARE, 1))
    assert (job.progress.audio_s_done, job.progress.audio_s_total) == (done_s, total_s)


def test_a_sign_of_life_moves_nothing() -> None:
    """The job is the same."""
    job = told(a_job(), window(0, 0, 30, 60))
    assert told(job, Alive(ID, 1)) == job
