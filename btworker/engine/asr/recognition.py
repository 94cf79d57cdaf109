"""One recording, from its first window to its last, as a coroutine that can be stopped, in one of two modes.

exact.py is openai-whisper's own loop, with the segments of its transcribe(); fast.py decodes independent windows side
by side. Both report their progress, stop between two steps, go on where an earlier attempt died, and read a recording
of any length in the same memory. Runs in the child; engine/cooperate/side_by_side.py drives it.
"""

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version

from btworker.engine.asr.exact import ExactLoop
from btworker.engine.asr.fast import FastLoop
from btworker.engine.asr.formats.tokens import Tokens
from btworker.engine.asr.journal import Entry, Journal
from btworker.engine.asr.language import Languages, WindowLanguages, find_language, windows_needed
from btworker.engine.asr.mel import find_peak
from btworker.engine.asr.revision import installed_revision
from btworker.engine.asr.second_look import SecondLook
from btworker.engine.asr.spread.shares import Shares
from btworker.engine.asr.timeline import Window
from btworker.engine.asr.transcriber import FALLBACK_TEMPERATURES, Transcriber, WindowOptions
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.cooperate.side_by_side import emitting, side_by_side
from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.quality.hallucinations import assess, doubts
from btworker.engine.quality.second_look import after_second_look, is_worth_it
from btworker.engine.quality.tidy import tidy
from btworker.engine.sound.recording import Recording
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import EACH_WINDOW, Options
from btworker.transcript import Segment

REVISION = 7
"""Revision of our own decoding, of sound and of text: an attempt does not go on with windows of an earlier one."""
NOT_OF_THE_TEXT = frozenset(
    {
        "model",  # its hash counts
        "vad_enabled",
        "hallucination_detection",
        "hallucination_sensitivity",
        "diarization_enabled",
        "num_speakers",
        "min_speakers",
        "max_speakers",
        "known_speakers",
        "outputs",
        "priority",
    }
)
"""Options that change nothing in a finished window. Windows of another run are dropped for any other option, so that
one that is forgotten here costs time, and no wrong text."""


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a recognition. `index` counts windows from 0; None before the first of this attempt."""

    index: int | None
    seconds_done: float
    seconds_total: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """The text of a recording."""

    text: str
    language: str
    segments: tuple[Segment, ...]
    missing_speech: tuple[tuple[float, float], ...] = ()
    """Where somebody speaks and no text came out: (start, end) in seconds."""


def run_name(model: Model, sha256: str, options: Options, *, take: int = 0) -> str:
    """Name everything that the text depends on; an attempt never goes on with windows of another run. `sha256` is that
    of the file, `take` the number of what is transcribed of it."""
    chosen = {name: value for name, value in asdict(options).items() if name not in NOT_OF_THE_TEXT}
    heads = model.alignment_heads.pairs
    numbers = f"{model.network.precision}, {model.network.sound_bits}"
    facts = [model.sha256, heads, sha256, version("openai-whisper"), numbers, REVISION, chosen, take]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def recognize_alone(
    model: Model, recording: Recording, options: Options, *, journal: Journal
) -> Generator[Step, None, Recognition]:
    """Recognize one recording by itself: yields what recognize() emits, returns the result."""
    emitted: deque[Step] = deque()
    piece = recognize(model, recording, options, journal=journal, emit=emitted.append)
    steps = side_by_side([lambda: piece], driver=model.decoder, may_begin=lambda: True)
    (result,) = yield from emitting(steps, emitted)
    return result


async def recognize(
    model: Model,
    recording: Recording,
    options: Options,
    *,
    journal: Journal,
    emit: Callable[[Step], None],
    offer: Callable[[str, tuple[Window, ...], int], Shares | None] | None = None,
) -> Recognition:
    """Recognize one recording, as a piece of side_by_side(): emits a Step before the first window and after each.

    `offer` lets others help with a recording in fast mode, see fast.Offer; its first argument is the language.
    """
    done, fast = journal.resume(), options.decode == "fast"
    plan = WindowPlan(recording.sound, model.detector)
    each = options.language == EACH_WINDOW
    wanted = "" if each else done[-1].language if done else options.language
    needed = windows_needed(model, wanted)
    while not plan.is_whole and not (fast and len(plan.windows) >= needed):
        await plan.extend()
    emit(Step(None, done[-1].end if done else 0.0, recording.sound.expected_s))
    samples = recording.sound.samples
    # a window of fast mode is as loud as it is, as in whisper's training; the exact one goes by the whole file's peak
    peak = done[-1].peak if done else None
    if peak is None and not fast:
        peak = await find_peak(samples, n_mels=model.network.dims.n_mels, device=model.device)
    mel = model.log_mel(samples, peak=peak)
    language = await find_language(model, mel, wanted, plan if fast else None, among=options.languages)
    languages: Languages = language
    if each and fast and model.tokens.is_multilingual:
        before = done[-1].language if done else language.code
        languages, offer = WindowLanguages(model, recording.sound, before=before, among=options.languages), None
    transcriber_for = partial(transcriber_of, model, options, recording.sha256)
    entries = list(done)

    async def finish(entry: Entry) -> None:
        journal.append(entry)
        entries.append(entry)
        emit(Step(entry.index, entry.end, recording.sound.expected_s))
        await checkpoint()  # the next window may be there already

    loop = (
        FastLoop(model, recording.sound, options, transcriber_for, plan, offer and partial(offer, language.code))
        if fast
        else ExactLoop(model, mel, options, transcriber_for(language.code), plan)
    )
    await loop.run(done, languages=languages, finish=finish)
    found = _whole(entries, transcriber_for(language.code), language.code)
    found = await _judged(found, plan, options, SecondLook(model, recording.sound.samples, transcriber_for))
    segments = _numbered(found.segments, model.tokens)
    return replace(found, segments=segments)


def transcriber_of(model: Model, options: Options, sha256: str, language: str) -> Transcriber:
    """Make one for all windows of the recording in that file, in any process: samples are drawn by the file's hash."""
    rules = WindowOptions.of(options)
    tokenizer = model.tokens.tokenizer(language, options.task)
    revision = installed_revision()
    return Transcriber(model.decoder, rules, tokenizer=tokenizer, language=language, revision=revision, seed=sha256)


