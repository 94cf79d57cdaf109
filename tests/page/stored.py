"""Transcripts that the embedded model cannot make: a real finished job, whose stored transcript is written anew."""

import json
from itertools import cycle, islice
from typing import Any

from btworker.job_folder import JobFolder
from tests.page.user import SAMPLE
from tests.process.server_of import Server

SHORT = 90_000
"""Bytes of the sample that are some seconds of it."""
PEOPLE = ("SPEAKER_00", "SPEAKER_01", "SPEAKER_02", "SPEAKER_03")
TALK = (
    (0, "Good morning, and thank you for coming so early."),
    (0, "There are three things to settle today: the budget, the move, and who writes the report."),
    (1, "Before we begin, may I ask how long this is going to take?"),
    (0, "Half an hour, if nobody tells stories."),
    (2, "Then I start with the budget. We spent four percent less than we planned."),
    (2, "Most of it is the heating, which was cheaper than last year."),
    (3, "Thanks for watching!"),
    (1, "That is good news. Can the rest pay for the move?"),
    (2, "Not all of it. About a third, I would say."),
    (3, "The movers want an answer by Friday, otherwise they give the day to somebody else."),
    (0, "Then let us decide that now. Who is against it?"),
    (3, "you you you"),
    (1, "Nobody, it seems. I will write to them this afternoon."),
    (2, "And the report?"),
)
DOUBTFUL = {6: ("known_hallucination_phrase", "no_speech_detected"), 11: ("repetition",)}
WORDS = "and the meeting of people about their work goes on until somebody looks at a clock or opens the window".split()
WORD_S = 0.36


def finished_job(worker: Server, name: str, size_bytes: int | None = None) -> str:
    """A job with sound, whose transcript may be replaced; of the first bytes of the sample alone it costs less."""
    job_id = worker.upload(name, SAMPLE.read_bytes()[:size_bytes])
    assert worker.ended(job_id)["status"] == "complete"
    return job_id


def meeting(worker: Server, name: str = "board-meeting.m4a") -> str:
    """A meeting of four with two doubtful segments and three seconds of speech without text; the job's id."""
    job_id = finished_job(worker, name)
    segments, at = [], 0.6
    for number, (person, text) in enumerate(TALK):
        segments.append(_segment(number, at, text, PEOPLE[person], DOUBTFUL.get(number, ())))
        at = segments[-1]["end"] + (3.4 if number == 8 else 0.5)
    gap = {"start": segments[8]["end"] + 0.2, "end": segments[9]["start"] - 0.2}
    replace(worker, job_id, segments, missing_speech=[gap])
    return job_id


def long_talk(worker: Server, words: int = 80_000, name: str = "eight-hours.m4a", size_bytes: int | None = None) -> str:
    """A transcript of so many words in segments of twelve; the job's id."""
    job_id = finished_job(worker, name, size_bytes)
    endless = cycle(WORDS)
    segments = [
        _segment(number, number * 4.4, " ".join(islice(endless, 12)), PEOPLE[number // 7 % 4])
        for number in range(words // 12)
    ]
    replace(worker, job_id, segments)
    return job_id


def restored(worker: Server, job_id: str) -> None:
    """Nothing is corrected any more."""
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    assert worker.request("PATCH", f"/v1/jobs/{job_id}/corrections", b'{"restore": 0}', **headers)[0] == 200


def replace(worker: Server, job_id: str, segments: list[dict[str, Any]], **more: Any) -> None:
    """Write a job's stored transcript anew, as if the engine had found this."""
    path = JobFolder(worker.folder / "data" / "jobs" / job_id).transcript(0)
    whole = json.loads(path.read_text())
    text = "".join(one["text"] for one in segments)
    turns = [{"start": one["start"], "end": one["end"], "speaker": one["speaker"]} for one in segments]
    path.write_text(json.dumps({**whole, "text": text, "segments": segments, "turns": turns, **more}))


def _segment(number: int, start: float, text: str, speaker: str, reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    words, at = [], start
    for word in text.split():
        words.append(
            {
                "word": f" {word}",
                "start": round(at, 2),
                "end": round(at + WORD_S, 2),
                "probability": 0.9,
                "speaker": speaker,
            }
        )
        at += WORD_S
    found = {
        "id": number,
        "seek": 0,
        "start": start,
        "end": round(at, 2),
        "text": f" {text}",
        "tokens": [],
        "words": words,
    }
    shape = {**found, "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.2, "no_speech_prob": 0.01}
    warning = {"hallucination": {"confidence": 0.9, "reasons": list(reasons), "flagged": True}} if reasons else {}
    return {**shape, "speaker": speaker, **warning}
