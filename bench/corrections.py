"""An eight-hour transcript with 5,000 corrections in every format, beside the same without any.

    python bench/corrections.py [--hours 8] [--corrections 5000]

Each format is rendered in a process of its own, from the stored file to the bytes that are sent, once raw and once
corrected, as GET /v1/jobs/{id}/transcript does it: CPU seconds, and the most memory that the process had.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from btworker.corrections.apply import corrected
from btworker.corrections.edits import CHANGE, AssignSegment, Change, CheckSegment, EditText, MergeSpeaker, NameSpeaker
from btworker.corrections.layer import layers_of
from btworker.jobs import OutputFormat
from btworker.outputs import FORMATS, Presentation, read_json, render
from btworker.transcript import Segment, Transcript, Turn, Word

WORDS_PER_SEGMENT = 10
SEGMENT_S = 3.6
TITLE = Presentation("board meeting")


def transcript_of(hours: float) -> Transcript:
    """80,000 words in eight hours, of four people."""
    chance = random.Random(1)
    segments, turns = [], []
    for number in range(round(hours * 3600 / SEGMENT_S)):
        start, speaker = number * SEGMENT_S, f"SPEAKER_{number // 3 % 4:02d}"
        texts = [f" {''.join(chance.choices('aeinorst', k=5))}" for _ in range(WORDS_PER_SEGMENT)]
        texts[-1] += "."
        words = tuple(
            Word(text, round(start + 0.35 * at, 3), round(start + 0.35 * at + 0.3, 3), 0.9, speaker)
            for at, text in enumerate(texts)
        )
        end = words[-1].end
        tokens = tuple(chance.randrange(50_000) for _ in range(15))
        segments.append(Segment(number, 0, start, end, "".join(texts), tokens=tokens, words=words, speaker=speaker))
        turns.append(Turn(start, end, speaker))
    return Transcript("".join(one.text for one in segments), "en", tuple(segments), hours * 3600, tuple(turns))


def changes_of(transcript: Transcript, count: int) -> list[Change]:
    """As many versions, of one edit each: two in three are texts."""
    chance = random.Random(2)
    edits: list[object] = [
        NameSpeaker(op="name", speaker="SPEAKER_00", name="Anna"),
        MergeSpeaker(op="merge", speaker="SPEAKER_03", into="SPEAKER_00"),
    ]
    while len(edits) < count:
        at = chance.randrange(len(transcript.segments))
        text = transcript.segments[at].text.strip().replace("e", "ee") + " indeed"
        kinds = [EditText(op="text", segment=at, text=text)] * 4
        other = [
            AssignSegment(op="assign", segment=at, speaker="SPEAKER_01"),
            CheckSegment(op="check", segment=at, checked=True),
        ]
        edits.append(chance.choice([*kinds, *other]))
    return [
        Change.model_validate({"version": number, "at": 0, "by": "operator", "edits": [edit]})
        for number, edit in enumerate(edits, start=1)
    ]


def measure(path: Path, changes_path: Path, kind: OutputFormat, *, with_corrections: bool) -> dict[str, float]:
    """Render once; CPU seconds, wall seconds and peak memory in MB."""
    began, wall = time.process_time(), time.monotonic()
    bodies = changes_path.read_text().splitlines() if with_corrections else []
    changes = [CHANGE.validate_json(body) for body in bodies]
    transcript = read_json(path)
    if layer := layers_of(changes).get(0):
        transcript = corrected(transcript, layer, len(changes))
    data = FORMATS[kind].data(transcript, TITLE)
    return {
        "cpu_s": time.process_time() - began,
        "wall_s": time.monotonic() - wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "bytes": len(data),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--corrections", type=int, default=5000)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        path, changes_path, kind, how = args.one
        found = measure(Path(path), Path(changes_path), OutputFormat(kind), with_corrections=how == "corrected")
        print(json.dumps(found))
        return
    transcript = transcript_of(args.hours)
    with tempfile.TemporaryDirectory() as folder:
        path, changes_path = Path(folder, "transcript.json"), Path(folder, "changes.jsonl")
        path.write_text(render(transcript, OutputFormat.JSON, TITLE))
        changes = changes_of(transcript, args.corrections)
        changes_path.write_text("\n".join(CHANGE.dump_json(one).decode() for one in changes))
        print(f"{args.hours:g} h, {len(transcript.segments)} segments, {args.corrections} corrections")
        print("| format | raw: CPU s | corrected: CPU s | raw: peak MB | corrected: peak MB |\n|---|---|---|---|---|")
        for kind in OutputFormat:
            raw, with_them = (
                json.loads(
                    subprocess.check_output(
                        [sys.executable, __file__, "--one", path, changes_path, kind.value, how], text=True
                    )
                )
                for how in ("raw", "corrected")
            )
            print(
                f"| {kind.value} | {raw['cpu_s']:.2f} | {with_them['cpu_s']:.2f} "
                f"| {raw['peak_mb']:.0f} | {with_them['peak_mb']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
