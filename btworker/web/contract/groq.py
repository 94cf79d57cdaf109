"""OpenAI's operations at the addresses of Groq's clients, which write /openai/v1 behind their base URL."""

from dataclasses import replace

from btworker.web.contract import speech
from btworker.web.contract.operation import Operation


def _of_groq(one: Operation) -> Operation:
    name = f"groq{one.name[:1].upper()}{one.name[1:]}"
    return replace(one, name=name, summary=f"{one.summary}: the address of Groq's clients")


TRANSCRIBE = _of_groq(speech.TRANSCRIBE)
TRANSLATE = _of_groq(speech.TRANSLATE)
MODELS = _of_groq(speech.MODELS)
MODEL = _of_groq(speech.MODEL)
