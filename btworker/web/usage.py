"""GET /v1/usage: what each key used on each day, as JSON or CSV. Parent; the rows are accounts.py's."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timezone
from enum import Enum

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from btworker.accounts import Account
from btworker.errors import BtworkerError, ErrorCode
from btworker.web.context import caller_of, context_of
from btworker.web.jobs.handlers import json_answer
from btworker.web.mistakes import read_query
from btworker.web.schemas import Wire

USUAL_DAYS, MOST_DAYS = 31, 400
CSV = "text/csv"
_DAY = "a day in UTC, like 2026-11-29"


class UsageFormat(str, Enum):
    """What the answer is."""

    JSON = "json"
    CSV = "csv"


class UsageQuery(BaseModel):
    """The query by its wire names; a description says what is allowed, for the error message."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: date | None = Field(None, alias="from", description=_DAY)
    last: date | None = Field(None, alias="to", description=_DAY)
    format: UsageFormat = Field(UsageFormat.JSON, description="json or csv")


class UsageWire(Wire):
    """What came to its end for one key on one day."""

    day: str
    owner: str
    key_id: str
    jobs: int
    audio_seconds: float
    work_seconds: float
    gpu_seconds: float
    input_bytes: int


class UsageListWire(Wire):
    """Days, the oldest first; `from` and `to` are the first and the last that were looked at."""

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    usage: tuple[UsageWire, ...]


async def usage(request: web.Request) -> web.StreamResponse:
    """Handler. Raises BAD_REQUEST."""
    context, wanted = context_of(request), read_query(request.query, UsageQuery)
    today = datetime.now(timezone.utc).date()
    last = wanted.last or today
    first = wanted.first or date.fromordinal(max(last.toordinal() - USUAL_DAYS + 1, 1))
    if not 0 <= (last - first).days < MOST_DAYS:
        message = f"from must not be after to, and at most {MOST_DAYS} days are looked at"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="from")
    days = str(first), str(last)
    found = await context.service.usage(*days, owner=caller_of(request).view)
    wires = (_wire(one, context.service.keys.name_of(one.owner)) for one in found)
    lines = tuple(sorted(wires, key=lambda one: (one.day, one.owner, one.key_id)))
    if wanted.format is UsageFormat.CSV:
        return web.Response(text=_csv(lines), content_type=CSV)
    return json_answer(UsageListWire.model_validate({"from": days[0], "to": days[1], "usage": lines}))


def _wire(account: Account, owner: str) -> UsageWire:
    return UsageWire(
        day=account.day,
        owner=owner,
        key_id=account.owner,
        jobs=account.jobs,
        audio_seconds=account.audio_ms / 1000,
        work_seconds=account.work_ms / 1000,
        gpu_seconds=account.gpu_ms / 1000,
        input_bytes=account.bytes,
    )


def _csv(lines: Sequence[UsageWire]) -> str:
    """RFC 4180, with the wire's names in the first line."""
    text = io.StringIO()
    rows: Iterable[dict[str, object]] = (line.model_dump(by_alias=True) for line in lines)
    names = [field.alias or name for name, field in UsageWire.model_fields.items()]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
