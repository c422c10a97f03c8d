"""Arrays to flat buffers and back, and the update between two of them.

Laws: `unflatten(flatten(a, l), l) == a`; applying `update_between(base, trained)` to `base` gives
`trained` again, but for rounding in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.buffer import Buffer
from schemas.errors import LayoutError
from schemas.layout import DTYPES, FLOATS, Entry, Layout, Rule, Segment

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""Marks an array of bfloat16: one field of its 16 bits."""

_BFLOAT16_MAX = float(np.array(0x7F7F0000, "<u4").view("<f4"))

_NUMPY = {
    name: BFLOAT16 if name == "bfloat16" else np.dtype(name).newbyteorder("<") for name in DTYPES
}
_NAMES = {dtype: name for name, dtype in _NUMPY.items()}

Array = NDArray[Any]
Floats = NDArray[np.float32]


def dtype_name(array: Array) -> str:
    """The layout's name of an array's dtype.

    Raises:
        LayoutError: If parameters cannot have that dtype.
    """
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise LayoutError(f"expected a dtype of {list(DTYPES)}, came {array.dtype}")
    return name


def layout_of(arrays: Mapping[str, Array], rules: Mapping[str, Rule] | None = None) -> Layout:
    """The layout of parameters; `rules` names integer and bool arrays that are not kept.

    Raises:
        LayoutError: If an array cannot be a parameter.
    """
    rules = rules or {}
    entries = []
    for name, array in arrays.items():
        dtype = dtype_name(np.asarray(array))
        rule: Rule = "mean" if dtype in FLOATS else rules.get(name, "keep")
        entries.append(Entry(name, dtype, tuple(np.shape(array)), rule))
    return Layout.of(entries)


def flatten(arrays: Mapping[str, Array], layout: Layout) -> bytearray:
    """Parameters as the layout's flat buffer.

    Raises:
        LayoutError: If names, shapes or dtypes are not the layout's.
    """
    buffer = bytearray(layout.num_bytes)
    require(arrays, layout)
    for name, view in unflatten(buffer, layout).items():
        view[...] = arrays[name]
    return buffer


def unflatten(buffer: Buffer, layout: Layout) -> dict[str, Array]:
    """Views of a flat buffer as named arrays; writable if the buffer is.

    Raises:
        LayoutError: If the buffer has another size.
    """
    if memoryview(buffer).nbytes != layout.num_bytes:
        came = memoryview(buffer).nbytes
        raise LayoutError(f"expected a buffer of {layout.num_bytes} bytes, came {came}")
    return {
        entry.name: np.frombuffer(buffer, _NUMPY[entry.dtype], entry.count, offset).reshape(
            entry.shape
        )
        for entry, offset in zip(layout.entries, layout.offsets(), strict=True)
    }


def arrays_of(buffer: Buffer, layout: Layout, dtype: str) -> Iterator[tuple[str, Array]]:
    """The arrays of one dtype with their names, in their order in the flat buffer, in place."""
    for entry, offset in zip(layout.entries, layout.offsets(), strict=True):
        if entry.dtype == dtype:
            numbers = np.frombuffer(buffer, _NUMPY[dtype], entry.count, offset)
            yield entry.name, numbers.reshape(entry.shape)


def as_bytes(numbers: Array) -> memoryview:
    """The bytes of contiguous numbers, in place."""
    return numbers.view(np.uint8).data


def require(arrays: Mapping[str, Array], layout: Layout) -> None:
    """Check that arrays have exactly the layout's names, shapes and dtypes.

    Raises:
        LayoutError: Naming the first array that differs, what was expected and what came.
    """
    expected = {entry.name: entry for entry in layout.entries}
    if arrays.keys() != expected.keys():
        missing = sorted(expected.keys() - arrays.keys())
        unknown = sorted(arrays.keys() - expected.keys())
        raise LayoutError(f"arrays missing: {missing or 'none'}; not expected: {unknown or 'none'}")
    for name, entry in expected.items():
        array = np.asarray(arrays[name])
        if array.shape != entry.shape or dtype_name(array) != entry.dtype:
            raise LayoutError(
                f"{name}: expected {entry.dtype} of shape {entry.shape}, "
                f"came {array.dtype} of shape {array.shape}"
            )


