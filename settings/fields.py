"""The list of all fields, read once from the tree of `settings.model`."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from settings.about import About
from settings.duration import format_duration
from settings.kept import format_kept
from settings.model import Settings
from settings.size import format_size


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the settings.

    Attributes:
        section: Its table in the file.
        key: Its key in that table.
        attribute: Its name in the code, which may end in a unit.
        hint: Its type as annotated, with its bounds.
        type: Its type without them.
        default: Its value where none is given.
        about: What it means.
    """

    section: str
    key: str
    attribute: str
    hint: Any
    type: Any
    default: object
    about: About

    @property
    def name(self) -> str:
        """Its name in errors and on the command line: ``rounds.goal``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it: ``FEDMQ_ROUNDS_GOAL``."""
        return f"FEDMQ_{self.section}_{self.key}".upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """The only texts it may be; empty where there is no such list."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    def value_of(self, settings: Settings) -> object:
        """Take its value out of the settings."""
        return getattr(getattr(settings, self.section), self.attribute)

    def write(self, value: object) -> str:
        """Write a value as a person would in the file, without quotes."""
        if self.about.kind == "duration" and isinstance(value, float):
            return format_duration(value)
        if self.about.kind == "size" and isinstance(value, int):
            return format_size(value)
        if self.about.kind == "kept" and isinstance(value, int):
            return format_kept(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)


@functools.cache
def sections() -> dict[str, type[msgspec.Struct]]:
    """The sections in the order of the file: name to class."""
    return {section.encode_name: section.type for section in msgspec.structs.fields(Settings)}


@functools.cache
def fields() -> dict[str, Field]:
    """All fields in the order of the file: dotted name to field."""
    found = [
        _field(section, struct_field)
        for section, struct in sections().items()
        for struct_field in msgspec.structs.fields(struct)
    ]
    return {field.name: field for field in found}


def _field(section: str, described: msgspec.structs.FieldInfo) -> Field:
    if get_origin(described.type) is not Annotated:
        raise TypeError(f"{section}.{described.name} is not Annotated with about(...)")
    plain_type, meta = get_args(described.type)
    default = described.default
    if default is msgspec.NODEFAULT:
        default = described.default_factory()
    return Field(
        section=section,
        key=described.encode_name,
        attribute=described.name,
        hint=described.type,
        type=plain_type,
        default=default,
        about=meta.extra["about"],
    )
