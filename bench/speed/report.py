"""What was measured, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.speed import windows
from bench.speed.contenders import IN_BYTES, THEIR_MOST, WORD_TIMES, Task
from bench.speed.figures import Spread
from bench.speed.files import THEIRS, Files
from bench.speed.peers import KINDS
from bench.speed.roof import Machine, cross_projection_flop, decode_s, encoder_flop, step_s, window_s
from bench.speed.shapes import SHAPES
from bench.speed.way import Way
from bench.speed.windows import OURS, Windows

WINDOW_S = 30


@dataclass(frozen=True)
class Table:
    """For the terminal and for a document."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


AUDIO_HOURS = "real time: hours of audio an hour"
PRICE = "price of an hour of audio"


def price_of(times_real_time: float, price_per_hour: float | None) -> tuple[str, ...]:
    """A column of its own, where it is known what an hour of the device costs."""
    return () if price_per_hour is None else (f"{price_per_hour / times_real_time:.3g}",)


def speed_tables(found: Windows, machine: Machine, price_per_hour: float | None = None) -> list[Table]:
    """Speed of everybody, and who was there."""
    return [_speeds(found, machine, price_per_hour), _who(found)]


def stage_tables(found: Windows, machine: Machine) -> list[Table]:
    """Our stages."""
    return [_stages(found, machine)]


def _speeds(found: Windows, machine: Machine, price_per_hour: float | None) -> Table:
    rows, priced = [], price_per_hour is not None
    for task in found.seconds:
        for name in found.seconds[task]:
            rate = found.rate(task, name)
            against = str(found.against_openai(task) or "") if name == OURS else ""
            share = f"{100 * rate.median * roof_s(found, task, machine):.0f} %"
            from_what = "encoded" if task.encoded else "mel"
            about = (task.case, from_what, str(task.batch), name, str(rate))
            price = price_of(WINDOW_S * rate.median, price_per_hour)
            rows.append((*about, f"{WINDOW_S * rate.median:.0f}x", share, against, *price))
    for (task, name), why in found.failed.items():
        about = (task.case, "encoded" if task.encoded else "mel", str(task.batch), name, why)
        rows.append((*about, *[""] * (3 + priced)))
    header = (
        "case",
        "from",
        "batch",
        "who",
        "windows/s",
        AUDIO_HOURS,
        "of the roof",
        "ours: times openai's better way",
        *[PRICE] * priced,
    )
    setting = found.setting
    precision = str(setting.dtype).removeprefix("torch.")
    title = (
        f"Windows, {setting.shape} shape, random weights, {precision}, {setting.device.type}, "
        f"{setting.threads} threads; "
        f"median (range) of {found.rounds} rounds; F: {setting.tokens} tokens each, V: 76 in the mean"
        + (f"; openai-whisper by {THEIR_MOST['cuda']} windows" * (setting.device.type == "cuda"))
    )
    return Table(title, header, rows)


def roof_s(found: Windows, task: Task, machine: Machine) -> float:
    """Seconds of a window that nobody can beat on this machine, with this batch."""
    setting = found.setting
    lengths = setting.lengths(task.case)[: task.count]
    formula = decode_s if task.encoded else window_s
    itemsize = setting.dtype.itemsize
    tokens = sum(lengths) / len(lengths) + 1  # and the end of text
    return formula(SHAPES[setting.shape], machine, batch=task.batch, tokens=tokens, itemsize=itemsize)