def segment_view(buffer: Buffer, segment: Segment) -> Array:
    """The numbers of one segment of a flat buffer, in place."""
    return np.frombuffer(buffer, _NUMPY[segment.dtype], segment.count, segment.offset)


def as_float32(numbers: Array) -> Floats:
    """Numbers of any float dtype as float32, without a copy where they are that already."""
    if numbers.dtype == BFLOAT16:
        bits = numbers.view("<u2").astype("<u4") << 16
        return bits.view("<f4")
    return numbers.astype("<f4", copy=False)


@np.errstate(over="ignore", invalid="ignore")
def add_to(numbers: Array, change: Floats) -> Array:
    """The sum of both, in the numbers' own dtype (bfloat16 rounds to nearest even).

    What a dtype of 16 bits cannot hold becomes the largest it can: an infinite number would stay
    in the model for good, and no verdict would say whose update did it.
    """
    if numbers.dtype == BFLOAT16:
        return to_bfloat16(_within(as_float32(numbers) + change, _BFLOAT16_MAX))
    if numbers.dtype.itemsize < 4:
        largest = float(np.finfo(numbers.dtype).max)
        total = _within(numbers.astype("<f4") + change, largest)
        return np.asarray(total.astype(numbers.dtype))
    return np.asarray(numbers + change.astype(numbers.dtype, copy=False))


def _within(numbers: Floats, largest: float) -> Floats:
    return np.clip(numbers, -largest, largest)


def to_bfloat16(numbers: Floats) -> Array:
    """Numbers as bfloat16, rounded to nearest even."""
    bits = numbers.view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return np.where(np.isnan(numbers), np.uint16(0x7FC0), rounded).astype("<u2").view(BFLOAT16)


@np.errstate(over="ignore", invalid="ignore")  # a training that diverged: refused where it arrives
def update_between(received: Buffer, trained: Buffer, layout: Layout) -> bytearray:
    """The payload of an update: trained minus received as float32, then the arrays to be maxed.

    Args:
        received: Flat buffer of the parameters that training began with.
        trained: Flat buffer of those it ended with.
        layout: Of both.
    """
    payload = bytearray(layout.update_bytes)
    floats = update_floats(payload, layout)
    place = 0
    for segment in layout.segments:
        if segment.dtype in FLOATS:
            before, after = segment_view(received, segment), segment_view(trained, segment)
            here = floats[place : place + segment.count]
            if segment.dtype == "float64":
                here[...] = after - before
            else:
                np.subtract(as_float32(after), as_float32(before), out=here)
            place += segment.count
    values = unflatten(trained, layout) if layout.maxed else {}
    for name, view in update_maxed(payload, layout).items():
        view[...] = values[name]
    return payload


def update_floats(payload: Buffer, layout: Layout) -> Floats:
    """The floats of a payload before any codec, `(layout.num_floats,)` float32, in place."""
    return np.frombuffer(payload, "<f4", layout.num_floats)


def update_maxed(payload: Buffer, layout: Layout) -> dict[str, Array]:
    """The arrays of an update that are maxed, in place; they end its payload in every codec."""
    arrays, offset = {}, memoryview(payload).nbytes - layout.maxed_bytes
    for entry in layout.maxed:
        numbers = np.frombuffer(payload, _NUMPY[entry.dtype], entry.count, offset)
        arrays[entry.name] = numbers.reshape(entry.shape)
        offset += entry.count * DTYPES[entry.dtype]
    return arrays


def apply_update(base: Buffer, change: Floats, layout: Layout) -> bytearray:
    """A new flat buffer: the base's floats plus `change`, everything else as in the base.

    Args:
        base: Flat buffer of the parameters.
        change: `(layout.num_floats,)` float32, in the order of segments.
        layout: Of the base.
    """
    result = bytearray(base)
    place = 0
    for segment in layout.segments:
        if segment.dtype in FLOATS:
            numbers = segment_view(result, segment)
            numbers[...] = add_to(numbers, change[place : place + segment.count])
            place += segment.count
    return result
