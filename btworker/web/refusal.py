"""What an error looks like over the wire. Pure."""

from typing_extensions import TypedDict

from btworker.errors import ErrorCode


class Problem(TypedDict):
    """Why a request was refused; `type` is OpenAI's word for the kind, `param` the option or header at fault."""

    code: ErrorCode
    message: str
    type: str
    param: str | None


class Refusal(TypedDict):
    """The one shape of every error. A plain dict, since `param` may be any text that a client sent."""

    error: Problem
