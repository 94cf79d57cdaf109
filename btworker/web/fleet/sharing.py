"""What boxes say of a long recording that they decode together (btworker/fleet/sharing.py). Parent.

POST   {attempt}/shares/{n}           the parts that its box lends, as JSON; the answer: what became of them, and
                                      whether more are wanted; 202: nothing yet, ask again
POST   {help}/parts                   one more part than the help has, once there is one; 404: there will be none
PUT    {help}/files/shares/{n}/{name} the texts of a part
DELETE {help}?why=                    the help is over; "cannot": this box can give none; "failed": none should
                                      (GET {help}/files/{name}: the sound of a part)
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet import files
from btworker.fleet.files import SHA256
from btworker.fleet.leases import HELPS, OVER
from btworker.fleet.sharing import Kept, Share
from btworker.web.fleet.desk import ATTEMPT, DESK, named_file, no_file, small_body
from btworker.web.jobs.handlers import json_answer
from btworker.web.schemas import Wire


class KeptWire(Wire):
    """A file of a part."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, kept: Kept) -> "KeptWire":
        return cls(size_bytes=kept.size_bytes, sha256=kept.sha256)


class LentWire(Wire):
    """What became of the parts that a box lends."""

    wants_more: bool
    decoded: dict[str, KeptWire]
    returned: tuple[int, ...]


class PartWire(Wire):
    """A part for a helper, and its sound."""

    number: int
    plan: dict[str, Any]
    sound: KeptWire


async def lend(request: web.Request) -> web.StreamResponse:
    """POST {attempt}/shares/{n}"""
    attempt, desk, name = request[ATTEMPT], request.app[DESK], request.match_info["share"]
    body = _object(await small_body(request))
    sounds, plan, is_whole = _sounds(body.get("lent")), body.get("plan"), body.get("isWhole") is True
    if not isinstance(plan, dict):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "plan must be an object")
    share, is_new = desk.sharing.begin((attempt.job_id, attempt.number, name))
    if is_new:  # what an attempt before left: its plan may be another one
        await desk.data.run(shutil.rmtree, attempt.folder.all_shares / name, ignore_errors=True)
    elif settled := share.parts.keys() - sounds.keys():
        await desk.data.run(_forget, attempt.folder.all_shares / name, tuple(settled))
    lent = await share.lend(sounds, plan, is_whole=is_whole)
    decoded = {str(number): KeptWire.of(texts) for number, texts in lent.decoded.items()}
    return json_answer(LentWire(wants_more=lent.wants_more, decoded=decoded, returned=lent.returned))


async def take(request: web.Request) -> web.StreamResponse:
    """POST {help}/parts"""
    has = _object(await small_body(request)).get("has")
    if not isinstance(has, list) or not all(isinstance(number, int) for number in has):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "has must be a list of parts")
    _, share = _share(request)
    found = await share.take(request[ATTEMPT].number, has)
    if found is None:
        raise no_file()
    number, sound = found
    return json_answer(PartWire(number=number, plan=dict(share.plan), sound=KeptWire.of(sound)))


async def put_texts(request: web.Request) -> web.StreamResponse:
    """PUT {help}/files/shares/{n}/{k}.json: 204 once the owner may have them."""
    name, attempt, desk = named_file(request, files.is_decoded), request[ATTEMPT], request.app[DESK]
    folder, share = _share(request)
    number = int(name.rpartition("/")[2].removesuffix(".texts"))
    if not name.startswith(f"shares/{folder}/") or not share.is_taken(number, attempt.number):
        raise BtworkerError(ErrorCode.GONE, "this part was given back")
    data = await small_body(request)
    sha256 = hashlib.sha256(data).hexdigest()
    if request.headers.get(SHA256, sha256) != sha256:
        raise BtworkerError(ErrorCode.CHECKSUM_MISMATCH, "the bytes that came are not those that were sent")

    def write() -> None:
        path = attempt.folder.path / name
        with desk.leases.holding(attempt.job_id, attempt.attempt):
            path.write_bytes(data)
            path.with_suffix(".s16").unlink(missing_ok=True)

    await desk.data.run(write)
    share.note_decoded(number, attempt.number, Kept(len(data), sha256))
    return web.Response(status=204)


async def end(request: web.Request) -> web.StreamResponse:
    """DELETE {help}: 204."""
    number, (_, share) = request[ATTEMPT].number, _share(request)
    desk, why = request.app[DESK], request.query.get("why")
    if why == "failed":
        share.close()
    desk.leases.end_help(number)
    desk.sharing.end_help(number, cannot=why == "cannot")
    return web.Response(status=204)


def _forget(folder: Path, parts: tuple[int, ...]) -> None:
    """Blocking: what lies here of parts that their owner has, or decodes itself."""
    for number in parts:
        for path in (folder / f"{number}.s16", folder / f"{number}.texts"):
            path.unlink(missing_ok=True)


def _share(request: web.Request) -> tuple[str, Share]:
    """What the help of the path is for. Raises GONE."""
    found = request.app[DESK].sharing.of_help(request[ATTEMPT].number)
    if found is None or request[ATTEMPT].kind != HELPS:
        raise BtworkerError(ErrorCode.GONE, OVER)
    (_, _, name), share = found
    return name, share


def _object(body: bytes) -> Mapping[str, Any]:
    """Raises BAD_REQUEST."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "the body is no JSON object")
    return found


def _sounds(lent: Any) -> dict[int, Kept]:
    """Raises BAD_REQUEST."""
    try:
        return {int(number): Kept(int(one["sizeBytes"]), str(one["sha256"])) for number, one in lent.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "lent must have a size and a hash for each part") from None