def _stages(found: Windows, machine: Machine) -> Table:
    dims, setting = SHAPES[found.setting.shape], found.setting
    rows = []
    for batch, stages in found.stages.items():
        whole = sum(Spread(tuple(seconds)).median for seconds in stages.values())
        step = step_s(dims, machine, batch=batch, history=setting.tokens / 2, itemsize=setting.dtype.itemsize)
        roofs = {
            "encoder": encoder_flop(dims) / machine.flop_per_s,
            "cross-KV and prefill": cross_projection_flop(dims) / machine.flop_per_s,
            "steps": setting.tokens * step / batch,
        }
        for name, seconds in stages.items():
            each = Spread(tuple(1000 * value for value in seconds))
            of_roof = f"{100 * 1000 * roofs[name] / each.median:.0f} %" if name in roofs else ""
            rows.append((str(batch), name, str(each), f"{100 * each.median / 1000 / whole:.0f} %", of_roof))
    header = ("batch", "stage", "ms a window", "share", "of the roof")
    return Table(f"Our stages, {setting.shape} shape, {setting.tokens} steps", header, rows)


def _who(found: Windows) -> Table:
    rows = [
        (name, "", *_agreement(found, name))
        for name in (OURS, WORD_TIMES, IN_BYTES, windows.THEIRS)
        if name in found.off_by
    ]
    rows += [(kind, found.versions.get(kind, ""), *_agreement(found, kind)) for kind in KINDS]
    title = f"Tokens: ours are openai-whisper's in all {found.gate} of the gate, in float32, greedy, with timestamps"
    return Table(title, ("who", "version", "windows with openai's tokens in this run", "row lengths"), rows)


def _agreement(found: Windows, name: str) -> tuple[str, str]:
    if name not in found.agreement:
        return "", ""
    off = found.off_by[name]
    return f"{100 * found.agreement[name]:.0f} %", "as asked" if off == 0 else f"off by {off} at most"


def window_bars(found: Windows) -> dict[str, Spread]:
    """For the plot: case F from the sound."""
    return {
        f"{name}, batch {task.batch}": found.rate(task, name)
        for task in found.seconds
        if task.case == "F" and not task.encoded
        for name in found.seconds[task]
    }


def file_tables(found: Files, price_per_hour: float | None = None) -> list[Table]:
    """Speed with WER, and where our time goes."""
    rows, priced = [], price_per_hour is not None
    for name in found.seconds:
        against = "" if name == THEIRS else str(found.against_openai(name))
        rate = 100 * found.word_error_rate[name]
        speed = found.times_real_time(name)
        rows.append((name, f"{speed}", against, f"{rate:.2f} %", *price_of(speed.median, price_per_hour)))
    rows += [(name, said, "", "", *[""] * priced) for name, said in found.versions.items() if name not in found.seconds]
    title = (
        f"Files, demo model, {found.audio_s / 60:.0f} minutes in files of 10 s to 10 min, word times, language found; "
        f"exact mode's text is transcribe()'s in {found.same_texts} files"
    )
    header = ("who", AUDIO_HOURS, f"times {THEIRS}", "WER", *[PRICE] * priced)
    shares = []
    for name, stages in found.shares.items():
        whole = sum(stages.values())
        shares += [
            (name, stage, f"{seconds:.2f}", f"{100 * seconds / whole:.0f} %") for stage, seconds in stages.items()
        ]
    return [
        Table(title, header, rows),
        Table("Our stages, one recording at a time", ("mode", "stage", "seconds", "share"), shares),
    ]


def way_tables(found: Way) -> list[Table]:
    """The whole way."""
    jobs_s = sum(found.stages_s.values())
    stages = {**found.stages_s, "queue, events, rows": max(0.0, found.seconds - jobs_s)}
    rows = [(name, f"{seconds:.1f}", f"{100 * seconds / found.seconds:.0f} %") for name, seconds in stages.items()]
    rows.append(("the whole way", f"{found.seconds:.1f}", f"{found.times_real_time:.1f} times real time"))
    rows.append(("of it, until all was uploaded", f"{found.upload_s:.1f}", ""))
    rows.append(("of it, fetching the files", f"{found.download_s:.1f}", ""))
    title = f"Upload to speaker-labelled files, {found.audio_s / 60:.0f} minutes of dialogues, fast mode, one child"
    return [Table(title, ("stage", "seconds", "share"), rows)]
