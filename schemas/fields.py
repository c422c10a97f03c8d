"""Messages as frozen dataclasses whose field types say what is accepted.

A field's type is one of the names below; each is a check that either gives the value or says what
was expected. `bool` is not an `int` here, and nothing is converted, but for a list that becomes a
tuple.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from schemas.errors import DecodeError

Check = Callable[[Any], Any]


def _text(pattern: str, meaning: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any) -> str:
        if type(value) is not str or compiled.fullmatch(value) is None:
            raise DecodeError(f"expected {meaning}, came {_shown(value)}")
        return value

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise DecodeError(f"expected a whole number {low} to {high}, came {_shown(value)}")
        return value

    return check


def _finite(value: Any) -> float:
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not float or not math.isfinite(value):
        raise DecodeError(f"expected a finite number, came {_shown(value)}")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise DecodeError(f"expected true or false, came {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


WorkerId = Annotated[str, _text(r"[A-Za-z0-9_-]{1,64}", "a worker id (1 to 64 of A-Z a-z 0-9 _ -)")]
Id = Annotated[str, _text(r"[0-9a-f]{32}", "an id of 32 hexadecimal digits")]
MaybeId = Annotated[str, _text(r"([0-9a-f]{32})?", "an id of 32 hexadecimal digits or nothing")]
Digest = Annotated[str, _text(r"[0-9a-f]{64}", "a digest of 64 hexadecimal digits")]
Name = Annotated[str, _text(r"[A-Za-z0-9._-]{1,200}", "a name (1 to 200 of A-Z a-z 0-9 . _ -)")]
CodecName = Annotated[
    str, _text(r"[a-z0-9.:+]{1,40}", "the name of a codec (1 to 40 of a-z 0-9 . : +)")
]
Text = Annotated[str, _text(r"(?s).{0,500}", "a text of at most 500 characters")]
Count = Annotated[int, _whole(0, 2**53)]
Version = Annotated[int, _whole(-1, 2**53)]
Seed = Annotated[int, _whole(0, 2**32 - 1)]
Number = Annotated[float, _finite]

_MessageT = TypeVar("_MessageT")


def to_fields(message: Any) -> dict[str, Any]:
    """A message's fields as msgpack takes them."""
    kind = type(message)
    fields = {name: getattr(message, name) for name in checks_of(kind)}
    for name in _NESTED[kind]:
        if fields[name] is not None:
            fields[name] = to_fields(fields[name])
    return fields


def from_fields(kind: type[_MessageT], values: Mapping[str, Any]) -> _MessageT:
    """The message of a class from decoded fields: the exact set of names, each of its type.

    Raises:
        DecodeError: Saying which field, what was expected and what came.
    """
    checks = checks_of(kind)
    if values.keys() != checks.keys():
        missing, unknown = checks.keys() - values.keys(), values.keys() - checks.keys()
        raise DecodeError(
            f"{kind.__name__}: missing {sorted(missing) or 'nothing'}, "
            f"unknown {_shown(sorted(unknown)) if unknown else 'nothing'}"
        )
    checked = {}
    for name, check in checks.items():
        try:
            checked[name] = check(values[name])
        except DecodeError as error:
            raise DecodeError(f"{kind.__name__}.{name}: {error}") from None
    return kind(**checked)


_CHECKS: dict[type, dict[str, Check]] = {}
_NESTED: dict[type, tuple[str, ...]] = {}  # the fields that have fields of their own


def checks_of(kind: type) -> dict[str, Check]:
    """The check of each field of a message class, in order."""
    if kind not in _CHECKS:
        hints = get_type_hints(kind, include_extras=True)
        names = [field.name for field in dataclasses.fields(kind)]
        _NESTED[kind] = tuple(name for name in names if _nested_in(hints[name]) is not None)
        _CHECKS[kind] = {name: _check_of(hints[name]) for name in names}
    return _CHECKS[kind]


def _nested_in(hint: Any) -> type | None:
    """The class of a field that has fields of its own, or may be None."""
    kinds = [kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)]
    return next((kind for kind in kinds if isinstance(kind, type)), None)


def _check_of(hint: Any) -> Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        check: Check = arguments[1]
        return check
    if hint is bool:
        return _truth
    if dataclasses.is_dataclass(hint):
        return _fields_of(hint)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        inner = _check_of(next(a for a in arguments if a is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return _all_of(_check_of(arguments[0]))
    if origin is Mapping or origin is dict or getattr(origin, "__name__", "") == "Mapping":
        return _map_of(_check_of(arguments[0]), _check_of(arguments[1]))
    raise TypeError(f"no check for the field type {hint!r}")


def _fields_of(kind: Any) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise DecodeError(f"expected fields, came {_shown(value)}")
        return from_fields(kind, value)

    return check


def _one_of(allowed: tuple[Any, ...]) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not str or value not in allowed:
            raise DecodeError(f"expected one of {', '.join(allowed)}, came {_shown(value)}")
        return value

    return check


def _all_of(inner: Check) -> Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise DecodeError(f"expected a list, came {_shown(value)}")
        return tuple(inner(item) for item in value)

    return check


def _map_of(key: Check, inner: Check) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise DecodeError(f"expected a map, came {_shown(value)}")
        return {key(name): inner(item) for name, item in value.items()}

    return check
