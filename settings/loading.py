"""Loading the settings from the command line, the environment, a file and the defaults.

Rules:
    - The command line comes before the environment, that before the file, that before what
      `rounds.preset` and `wire.profile` set, that before the defaults. A field is taken whole from
      one of them, also a table such as `learner.config`.
    - Every field has a variable, `FEDMQ_<SECTION>_<KEY>`: `rounds.goal` is `FEDMQ_ROUNDS_GOAL`. A
      variable that begins with the name of a section and names no field of it is an error.
    - With `_FILE` behind it, the same variable names a file that holds the value: a secret then
      stands in no process list and in no container's description. Errors do not show what is in it.
      Other variables, such as `FEDMQ_TEST_AMQP_URL` and `FEDMQ_LOG_LEVEL`, are none of ours.
    - Unknown sections and keys are errors, wherever they stand. Of the values only those that
      count are read: one that something else overrides may be wrong.
"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from settings.agreement import check_agreement
from settings.errors import SettingsError, one_line, show
from settings.fields import Field, fields, sections
from settings.model import Settings
from settings.presets import PRESETS
from settings.profiles import PROFILES
from settings.values import Given, read

COMMAND_LINE = "the command line"
DEFAULT = "the default"
FILE_SUFFIX = "_FILE"
"""Behind a field's variable: the value is in the file that this one names."""
NAMED = {"rounds.preset": PRESETS, "wire.profile": PROFILES}
"""What sets other fields, and what it can set them to."""

_SECRET_BYTES_MAX = 64 * 1024

_NOTHING: Mapping[str, object] = MappingProxyType({})


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] = _NOTHING
) -> Settings:
    """Load the settings.

    Args:
        path: The `federation.toml`; None: there is no file.
        environ: The environment, usually `os.environ`.
        overrides: What the command line gave, by dotted name (`rounds.goal`); None is not given.

    Returns:
        Settings in which every value is valid by itself and beside the others, and every path is
        absolute. That files and folders exist is not checked.

    Raises:
        SettingsError: A setting is unknown, has a wrong value, or is at odds with another one; or
            the file cannot be read.
    """
    here = Path.cwd()
    folder = here if path is None else (here / path).parent
    said = dict(_from_file(path, folder)) if path is not None else {}
    said.update(_from_environment(environ, here))
    said.update(_from_overrides(overrides, here))
    given = {
        name: Given(field.default, DEFAULT, folder, loose=True) for name, field in fields().items()
    }
    for name in NAMED:
        given.update(_from_named(name, said.get(name, given[name]), folder))
    given.update(said)
    settings = _build({name: read(fields()[name], value) for name, value in given.items()})
    check_agreement(settings, {name: value.source for name, value in given.items()})
    return settings


def require(settings: Settings, name: str) -> None:
    """Check that a field that is empty by default has been set, such as `learner.path`.

    Raises:
        SettingsError: It is empty.
    """
    field = fields()[name]
    if not field.value_of(settings):
        hint = f"set it in federation.toml or as {field.variable}"
        raise SettingsError(name, field.about.expected or "a value", "nothing", hint=hint)


def _build(values: Mapping[str, object]) -> Settings:
    built: dict[str, Any] = {}
    for section, struct in sections().items():
        attributes = {field.attribute: values[field.name] for field in _own(section)}
        built[section] = struct(**attributes)
    return Settings(**built)


def _from_named(name: str, chosen: Given, folder: Path) -> Iterator[tuple[str, Given]]:
    """What the chosen preset or profile sets; nothing if none is chosen."""
    found = NAMED[name].get(str(read(fields()[name], chosen)))
    if found is not None:
        source = f'the {fields()[name].key} "{chosen.value}" ({chosen.source})'
        for dotted, value in found.dotted().items():
            yield dotted, Given(value, source, folder, loose=True)


