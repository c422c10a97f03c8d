"""Reading one value of one field, wherever it was given.

Rules:
    - Text from the environment or the command line is read as its field's type; text in the file
      is text ("3" is no number there).
    - A relative path counts from where it was written: from the file's folder in a file, from the
      working directory in a variable or on the command line.
    - Numbers are finite.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import msgspec

from settings.about import About, Kind
from settings.duration import format_duration, parse_duration
from settings.errors import SettingsError, show
from settings.fields import Field
from settings.hours import parse_hours
from settings.kept import ALL, parse_kept
from settings.masking import mask_url
from settings.size import format_size, parse_size

_URL = re.compile(r"amqps?://[^\s/?#]\S*|memory://\S*")
_BUILT_IN = re.compile(r"fedmq:[a-z_]+")
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?")
_FOLDER = re.compile(r"file:///[^\s?#]*")
_LEARNER = re.compile(r"(?P<file>[^\0]*\.py)(?::(?P<name>[^\W\d]\w*))?")
_HIDDEN = "something else, which is not shown"
_EXPONENT_FROM = 10**19
_RUN = re.compile(r"run:[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody gave it.

    Attributes:
        value: As it came.
        source: Where it came from, for an error.
        folder: What relative paths count from.
        loose: Whether a text may stand for a number, a boolean or a table.
        hidden: Whether the value may be a secret as a whole, which no error shows.
    """

    value: object
    source: str
    folder: Path
    loose: bool
    hidden: bool = False


def read(field: Field, given: Given) -> object:
    """Read a value.

    Raises:
        SettingsError: It is not what the field takes.
    """
    try:
        return _reader(field.about.kind)(field, given)
    # ValidationError is a ValueError; a text may nest tables too deep to read.
    except (ValueError, TypeError, RecursionError):
        got = _HIDDEN if given.hidden else _show(field, given.value)
    raise SettingsError(field.name, expected(field), got, given.source)


def expected(field: Field) -> str:
    """Say what a field takes, as a noun phrase with its range."""
    about = field.about
    if about.expected:
        return about.expected
    if field.choices:
        return "one of " + ", ".join(f'"{choice}"' for choice in field.choices)
    noun = _noun(field)
    span = limits(about)
    return f"{noun} {span}" if span else noun


def limits(about: About) -> str:
    """Say the bounds of a field in its own unit; empty where it has none."""
    low, high = (_bound(about.kind, bound) for bound in (about.at_least, about.at_most))
    if low and high:
        return f"from {low} to {high}"
    return f"of at least {low}" if low else f"of at most {high}" if high else ""


def _noun(field: Field) -> str:
    if field.about.kind == "duration":
        return 'a duration such as "30s" or "10m"'
    if field.about.kind == "size":
        return 'a size such as "64KiB" or "4MiB"'
    if field.about.kind == "kept":
        return '"all" or a whole number'
    nouns = {bool: "true or false", int: "a whole number", float: "a number"}
    return nouns.get(field.type, "a text")


def _bound(kind: Kind, bound: float | None) -> str:
    if bound is None:
        return ""
    if kind == "duration":
        return format_duration(bound)
    if kind == "size":
        return format_size(int(bound))
    return str(int(bound)) if bound == int(bound) and bound < _EXPONENT_FROM else f"{bound:g}"


def _show(field: Field, value: object) -> str:
    if field.about.kind == "config" and isinstance(value, str):
        return "a text that is none"  # not shown: it may hold a secret of the learner
    # Masked as a whole: a broken URL may not look like one.
    is_url = field.about.kind in ("url", "depot")
    return show(mask_url(value) if is_url and isinstance(value, str) else value)


def _reader(kind: Kind) -> Callable[[Field, Given], object]:
    match kind:
        case "plain":
            return _plain
        case "duration":
            return lambda field, given: _convert(field, parse_duration(given.value))
        case "size":
            return lambda field, given: _convert(field, parse_size(given.value))
        case "kept":
            return _kept
        case "path":
            return lambda field, given: _path(_text(given), given)
        case "file":
            return _file
        case "url":
            return _url
        case "depot":
            return _depot
        case "learner":
            return _learner
        case "initial":
            return _initial
        case "hours":
            return _hours
        case "config":
            return _config
        case _:
            assert_never(kind)


def _plain(field: Field, given: Given) -> object:
    value = _convert(field, given.value, loose=given.loose)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _convert(field: Field, value: object, *, loose: bool = False) -> object:
    if isinstance(value, float) and field.type is int and not loose:
        raise ValueError("a whole number is written without a point")
    return msgspec.convert(value, field.hint, strict=not loose)


def _kept(field: Field, given: Given) -> object:
    if isinstance(given.value, str) and not given.loose and given.value != "all":
        raise ValueError("in the file a number is written without quotes")
    count = parse_kept(given.value)
    return count if count == ALL else _convert(field, count)


def _text(given: Given) -> str:
    if isinstance(given.value, Path) and given.loose:
        return str(given.value)
    if not isinstance(given.value, str) or "\0" in given.value:
        raise TypeError("not a text")
    return given.value


def _path(text: str, given: Given) -> Path:
    if not text:
        raise ValueError("an empty path")
    # Made absolute without following links: what is shown stays what was written.
    return Path(os.path.abspath(given.folder / os.path.expanduser(text)))


def _url(field: Field, given: Given) -> str:
    from urllib.parse import urlsplit

    text = _text(given)
    if not _URL.fullmatch(text):
        raise ValueError("not the URL of a broker")
    parts = urlsplit(text)
    if parts.scheme != "memory" and (not parts.hostname or parts.port == 0):
        raise ValueError("no host, or a port that is none")
    return text


def _file(field: Field, given: Given) -> str:
    text = _text(given)
    return str(_path(text, given)) if text else ""


def _depot(field: Field, given: Given) -> str:
    text = _text(given)
    if text and not _BUCKET.fullmatch(text) and not _FOLDER.fullmatch(text):
        raise ValueError("neither a folder nor a bucket")
    return text


def _learner(field: Field, given: Given) -> str:
    text = _text(given)
    if not text or _BUILT_IN.fullmatch(text):
        return text
    found = _LEARNER.fullmatch(text)
    if found is None:
        raise ValueError("not a learner")
    return f"{_path(found['file'], given)}:{found['name'] or 'learner'}"


def _initial(field: Field, given: Given) -> str:
    text = _text(given)
    if text == "learner" or _RUN.fullmatch(text):
        return text
    if not text.endswith(".safetensors"):
        raise ValueError("not an initial model")
    return str(_path(text, given))


def _hours(field: Field, given: Given) -> str:
    text = _text(given)
    parse_hours(text)
    return text


def _config(field: Field, given: Given) -> object:
    value = given.value
    if given.loose and isinstance(value, str):
        value = _table(value)
    table = msgspec.convert(value, field.hint)
    if any(isinstance(item, float) and not math.isfinite(item) for item in table.values()):
        raise ValueError("not finite")
    return table


def _table(text: str) -> object:
    """Read a table written as JSON or as an inline table of toml."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        import tomllib

        document = tomllib.loads(f"config = {text}")
        if len(document) != 1:
            raise ValueError("more than one table") from None
        return document["config"]
