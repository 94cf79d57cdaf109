"""The first thing that is wrong with what a client sent, by its wire names. Pure."""

from pydantic import ValidationError

from btworker.errors import BtworkerError, ErrorCode


def first_mistake(error: ValidationError) -> tuple[tuple[str, ...], str]:
    """(where, what): the path of the value, empty for the whole, and pydantic's words. Values are not repeated."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return tuple(str(part) for part in first["loc"]), first["msg"]


def bad_option(param: str, what: str) -> BtworkerError:
    """BAD_OPTION that begins with the option's name."""
    return BtworkerError(ErrorCode.BAD_OPTION, f"{param}: {what}", param=param)
