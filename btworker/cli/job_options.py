"""What `transcribe` and `watch` ask of the worker: the arguments, and the API's options made of them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from btworker.jobs import OutputFormat


def add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    """How recordings are to be transcribed."""
    speech = parser.add_argument_group("speech (the worker's defaults unless given)")
    speech.add_argument("--model", help="one of the worker's models (btworker models list --server URL)")
    speech.add_argument("--language", metavar="CODE", help="what is spoken, like en or german; detected unless given")
    speech.add_argument("--languages", metavar="LIST", help="those that it may be in, with commas, like de,en")
    speech.add_argument("--translate", dest="task", action="store_const", const="translate", help="into English")
    speech.add_argument("--prompt", metavar="TEXT", help="names and words that may come up, or the text before")
    speech.add_argument("--keywords", type=_keywords, action="extend", metavar="LIST",
                        help="names and terms that are likely, with commas; @FILE has one a line")  # fmt: skip
    speech.add_argument("--temperature", type=float, metavar="T", help="0 to 1; without it, 0 and higher where 0 fails")
    speech.add_argument("--beam-size", type=int, metavar="N", dest="beamSize", help="beams; greedy unless given")
    speech.add_argument("--diarize", dest="diarizationEnabled", action="store_const", const=True,
                        help="tell speakers apart: who said what")  # fmt: skip
    speech.add_argument("--known-speaker", type=_known_speaker, action="append", default=[], metavar="NAME[=FILE]",
                        help="somebody who may be in it, by a stored voice or by a file with 2 to 30 s of theirs; "
                        "may be repeated")  # fmt: skip
    speech.add_argument("--channels", choices=("mix", "separate"), help="separate: transcribe each channel by itself")
    speech.add_argument("--start", metavar="TIME", help="where to begin, in seconds or as h:mm:ss")
    speech.add_argument("--end", metavar="TIME", help="where to end")
    speech.add_argument("--range", action="append", dest="ranges", metavar="START-END",
                        help="transcribe only this part; may be repeated")  # fmt: skip
    speech.add_argument("--option", type=_option, action="append", default=[], metavar="NAME=VALUE",
                        help="any option of docs/api.md, under its name there; may be repeated")  # fmt: skip


def add_formats(group: "argparse._ArgumentGroup") -> None:
    """Which files are to come of each."""
    known = ", ".join(item.value for item in OutputFormat)
    group.add_argument("--formats", type=_formats, dest="outputs", metavar="LIST", help=f"of {known} (json,md)")


def wire_options(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments as the API's options; what was not given is left to the worker."""
    names = (
        *("model", "language", "languages", "task", "prompt", "keywords", "temperature", "beamSize"),
        *("diarizationEnabled", "channels", "start", "end", "ranges", "outputsTo"),
    )
    named = {name: getattr(args, name) for name in names}
    if args.known_speaker:
        named["knownSpeakerNames"] = [name for name, _ in args.known_speaker]
    return {k: v for k, v in {**named, "outputs": args.outputs, **dict(args.option)}.items() if v is not None}


def _keywords(text: str) -> list[str]:
    """ "Ann, Bob" -> ["Ann", "Bob"]; "@names.txt" -> the lines of that file."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise argparse.ArgumentTypeError(f"{text[1:]} cannot be read: {reason}") from None
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


def _formats(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in {item.value for item in OutputFormat}:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(item.value for item in OutputFormat)}")
    return names


def _known_speaker(text: str) -> tuple[str, Path | None]:
    """ "Anna=anna.wav" -> ("Anna", anna.wav); a name alone is that of a stored voice."""
    name, _, path = text.partition("=")
    return name, Path(path) if path else None


def trouble_with_names(known: Sequence[tuple[str, Path | None]]) -> str:
    """Why known speakers cannot be sent as they are given; empty where they can."""
    if len({path is None for _, path in known}) > 1:
        return "either all with a file, or none"
    return "each name may be given once" if len(dict(known)) < len(known) else ""


def _option(text: str) -> tuple[str, Any]:
    """ "beamSize=5" -> ("beamSize", 5); what is no JSON is taken as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
