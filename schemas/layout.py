"""How named arrays lie in one flat buffer, described once and named by a digest.

Rules: arrays of one dtype lie together in one segment, in the order of their names; segments follow
the order of `DTYPES`, one after another without a gap. So two learners with the same arrays have
the same layout whatever order they name them in, a sum needs one operation per dtype, and the
buffer is what a safetensors file holds behind its header. Larger numbers come first, so that each
lies at a multiple of its size.
Floats are averaged. Integers and bools follow the rule of their entry: "keep" the server's value,
or take the "max" of those received.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from schemas.digest import digest_of
from schemas.errors import LayoutError

Rule = Literal["mean", "keep", "max"]

DTYPES: dict[str, int] = {
    "float64": 8,
    "int64": 8,
    "uint64": 8,
    "float32": 4,
    "int32": 4,
    "uint32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int16": 2,
    "uint16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""Every dtype of parameters and the bytes of one number, in the order of segments."""

FLOATS = ("float64", "float32", "float16", "bfloat16")

_NO_NAMES = ("__metadata__",)  # safetensors keeps it for itself


@dataclass(frozen=True, slots=True)
class Entry:
    """One named array: its dtype, shape and how updates change it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    rule: Rule

    def __post_init__(self) -> None:
        if self.name in _NO_NAMES or not _is_unicode(self.name):
            raise LayoutError(
                f"{self.name!r} cannot be the name of an array: no file could hold it"
            )
        if self.dtype not in DTYPES:
            raise LayoutError(f"{self.name}: expected a dtype of {list(DTYPES)}, came {self.dtype}")
        if self.rule not in get_args(Rule) or (self.rule == "mean") != (self.dtype in FLOATS):
            raise LayoutError(f"{self.name}: rule {self.rule!r} is not for {self.dtype}")

    @property
    def count(self) -> int:
        """How many numbers it holds; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Segment:
    """All numbers of one dtype: where they begin in the flat buffer, in bytes, and how many."""

    dtype: str
    offset: int
    count: int


@dataclass(frozen=True)
class Layout:
    """The entries of a model in their canonical order. Build it with `Layout.of`."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Layout:
        """The layout of entries given in any order.

        Raises:
            LayoutError: If a name stands twice or there is nothing to average.
        """
        order = list(DTYPES)
        ordered = tuple(sorted(entries, key=lambda e: (order.index(e.dtype), e.name)))
        names = [entry.name for entry in ordered]
        if len(set(names)) != len(names):
            raise LayoutError("a name stands twice in the parameters")
        if not any(entry.dtype in FLOATS and entry.count for entry in ordered):
            raise LayoutError("expected at least one array of floats to learn, came none")
        return cls(ordered)

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]]) -> Layout:
        """The layout that `rows` gave.

        Raises:
            LayoutError: If they are not a layout's.
        """
        return cls.of(Entry(row[0], row[1], tuple(row[2]), row[3]) for row in rows)

    def rows(self) -> list[list[Any]]:
        """The entries as lists of name, dtype, shape and rule, for JSON and msgpack."""
        return [[e.name, e.dtype, list(e.shape), e.rule] for e in self.entries]

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The runs of one dtype, in order."""
        segments: list[Segment] = []
        end = 0
        for dtype, size in DTYPES.items():
            count = sum(entry.count for entry in self.entries if entry.dtype == dtype)
            if count:
                segments.append(Segment(dtype, end, count))
                end += count * size
        return tuple(segments)

    @cached_property
    def num_bytes(self) -> int:
        """Size of the model's flat buffer."""
        last = self.segments[-1]
        return last.offset + last.count * DTYPES[last.dtype]

    @cached_property
    def num_floats(self) -> int:
        """How many numbers are averaged."""
        return sum(segment.count for segment in self.segments if segment.dtype in FLOATS)

    @cached_property
    def maxed(self) -> tuple[Entry, ...]:
        """Entries of which the largest value received is kept."""
        return tuple(entry for entry in self.entries if entry.rule == "max")

    @cached_property
    def maxed_bytes(self) -> int:
        """Size of the `maxed` arrays in an update's payload."""
        return sum(DTYPES[entry.dtype] * entry.count for entry in self.maxed)

    @cached_property
    def update_bytes(self) -> int:
        """Size of an update's payload before any codec: float32 of each float, then `maxed`."""
        return 4 * self.num_floats + self.maxed_bytes

    @cached_property
    def digest(self) -> str:
        """The layout's name: equal exactly if names, dtypes, shapes and rules are."""
        # A name may hold anything, so its length comes first: none looks like two entries.
        lines = (f"{len(e.name)} {e.name} {e.dtype} {e.shape} {e.rule}\n" for e in self.entries)
        return digest_of("".join(lines).encode())

    def offsets(self) -> list[int]:
        """Where each entry begins in the flat buffer, in bytes, in the order of `entries`."""
        starts = {segment.dtype: segment.offset for segment in self.segments}
        offsets = []
        for entry in self.entries:
            begin = starts.get(entry.dtype, 0)
            offsets.append(begin)
            starts[entry.dtype] = begin + entry.count * DTYPES[entry.dtype]
        return offsets


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
