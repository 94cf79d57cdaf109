"""How an upload's form is read. Pure, parent."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from btworker.config import Settings
from btworker.jobs import Input, Options
from btworker.web.jobs.admission import idempotency_key
from btworker.web.option_fields import Fields
from btworker.web.options import is_option, parse_options


@dataclass(frozen=True, slots=True)
class Form:
    """What the fields of a form mean; the routes of other APIs have one of their own."""

    understand: Callable[[Fields], Fields] = list
    """The form's fields -> ours. Raises BAD_OPTION."""
    key: Callable[[web.Request, Options, tuple[Input, ...]], str | None] = lambda request, *_: idempotency_key(request)
    """Uploads with the same key are the same job."""
    is_option: Callable[[str], bool] = is_option
    """Whether a field of this name is an option, and so no file that lost its filename."""
    one_file: bool = False
    """The answer is the transcript of one; else there may be several."""
    options: Callable[[Fields, Settings], Options] = parse_options
    """Ours -> the job's options. Raises BAD_OPTION."""


PLAIN = Form()
"""Of our own routes."""