def _from_file(path: Path, folder: Path) -> Iterator[tuple[str, Given]]:
    source = str(path)
    for section, table in _document(path).items():
        if section not in sections():
            names = {name: name for name in sections()}
            raise _unknown(section, "a section", section, names, source)
        if not isinstance(table, dict):
            raise SettingsError(section, f"a table [{section}]", show(table), source)
        for key, value in table.items():
            name = f"{section}.{key}"
            if name not in fields():
                own = {field.key: field.name for field in _own(section)}
                raise _unknown(name, f"a key of [{section}]", key, own, source)
            yield name, Given(value, source, folder, loose=False)


def _document(path: Path) -> dict[str, object]:
    import tomllib  # here, because a worker without a file does not need it

    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise SettingsError(str(path), "a file of settings", "no such file") from None
    except OSError as error:
        got = error.strerror or str(error)
        raise SettingsError(str(path), "a file that can be read", got) from error
    except UnicodeDecodeError as error:
        got = f"another byte at {error.start}"
        raise SettingsError(str(path), "text in UTF-8", got) from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise SettingsError(str(path), "valid toml", one_line(f"an error: {error}")) from None


def _from_environment(environ: Mapping[str, str], here: Path) -> Iterator[tuple[str, Given]]:
    by_variable = {field.variable: field.name for field in fields().values()}
    by_prefix = {f"FEDMQ_{section.upper()}_": section for section in sections()}
    for variable in sorted(environ):
        if variable in by_variable:
            given = Given(environ[variable], variable, here, loose=True)
            yield by_variable[variable], given
            continue
        plain = variable.removesuffix(FILE_SUFFIX)
        if plain in by_variable:
            if plain in environ:
                both = f"{plain} and {variable}"
                raise SettingsError(by_variable[plain], "one of two variables", both)
            text = _text_in(here / environ[variable], variable)
            yield by_variable[plain], Given(text, variable, here, loose=True, hidden=True)
            continue
        for prefix, section in by_prefix.items():
            if variable.startswith(prefix):
                own = {field.key: field.variable for field in _own(section)}
                key = variable.removeprefix(prefix).lower()
                raise _unknown(variable, f"a variable of [{section}]", key, own, "environment")


def _text_in(path: Path, variable: str) -> str:
    """What a file holds, without the end of its last line.

    Raises:
        SettingsError: It cannot be read, or is no short text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_BYTES_MAX + 1)
    except OSError as error:
        came = f"{show(str(path))}: {error.strerror or error}"
        raise SettingsError(variable, "a file that can be read", came) from error
    if len(content) > _SECRET_BYTES_MAX:
        raise SettingsError(variable, "a file of at most 64 KiB", show(str(path)))
    try:
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        came = f"other bytes in {show(str(path))}"
        raise SettingsError(variable, "text in UTF-8", came) from None


def _from_overrides(overrides: Mapping[str, object], here: Path) -> Iterator[tuple[str, Given]]:
    for name, value in overrides.items():
        if name not in fields():
            names = {known: known for known in fields()}
            raise _unknown(name, "a setting", name, names, COMMAND_LINE)
        if value is not None:
            yield name, Given(value, COMMAND_LINE, here, loose=True)


def _own(section: str) -> list[Field]:
    return [field for field in fields().values() if field.section == section]


def _unknown(
    name: str, expected: str, key: str, known: Mapping[str, str], source: str
) -> SettingsError:
    """Make the error for an unknown name.

    Args:
        name: What was written.
        expected: What it should have named.
        key: The part of it that can be mistaken.
        known: What that part could be, to what is then shown.
        source: Where it was written.
    """
    near = [known[found] for found in difflib.get_close_matches(key, known, n=1)]
    # The right key in the wrong section, or in none, is as frequent as a slip of the pen.
    last = key.rpartition(".")[2]
    near = near or [field.name for field in fields().values() if field.key == last]
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(known.values())}"
    return SettingsError(name, expected, "an unknown name", source, hint)
