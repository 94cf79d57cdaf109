"""The first thing that is wrong with what a client sent, by its wire names. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from btworker.errors import BtworkerError, ErrorCode

M = TypeVar("M", bound=BaseModel)
OBJECT = "must be an object"
WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "string_type": "must be a text",
    "tuple_type": "must be a list",
    "dict_type": OBJECT,
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
}
"""What is wrong, by pydantic's name for it: its own words are about Python, with names of our classes."""


def first_mistake(error: ValidationError) -> tuple[tuple[str, ...], str]:
    """(where, what): the path of the value, empty for the whole, and what is wrong with it. Values are not repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    if words := WORDS.get(first["type"]):
        what = words.format(**first.get("ctx", {}))
    else:
        what = first["msg"].removeprefix("Value error, ")
    return tuple(str(part) for part in first["loc"]), what


def first_field(error: ValidationError) -> str:
    """The outermost name of the first mistake; empty where it is no text, as half a character (\\ud800) is none."""
    return next(iter(first_mistake(error)[0]), "")


def read_query(query: Mapping[str, str], model: type[M]) -> M:
    """The parameters of an address, by a model whose descriptions say what is allowed. Raises BAD_REQUEST."""
    if len(query) != len(set(query)):
        raise BtworkerError(ErrorCode.BAD_REQUEST, "each parameter may be given once")
    try:
        return model.model_validate({name: value for name, value in query.items() if value.strip()})
    except ValidationError as error:
        name = first_field(error)
        allowed = {field.alias or own: field.description for own, field in model.model_fields.items()}
        if name not in allowed:
            message = f"there is no such parameter; there are {', '.join(allowed)}"
            raise BtworkerError(ErrorCode.BAD_REQUEST, message) from None
        raise BtworkerError(ErrorCode.BAD_REQUEST, f"{name} must be {allowed[name]}", param=name) from None


def bad_option(param: str, what: str) -> BtworkerError:
    """BAD_OPTION that begins with the option's name."""
    return BtworkerError(ErrorCode.BAD_OPTION, f"{param}: {what}", param=param)
