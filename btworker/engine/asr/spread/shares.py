"""The windows of one long recording, shared among processes through a folder. Runs in the children.

    <job>/shares/<n>/plan.json    who made it, and every window of input n
                     <k>.claim    locked by the process that decodes part k; the kernel opens the lock when it dies
                     <k>.json     what was said in part k, where a helper decoded it

The owner of the recording goes from its beginning, the helpers from its end. What a helper says is read by the owner
when its turn comes, so that segments, words and files are made in one place and in order: the same result.
"""

import fcntl
import json
import os
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

PART = 8
"""Windows: four minutes, a small part of a long recording, so that nobody is waited for for long at its end."""
LOOK_S = 0.05
"""Between two looks at the folder."""
PATIENCE_S = 30.0
"""For a part that another process has, once its turn has come: then it is decoded here as well."""


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

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-len(self.windows) // PART)

    def part(self, number: int) -> tuple[Window, ...]:
        """The windows of one part."""
        return self.windows[number * PART : (number + 1) * PART]


class Shares:
    """One recording's folder, as one process sees it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        self.plan = plan
        self._claims: dict[int, IO[bytes]] = {}
        self._said: dict[int, list[Decoded]] = {}
        self._waiting_since: dict[int, float] = {}

    @classmethod
    def offer(cls, folder: Path, plan: Plan, *, begun: int = 0) -> "Shares":
        """The owner's side. What helpers of an earlier attempt said stays, if it was the same run. The owner has begun
        so many windows, and keeps their parts."""
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "plan.json", asdict(plan))
        shares = cls(folder, plan)
        for part in range(-(-begun // PART)):
            shares.claim(part)
        return shares

    @classmethod
    def find(cls, folder: Path) -> "Shares":
        """The helper's side. Raises OSError or ValueError where there is none."""
        raw = json.loads((folder / "plan.json").read_bytes())
        windows = tuple(Window(one["seek"], one["size"]) for one in raw.pop("windows"))
        return cls(folder, Plan(windows=windows, **raw))

    def claim(self, number: int) -> bool:
        """Whether this process is to decode the part: nobody has, and nobody does."""
        if number in self._claims:
            return True
        file = (self._folder / f"{number}.claim").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        if self.said(number) is not None:
            file.close()
            return False
        self._claims[number] = file
        return True

    def say(self, number: int, said: Sequence[Decoded]) -> None:
        """What was said in a claimed part; gives the claim back. Raises OSError where the job has ended meanwhile."""
        shapes = [{**asdict(one), "alignment": _shape(one.alignment)} for one in said]
        _write(self._folder / f"{number}.json", {"run": self.plan.run, "said": shapes})
        self._claims.pop(number).close()

    def said(self, number: int) -> list[Decoded] | None:
        """What was said in a part; None where nobody is through with it. Read once for all of its windows."""
        if number not in self._said:
            try:
                raw = json.loads((self._folder / f"{number}.json").read_bytes())
                if raw["run"] != self.plan.run:
                    return None
                self._said[number] = [_decoded(shape) for shape in raw["said"]]
            except (OSError, ValueError, KeyError, TypeError):  # not there, or torn by a power cut
                return None
        return self._said[number]

    def is_late(self, number: int) -> bool:
        """The part has been waited for, since this was asked first, for longer than it takes."""
        now = time.monotonic()
        return now - self._waiting_since.setdefault(number, now) > PATIENCE_S

    def remove(self) -> None:
        """The owner is through, or gives up: helpers find nothing more to do."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Give back what is claimed."""
        for file in self._claims.values():
            file.close()
        self._claims.clear()


class Elsewhere(Ticket[Decoded]):
    """A window that another process decodes. When that died, or takes too long, `here` decodes it."""

    def __init__(self, shares: Shares, index: int, here: Callable[[], Ticket[Decoded]]) -> None:
        super().__init__()
        self._shares = shares
        self._part, self._place = divmod(index, PART)
        self._here = here
        self._own: Ticket[Decoded] | None = None
        self._next_look_at = 0.0

    @property
    def done(self) -> bool:
        """Looks at the folder now and then."""
        if not self._answer and time.monotonic() >= self._next_look_at:
            self._next_look_at = time.monotonic() + LOOK_S
            self._look()
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

    def _look(self) -> None:
        if (said := self._shares.said(self._part)) is not None:
            self.resolve(said[self._place])
            if self._own is not None:
                self._own.cancel()
        elif self._own is None and (self._shares.claim(self._part) or self._shares.is_late(self._part)):
            self._own = self._here()


def _write(path: Path, shape: Any) -> None:
    """At once: nobody reads half of it."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(shape))
    os.replace(part, path)


def _shape(alignment: Alignment | None) -> dict[str, Any] | None:
    if alignment is None:
        return None
    return {
        "tokens": alignment.tokens,
        "starts_s": alignment.starts_s.tolist(),
        "probabilities": [float(one) for one in alignment.probabilities],
    }


def _decoded(shape: dict[str, Any]) -> Decoded:
    raw = shape.pop("alignment")
    alignment = None
    if raw is not None:
        starts_s = np.asarray(raw["starts_s"], dtype=np.float64)
        alignment = Alignment(tuple(raw["tokens"]), starts_s, tuple(raw["probabilities"]))
    return Decoded(**{**shape, "tokens": tuple(shape["tokens"])}, alignment=alignment)
