"""The windows of one long recording, shared among processes through a folder (btworker/shared_windows.py). Runs in the
children.

The owner of the recording goes from its beginning, the helpers from its end. The owner reads what a helper decoded
when its turn comes, so that segments, words and files are made in one place and in order: the same result.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from btworker.engine.asr.decoding.alignment import Alignment
from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.timeline import Window
from btworker.engine.cooperate.ticket import Ticket
from btworker.shared_windows import PART, PLAN, claim, parts_of, write_whole

FOLDER_POLL_S = 0.05
"""Seconds between two looks at the folder for a part of a helper."""
PATIENCE_S = 30.0
"""Seconds for a part that another process has, once its turn has come: then it is decoded here as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a helper needs to know of a recording, but for its sound."""

    run: str
    """Names all that the text depends on (recognition.run_name)."""
    sound: str
    """Path of the decoded samples."""
    samples: int
    language: str
    windows: tuple[Window, ...]
    first: int = 0
    """Sample of the file at which the sound begins."""
    sound_comes: bool = False
    """A copy on another box, which the sound of each part reaches by itself."""

    @property
    def parts(self) -> int:
        """Number of parts."""
        return parts_of(len(self.windows))

    def part(self, number: int) -> tuple[Window, ...]:
        """List the windows of one part."""
        return self.windows[number * PART : (number + 1) * PART]


class Shares:
    """One recording's folder, as one process sees it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self.plan = plan
        self._claims: dict[int, IO[bytes]] = {}
        self._results: dict[int, list[Decoded]] = {}
        self._waiting_since: dict[int, float] = {}

    @classmethod
    def offer(cls, folder: Path, plan: Plan, *, begun: int = 0) -> "Shares":
        """Offer a recording, whose first `begun` windows the owner keeps. Results of an earlier attempt's helpers stay,
        if it was the same run."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / PLAN, asdict(plan))
        shares = cls(folder, plan)
        for part in range(parts_of(begun)):
            shares.claim(part)
        return shares

    @classmethod
    def find(cls, folder: Path) -> "Shares":
        """Find a recording that is offered. Raises OSError or ValueError where there is none."""
        raw = json.loads((folder / PLAN).read_bytes())
        windows = tuple(Window(one["seek"], one["size"]) for one in raw.pop("windows"))
        return cls(folder, Plan(windows=windows, **raw))

    def claim(self, number: int) -> bool:
        """Claim a part for this process; False where another one decodes or has decoded it."""
        if number in self._claims:
            return True
        if self.plan.sound_comes and not (self._folder / f"{number}.here").exists():
            return False
        file = claim(self._folder, number)
        if file is None:
            return False
        if self.result(number) is not None:
            file.close()
            return False
        self._claims[number] = file
        return True

    def publish(self, number: int, texts: Sequence[Decoded]) -> None:
        """Write the texts of a claimed part and give the claim back. Raises OSError where the job has ended."""
        shapes = [{**asdict(one), "alignment": _shape(one.alignment)} for one in texts]
        write_whole(self._folder / f"{number}.json", {"run": self.plan.run, "texts": shapes})
        self._claims.pop(number).close()

    def result(self, number: int) -> list[Decoded] | None:
        """Read the texts of a part, once for all of its windows; None where none are published."""
        if number not in self._results:
            try:
                raw = json.loads((self._folder / f"{number}.json").read_bytes())
                if raw["run"] != self.plan.run:
                    return None
                texts = [_decoded(shape) for shape in raw["texts"]]
                if len(texts) != len(self.plan.part(number)):
                    return None
                self._results[number] = texts
            except (OSError, ValueError, KeyError, TypeError):  # not there, or torn by a power cut
                return None
        return self._results[number]

    @property
    def may_grow(self) -> bool:
        """Whether parts that cannot be claimed now may be later: their sound comes. Raises OSError where the recording
        is not on offer any more."""
        if self.plan.sound_comes:
            (self._folder / PLAN).stat()
        return self.plan.sound_comes

    def is_late(self, number: int) -> bool:
        """Whether the part has been waited for, since the first call, for longer than it takes."""
        now = time.monotonic()
        return now - self._waiting_since.setdefault(number, now) > PATIENCE_S

    def remove(self) -> None:
        """Remove the folder: the owner is through, or gives up, and helpers find nothing more to do."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Give back what is claimed."""
        for file in self._claims.values():
            file.close()
        self._claims.clear()


class RemoteWindow(Ticket[Decoded]):
    """A window that another process decodes. When that died, or takes too long, `here` decodes it."""

    def __init__(self, shares: Shares, index: int, here: Callable[[], Ticket[Decoded]]) -> None:
        super().__init__()
        self._shares = shares
        self._part, self._place = divmod(index, PART)
        self._here = here
        self._own: Ticket[Decoded] | None = None
        self._next_poll_at = 0.0

    @property
    def done(self) -> bool:
        """See Ticket. Looks at the folder now and then."""
        if not self._answer and time.monotonic() >= self._next_poll_at:
            self._next_poll_at = time.monotonic() + FOLDER_POLL_S
            self._poll()
        return bool(self._answer) or (self._own is not None and self._own.done)

    @property
    def answer(self) -> Decoded:
        """See Ticket."""
        return self._answer[0] if self._answer or self._own is None else self._own.answer

    def cancel(self) -> None:
        """See Ticket."""
        super().cancel()
        if self._own is not None:
            self._own.cancel()

    def _poll(self) -> None:
        if (texts := self._shares.result(self._part)) is not None:
            self.resolve(texts[self._place])
            if self._own is not None:
                self._own.cancel()
        elif self._own is None and (self._shares.claim(self._part) or self._shares.is_late(self._part)):
            self._own = self._here()


def _shape(alignment: Alignment | None) -> dict[str, Any] | None:
    if alignment is None:
        return None
    return {
        "tokens": alignment.tokens,
        "starts_s": alignment.starts_s.tolist(),
        "probabilities": [float(one) for one in alignment.probabilities],
        "attention": alignment.attention.tolist(),
    }


def _decoded(shape: dict[str, Any]) -> Decoded:
    raw = shape.pop("alignment")
    alignment = None
    if raw is not None:
        starts_s = np.asarray(raw["starts_s"], dtype=np.float64)
        attention = np.asarray(raw["attention"], dtype=np.float32)
        alignment = Alignment(tuple(raw["tokens"]), starts_s, tuple(raw["probabilities"]), attention)
    lists = {name: tuple(shape[name]) for name in ("tokens", "logprobs")}
    return Decoded(**{**shape, **lists}, alignment=alignment)
