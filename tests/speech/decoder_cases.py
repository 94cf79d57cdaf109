"""Windows with mixed options for the decoder's oracle, on the CPU and on a GPU."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import whisper
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.requests import Decoded, TextRequest

LANGUAGES = ("en", "de", "fr", "zh", "sw")
WINDOWS = 17
SEEDS = {2: 43.0, 3: 45.0}


@dataclass(frozen=True)
class Case:
    """A window and how it is to be decoded."""

    mel: torch.Tensor
    language: str
    task: str
    prompt: tuple[int, ...]

    def signs(self, *, timed: bool) -> tuple[int, ...]:
        """Of language and task."""
        tokenizer = get_tokenizer(multilingual=True, num_languages=99, language=self.language, task=self.task)
        return tokenizer.sot_sequence if timed else tokenizer.sot_sequence_including_notimestamps

    def request(
        self,
        tokenizer: Any,
        *,
        timed: bool = True,
        beams: int = 1,
        temperatures: tuple[float, ...] = (0.0,),
        seed: str = "window",
        unacceptable: Callable[[Decoded], bool] = lambda _: False,
    ) -> TextRequest:
        """What our decoder is asked."""
        before = (tokenizer.sot_prev, *self.prompt) if self.prompt else ()
        return TextRequest(
            sound=self.mel,
            start=(*before, *self.signs(timed=timed)),
            sot=len(before),
            timed=timed,
            temperatures=temperatures,
            beams=beams,
            seed=seed,
            unacceptable=unacceptable,
            to_align=lambda _: None,
        )

    def wanted(self, model: Any, *, timed: bool, beams: int | None) -> Any:
        """What openai-whisper says."""
        options = whisper.DecodingOptions(
            task=self.task,
            language=self.language,
            prompt=list(self.prompt),
            beam_size=beams,
            without_timestamps=not timed,
            fp16=False,
        )
        return whisper.decode(model, self.mel, options)


def cases(seed: int) -> list[Case]:
    """Windows with prompts of every length, in several languages."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Case(
            mel=torch.randn(80, 3000, generator=generator),
            language=LANGUAGES[index % len(LANGUAGES)],
            task="translate" if index % 3 == 1 else "transcribe",
            prompt=tuple(torch.randint(0, 50_000, (index * 2,), generator=generator).tolist()) if index % 2 else (),
        )
        for index in range(WINDOWS)
    ]


def all_of(decoder: Decoder, requests: list[TextRequest]) -> list[Decoded]:
    """Ask at once, and wait."""
    tickets = [decoder.submit(request) for request in requests]
    while waiting := [ticket for ticket in tickets if not ticket.done]:
        decoder.wait(waiting)
    return [ticket.answer for ticket in tickets]
