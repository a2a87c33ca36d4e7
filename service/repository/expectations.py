"""What was expected where a configuration is wrong, for the messages of msgspec that do not say it."""

import re
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field")
_CHOICE = re.compile(r"Invalid (enum )?value")


def explained(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> str:
    """Return the message, and the known keys or the possible words where msgspec leaves them out."""
    message = str(error)
    place = _PLACE.search(message)
    steps = [step for step in re.split(r"[.\[]", place["path"] if place else "") if step]
    if _UNKNOWN.search(message):
        known = [key for each in _at(kind, steps) for key in _keys(each)]
        return f"{message}; known keys: {', '.join(dict.fromkeys(known))}" if known else message
    if _CHOICE.search(message):
        words = [word for each in _at(kind, steps) for word in _words(each)]
        return f"{message}; expected one of {', '.join(dict.fromkeys(words))}" if words else message
    return message


def _at(kind: Any, steps: list[str]) -> list[Any]:  # noqa: ANN401 -- any annotation
    """Return the types that may stand at the end of a path."""
    kinds = _alternatives(kind)
    for step in steps:
        kinds = [found for each in kinds for found in _step(each, step)]
    return kinds


def _step(kind: Any, step: str) -> list[Any]:  # noqa: ANN401 -- any annotation
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if step == kind.__struct_config__.tag_field:
            return [Literal[kind.__struct_config__.tag]]
        return _alternatives(get_type_hints(kind).get(step))
    return [found for argument in get_args(kind) for found in _alternatives(argument)] if step.endswith("]") else []


def _alternatives(kind: Any) -> list[Any]:  # noqa: ANN401 -- any annotation
    origin = get_origin(kind)
    if origin is Union or type(kind) is type(int | str):
        return [found for argument in get_args(kind) for found in _alternatives(argument)]
    return [kind]


def _keys(kind: Any) -> list[str]:  # noqa: ANN401 -- any annotation
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return []
    tag = kind.__struct_config__.tag_field
    return [*([tag] if tag else []), *kind.__struct_fields__]


def _words(kind: Any) -> list[str]:  # noqa: ANN401 -- any annotation
    return [str(word) for word in get_args(kind)] if get_origin(kind) is Literal else []
