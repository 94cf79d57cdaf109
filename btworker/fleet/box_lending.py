"""What other boxes decode of a long recording that a child of this box transcribes. Runs in the box that has it.

A part that another box is to decode is claimed here, in the folder that the children share, like by one of them; its
sound goes to the front end, and its texts come from there into the folder. Where they do not come, the claim is given
back: the child that has the recording decodes the part itself. sharing.py in the front end says which are wanted.
"""

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from btworker.checkpoints.hashing import file_sha256
from btworker.errors import BtworkerError
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FencedError, FrontEnd
from btworker.job_folder import JobFolder
from btworker.logs import get_logger
from btworker.messages import HelpTask
from btworker.shared_windows import PLAN, claim, copy_pieces, packed, parts_of, pieces
from btworker.stems import numbered

log = get_logger()


@dataclass(frozen=True, slots=True)
class _Lent:
    """A part that is claimed for others."""

    lock: IO[bytes]
    size_bytes: int
    sha256: str


class Lending:
    """See the module's docstring. `stop` ends it; so does the end of the recording."""

    def __init__(self, task: HelpTask, front_end: FrontEnd, courier: Courier) -> None:
        self._folder = JobFolder(task.folder).shares(task.file_index, task.take)
        self._name = numbered(task.file_index, task.take)
        self._front_end = front_end
        self._courier = courier
        self._plan: dict[str, Any] = {}
        self._lent: dict[int, _Lent] = {}
        self._is_whole = False
        self._work = asyncio.create_task(self._run(), name=f"lending-{task.job_id}")

    async def stop(self) -> None:
        """Give back what is claimed."""
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                await self._settle(await self._front_end.insist(self._ask))
        except (FencedError, BtworkerError, OSError, EOFError, ValueError, KeyError) as error:
            log.info("lending_ended", reason=type(error).__name__)  # mostly: the recording is through
        finally:
            for part in self._lent.values():
                part.lock.close()
            self._lent.clear()

    async def _ask(self) -> Any:
        lent = {str(number): {"sizeBytes": one.size_bytes, "sha256": one.sha256} for number, one in self._lent.items()}
        body = {"plan": self._plan, "lent": lent, "isWhole": self._is_whole}
        return await self._front_end.ask("POST", f"shares/{self._name}", json=body)

    async def _settle(self, answer: Any) -> None:
        for number, texts in answer["decoded"].items():
            name = f"shares/{self._name}/{number}.texts"
            await self._courier.fetch_file(name, int(texts["sizeBytes"]), str(texts["sha256"]))
            os.replace(self._folder / f"{number}.texts", self._folder / f"{number}.json")
            self._lent.pop(int(number)).lock.close()
        for number in answer["returned"]:
            self._lent.pop(int(number)).lock.close()
        if answer["wantsMore"]:
            await self._lend()

    async def _lend(self) -> None:
        """Claim the last part that no process has, and bring its sound to the front end."""
        found = await asyncio.to_thread(self._claim)
        if found is None:
            self._is_whole = True
            return
        number, lock = found
        try:
            sound = self._folder / f"{number}.s16"
            await asyncio.to_thread(_pack, self._plan, number, sound)
            await self._courier.put_files((sound,))
            self._lent[number] = _Lent(lock, sound.stat().st_size, await asyncio.to_thread(file_sha256, sound))
            sound.unlink()
        finally:
            if number not in self._lent:
                lock.close()

    def _claim(self) -> tuple[int, IO[bytes]] | None:
        """Blocking; None where nothing is left, or the recording is through."""
        with suppress(FileNotFoundError):
            self._plan = json.loads((self._folder / PLAN).read_bytes())
            for number in reversed(range(parts_of(len(self._plan["windows"])))):
                if number in self._lent or (self._folder / f"{number}.json").exists():
                    continue
                if (lock := claim(self._folder, number)) is not None:
                    return number, lock
        return None


def _pack(plan: dict[str, Any], number: int, target: Path) -> None:
    """Lay the sound of a part into a file, as helpers expect it. Blocking."""
    first = 2 * int(plan["first"])
    places = [(first + piece.offset, at, piece.count) for piece, at in packed(pieces(plan, number))]
    with open(plan["sound"], "rb") as source, open(target, "wb") as file:
        copy_pieces(source, file, places)
