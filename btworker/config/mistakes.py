"""What is wrong with a setting, in sentences of our own: which values it takes. Pure."""

from collections.abc import Iterable
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

OWN = "value_error"
"""pydantic's name for an error that one of our validators raised: it has a sentence already."""


def explain(error: ValidationError, fields: dict[str, FieldInfo]) -> list[str]:
    """A line for each mistake; `fields` by their variables' names. Values are not repeated: one may be a token."""
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] != OWN and name in fields:
            message = f"must be {expected(fields[name])}"
        lines.append(f"{name}: {message}" if name else message)
    return lines


def expected(field: FieldInfo) -> str:
    """The values that a field takes, in words."""
    kinds = _kinds(field.annotation)
    if get_origin(kinds[0]) is Literal:
        return _either(map(str, get_args(kinds[0])))
    if bool in kinds:
        return "true or false"
    if int in kinds or float in kinds:
        return f"a {'whole ' if int in kinds else ''}number{_bounds(field.metadata)}"
    return "a path" if any("Path" in repr(kind) for kind in kinds) else "text"


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types of an optional one without None."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for kind in get_args(annotation) if kind is not type(None))
    return (annotation,)


def _bounds(metadata: Iterable[Any]) -> str:
    words = []
    for limit in metadata:
        match limit:
            case Ge(ge=value):
                words.append(f"at least {value}")
            case Gt(gt=value):
                words.append(f"more than {value}")
            case Le(le=value):
                words.append(f"at most {value}")
            case Lt(lt=value):
                words.append(f"less than {value}")
    return f" of {' and '.join(words)}" if words else ""


def _either(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