def _whole(entries: Sequence[Entry], transcriber: Transcriber, language: str) -> Recognition:
    """Put the windows together. The language is the one of most of them by their length; `language` without any."""
    segments = tuple(segment for entry in entries for segment in entry.segments)
    # decoded in one piece: a sign may begin in one segment and end in the next
    text = str(transcriber.tokenizer.decode([token for segment in segments for token in segment.tokens]))
    seconds: defaultdict[str, float] = defaultdict(float, {language: 0.0})
    for entry in entries:
        seconds[entry.language] += entry.end - entry.start
    missing = tuple(stretch for entry in entries for stretch in entry.missing)
    return Recognition(text, max(seconds, key=lambda code: seconds[code]), segments, missing)


def _numbered(segments: tuple[Segment, ...], tokens: Tokens) -> tuple[Segment, ...]:
    """Give the tokens the numbers that they have in the checkpoint."""
    if not tokens.added:
        return segments
    return tuple(replace(segment, tokens=tokens.own_numbers(segment.tokens)) for segment in segments)


async def _judged(found: Recognition, plan: WindowPlan, options: Options, second: SecondLook) -> Recognition:
    """Add what is doubtful about it; nothing is taken away but words that nobody asked for."""
    segments = found.segments
    if options.decode == "fast":
        segments = tidy(segments, plan.speech.total_samples / SAMPLE_RATE)
    if options.hallucination_detection:
        segments = await _assessed(replace(found, segments=segments), plan, options, second)
    if not options.word_timestamps:
        segments = tuple(replace(one, words=()) for one in segments)
    return replace(found, segments=segments)


async def _assessed(found: Recognition, plan: WindowPlan, options: Options, second: SecondLook) -> tuple[Segment, ...]:
    """Find the segments that may be invented. A translation has no second look: it comes out otherwise each time."""
    segments, translated = found.segments, options.task == "translate"
    language = "en" if translated else found.language
    last = FALLBACK_TEMPERATURES[-1] if options.temperature is None else None
    points = doubts(segments, language=language, speech_between=plan.speech_between, last_temperature=last)
    doubtful = [] if translated else [n for n, one in enumerate(points) if is_worth_it(segments[n].text, one)]
    shares = await second.shares([segments[n] for n in doubtful], found.language)
    for n, share in zip(doubtful, shares, strict=True):
        points[n] = after_second_look(points[n], share)
    assessed = assess(segments, points, sensitivity=options.hallucination_sensitivity)
    # openai-whisper keeps segments that it emptied; they claim nothing
    return tuple(one if one.text.strip() else replace(one, hallucination=None) for one in assessed)
