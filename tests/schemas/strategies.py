"""What can be said, made at random: headers, messages and named arrays."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st

from schemas.fields import (
    CodecName,
    Count,
    Digest,
    Id,
    MaybeId,
    Name,
    Number,
    Seed,
    Text,
    Version,
    WorkerId,
)
from schemas.layout import DTYPES
from schemas.messages import KINDS, Message
from schemas.tensors import BFLOAT16, Array

HEX = "0123456789abcdef"
WORD = "ABCXYZabcxyz0189_-"

IDS = st.text(HEX, min_size=32, max_size=32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)

_OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    WorkerId: st.text(WORD, min_size=1, max_size=64),
    Id: IDS,
    MaybeId: st.just("") | IDS,
    Digest: st.text(HEX, min_size=64, max_size=64),
    CodecName: st.text("abcz019.:+", min_size=1, max_size=40),
    Name: st.text(WORD + ".", min_size=1, max_size=200),
    Text: TEXTS,
    Count: st.integers(0, 2**53),
    Version: st.integers(-1, 2**53),
    Seed: st.integers(0, 2**32 - 1),
    Number: NUMBERS,
    bool: st.booleans(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that a field of this type accepts."""
    if get_origin(hint) is Annotated or hint is bool:
        return _OF_TYPE[hint]
    arguments = get_args(hint)
    origin = get_origin(hint)
    if origin is types.UnionType or origin is Union:
        return st.none() | values_of(next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=5).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=5)
    if dataclasses.is_dataclass(hint):
        return messages_of(hint)
    raise AssertionError(f"no strategy for {hint!r}")


def messages_of(kind: Any) -> st.SearchStrategy[Any]:
    """Messages of one kind, all their fields from the types of the class."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


MESSAGES: st.SearchStrategy[Message] = st.one_of([messages_of(kind) for kind in KINDS.values()])

PRIMITIVES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)

SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def arrays_of(draw: st.DrawFn, dtype: str, shape: tuple[int, ...] | None = None) -> Array:
    """An array of a dtype of parameters; any bits for floats, so NaN and infinity too."""
    shape = draw(SHAPES) if shape is None else shape
    size = math.prod(shape) * DTYPES[dtype]
    data = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype == "bool":
        return np.frombuffer(data, np.uint8).reshape(shape) > 127
    return np.frombuffer(data, BFLOAT16 if dtype == "bfloat16" else dtype).reshape(shape)


@st.composite
def parameter_sets(draw: st.DrawFn) -> dict[str, Array]:
    """Named arrays of any dtypes and shapes, at least one number of them a float."""
    names = draw(st.lists(TEXTS.filter(is_name), unique=True, min_size=1, max_size=6))
    arrays = {name: draw(arrays_of(draw(st.sampled_from(list(DTYPES))))) for name in names}
    first, *_ = names
    arrays[first] = draw(arrays_of(draw(st.sampled_from(["float32", "float16", "bfloat16"])), (3,)))
    return arrays


def is_name(text: str) -> bool:
    """Whether parameters can be named so."""
    return text != "__metadata__"
