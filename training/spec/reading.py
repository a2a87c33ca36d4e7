"""A TOML file in, a TrainingSpec out, or a SpecError that names the file, the key, the value and what was expected."""

import copy
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from training.errors import SpecError
from training.spec import TrainingSpec

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`")
_BAD_KEY = re.compile(r"(?P<reason>.*) - at `key` in `\$(?P<where>.*)`")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_ANY_KEY = "..."  # how msgspec writes a key of a free table, such as a column's name

Step = str | int


def read_spec(path: Path) -> TrainingSpec:
    """Read and check a spec file. Raises SpecError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(path, f"cannot be read: {error.strerror}. Expected a TOML file.") from error
    except UnicodeDecodeError as error:
        raise SpecError(path, f"is not UTF-8 text: {error.reason} at byte {error.start}. Expected a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(path, f"is not valid TOML: {error}.") from error
    try:
        return msgspec.convert(raw, TrainingSpec)
    except msgspec.ValidationError as error:
        raise SpecError(path, _problem(str(error), raw)) from error


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec file, for editors that complete and check TOML."""
    schema = _with_plain_descriptions(msgspec.json.schema(TrainingSpec))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Axon training spec", **schema}


def _with_plain_descriptions(schema: Any) -> Any:  # noqa: ANN401 -- any part of a schema
    """Unindent the descriptions, which are docstrings: Python 3.13 does so itself, earlier ones do not."""
    if isinstance(schema, list):
        return [_with_plain_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: cleandoc(value) if key == "description" and isinstance(value, str) else _with_plain_descriptions(value)
        for key, value in schema.items()
    }


def _problem(message: str, raw: dict[str, Any]) -> str:
    """Tell msgspec's message in terms of the file: `reason - at `$.a.b[0]`` becomes the key, its value and the choices."""
    reason, _, where = message.rpartition(" - at `$")
    if not reason:
        reason, where = message, ""
    steps = list(_steps(where.rstrip("`"), message, raw))
    kinds = list(_kinds_at(steps, raw))
    if match := _UNKNOWN.fullmatch(reason):
        return _unknown_key(steps, match["key"], sorted(set(_keys(kinds))))
    if match := _MISSING.fullmatch(reason):
        return f"key '{_shown([*steps, match['key']])}' is missing.{_expected(_choices(match['key'], kinds))}"
    if match := _BAD_KEY.search(message):
        return _bad_key(match["reason"], list(_steps(match["where"], message, raw)), raw)
    if reason.startswith(("Expected", "Invalid")):
        *parents, key = steps or [""]
        choices = _choices(key, _kinds_at(parents, raw))
        wanted = _expected(choices) or f" {reason}."
        return f"{_shown(steps)} = {_value(raw, steps)!r} is not valid.{wanted}"
    return f"{_shown(steps)}: {reason}." if steps else f"{reason}."


def _steps(where: str, message: str, raw: dict[str, Any]) -> Iterator[Step]:
    """Yield the keys and indices of a path like `.a.b[0]`; a key that msgspec leaves open is found by trying each."""
    here: list[Step] = []
    for key, index in _STEP.findall(where):
        step = _guilty_key(here, message, raw) if index == _ANY_KEY else int(index) if index else key
        here.append(step)
        yield step


def _guilty_key(parents: list[Step], message: str, raw: dict[str, Any]) -> str:
    """Return the key of the table at `parents` whose value alone gives the same error."""
    keys = list(_value(raw, parents))
    for key in keys:
        alone = copy.deepcopy(raw)
        table = _value(alone, parents)
        for other in keys:
            if other != key:
                del table[other]
        try:
            msgspec.convert(alone, TrainingSpec)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return str(key)
    return str(keys[0])


def _unknown_key(steps: list[Step], key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"unknown key '{_shown([*steps, key])}'.{hint} Expected one of {', '.join(known)}."


def _bad_key(reason: str, steps: list[Step], raw: dict[str, Any]) -> str:
    """Name the key of a free table that is no name: msgspec tells only the table."""
    pattern = reason.partition("regex ")[2].strip("'")
    guilty = next((key for key in _value(raw, steps) if not re.search(pattern, key)), "")
    return f"{_shown([*steps, guilty])!r} is no valid key. {reason}."


def _kinds_at(steps: list[Step], raw: Any) -> Iterator[inspect.StructType]:  # noqa: ANN401 -- parsed TOML
    """Yield the struct types that a table at `steps` may have; its tag, if it has one, decides between several."""
    kinds: list[inspect.Type] = [inspect.type_info(TrainingSpec)]
    for step in steps:
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    table = _value(raw, steps)
    structs = [kind for kind in kinds if isinstance(kind, inspect.StructType)]
    tagged = [kind for kind in structs if kind.tag_field and isinstance(table, dict) and table.get(kind.tag_field) == kind.tag]
    yield from tagged or structs


def _inside(kind: inspect.Type, step: Step) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.VarTupleType):
        yield from _alternatives(kind.item_type)
    elif isinstance(kind, inspect.DictType):
        yield from _alternatives(kind.value_type)
    elif isinstance(kind, inspect.StructType):
        for field in kind.fields:
            if field.encode_name == step:
                yield from _alternatives(field.type)


def _alternatives(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)


def _keys(kinds: list[inspect.StructType]) -> Iterator[str]:
    for kind in kinds:
        yield from (field.encode_name for field in kind.fields)
        if kind.tag_field:
            yield kind.tag_field


def _choices(key: Step, kinds: Iterator[inspect.StructType] | list[inspect.StructType]) -> list[str]:
    """Return the words that may stand at `key`, each once; empty if it is not a choice between words."""
    found: list[str] = []
    for kind in kinds:
        if kind.tag_field == key:
            found.append(str(kind.tag))
        for inner in _inside(kind, key):
            if isinstance(inner, inspect.LiteralType):
                found.extend(str(value) for value in inner.values)
    return list(dict.fromkeys(found))


def _expected(choices: list[str]) -> str:
    return f" Expected one of {', '.join(repr(choice) for choice in choices)}." if choices else ""


def _value(raw: Any, steps: list[Step]) -> Any:  # noqa: ANN401 -- parsed TOML
    for step in steps:
        raw = raw.get(step) if isinstance(raw, dict) else raw[step]
    return raw


def _shown(steps: list[Step]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
