"""What the payload of an update is: its floats in the round's codec, then the arrays to be maxed.

    block 0 | block 1 | …   (if packed: and a table)   | maxed arrays

Rules: sizes follow from the local layout, and are compared before anything is decoded or memory is
taken; what a payload decodes to depends on nothing but its bytes, the codec, the layout and the
update's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import assert_never

import numpy as np

from schemas.buffer import Buffer
from schemas.chance import Chance, key_of
from schemas.codecs import packed
from schemas.codecs.block import BlockCodec
from schemas.codecs.floats import Bf16, Fp16, Fp32
from schemas.codecs.integers import Int4, Int8
from schemas.codecs.names import EXPECTED, FP32, Kind, Spec, spec_of
from schemas.codecs.numbers import BLOCK, Numbers, PlainNumbers, spans
from schemas.codecs.rotated import Int2
from schemas.codecs.sparse import TopK
from schemas.errors import DecodeError
from schemas.layout import Layout
from schemas.tensors import Floats, as_bytes


def size_bounds(codec: str, layout: Layout) -> tuple[int, int]:
    """The fewest and the most bytes that an update's payload can have.

    Raises:
        DecodeError: If the codec is not known.
    """
    least, most = _float_bounds(codec, layout.num_floats)
    return least + layout.maxed_bytes, most + layout.maxed_bytes


@lru_cache(maxsize=64)
def _float_bounds(codec: str, num_floats: int) -> tuple[int, int]:
    """The fewest and the most bytes of the floats."""
    spec = _spec(codec)
    most = _full_size(spec, num_floats)
    return packed.size_bounds(most, len(_counts(num_floats))) if spec.packed else (most, most)


def size_fault(payload_bytes: int, codec: str, layout: Layout) -> str:
    """Why no payload of a codec can have so many bytes, "" if one can."""
    try:
        least, most = size_bounds(codec, layout)
    except DecodeError as error:
        return str(error)
    if least <= payload_bytes <= most:
        return ""
    allowed = f"{most}" if least == most else f"{least} to {most}"
    return f"expected {allowed} bytes of {codec}, came {payload_bytes}"


def numbers_of(payload: Buffer, codec: str, layout: Layout, update_id: str) -> Numbers:
    """The numbers of an update.

    Args:
        payload: Its payload.
        codec: Its name.
        layout: The local one, never the sender's.
        update_id: Whatever is random in the codec follows from it.

    Raises:
        DecodeError: If the codec is not known, or no payload of it has that size.
    """
    view = memoryview(payload).cast("B")
    fault = size_fault(view.nbytes, codec, layout)
    if fault:
        raise DecodeError(fault)
    floats = view[: view.nbytes - layout.maxed_bytes]
    if codec == FP32:
        return PlainNumbers(floats)
    return _CodedNumbers(floats, _spec(codec), layout.num_floats, update_id)


def encode_update(payload: Buffer, codec: str, layout: Layout, update_id: str) -> Iterator[Buffer]:
    """The chunks of an update's payload, in order.

    `numbers_of` their concatenation are the numbers of `payload`, as near as the codec comes.

    Args:
        payload: As `schemas.tensors.update_between` makes it; all its floats are finite.
        codec: What to encode it with.
        layout: Of the update.
        update_id: Whatever is random in the codec follows from it.

    Raises:
        DecodeError: If the codec is not known.
    """
    if codec == FP32:
        yield payload
        return
    whole = memoryview(payload).cast("B")
    end = whole.nbytes - layout.maxed_bytes
    yield from encode_numbers(PlainNumbers(whole[:end]), codec, update_id)
    yield whole[end:]


def encode_numbers(numbers: Numbers, codec: str, update_id: str) -> Iterator[Buffer]:
    """The same of its floats alone, which may be made as they are asked for.

    Args:
        numbers: All of them finite.
        codec: What to encode them with.
        update_id: Whatever is random in the codec follows from it.

    Yields:
        What comes next; valid until the next is asked for.

    Raises:
        DecodeError: If the codec is not known.
    """
    spec = _spec(codec)
    coder, key, sizes = _coder(spec), _key(update_id), []
    for index, (_, floats) in enumerate(numbers.blocks()):
        if codec == FP32:
            yield as_bytes(floats)
            continue
        block = coder.encode(floats, Chance(key, index))
        if spec.packed:
            block = packed.pack(block, coder.lane)
            sizes.append(len(block))
        yield block
    if spec.packed:
        yield packed.table_of(sizes)


class _CodedNumbers:
    """Numbers that are decoded block by block. See `Numbers`.

    Raises:
        DecodeError: If the table of packed blocks does not fit them.
    """

    def __init__(self, data: memoryview, spec: Spec, size: int, update_id: str) -> None:
        self._data = data
        self._coder = _coder(spec)
        self._packed = spec.packed
        self._size = size
        self._key = _key(update_id)
        sizes = [self._coder.size(count) for count in _counts(size)]
        if spec.packed:
            self._places = packed.places_of(data, sizes)
        else:
            ends = np.cumsum(sizes).tolist()
            self._places = list(zip([0, *ends], ends, strict=False))

    @property
    def size(self) -> int:
        return self._size

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        scratch = np.empty(min(BLOCK, self._size), np.float32)
        for index, (start, stop) in enumerate(spans(self._size)):
            block = scratch[: stop - start]
            self._decode(index, block)
            yield start, block

    def read(self, start: int, stop: int) -> Floats:
        found = np.empty(stop - start, np.float32)
        scratch = np.empty(min(BLOCK, self._size), np.float32)
        for index in range(start // BLOCK, -(-stop // BLOCK)):
            first = index * BLOCK
            block = scratch[: min(BLOCK, self._size - first)]
            self._decode(index, block)
            begin, end = max(start, first), min(stop, first + block.size)
            found[begin - start : end - start] = block[begin - first : end - first]
        return found

    def _decode(self, index: int, out: Floats) -> None:
        start, stop = self._places[index]
        block: Buffer = self._data[start:stop]
        if self._packed:
            block = packed.unpack(block, self._coder.size(out.size), self._coder.lane)
        self._coder.decode(block, out, Chance(self._key, index))


def _spec(codec: str) -> Spec:
    spec = spec_of(codec)
    if spec is None:
        raise DecodeError(f"expected a codec, {EXPECTED}; came {codec!r:.40}")
    return spec


@lru_cache(maxsize=64)
def _coder(spec: Spec) -> BlockCodec:
    kind: Kind = spec.kind
    match kind:
        case "fp32":
            return Fp32()
        case "fp16":
            return Fp16()
        case "bf16":
            return Bf16()
        case "int8":
            return Int8()
        case "int4":
            return Int4()
        case "int2":
            return Int2()
        case "topk":
            return TopK(spec.share)
        case _:
            assert_never(kind)


def _counts(size: int) -> list[int]:
    """How many numbers each block has."""
    return [stop - start for start, stop in spans(size)]


def _full_size(spec: Spec, size: int) -> int:
    """What all blocks have together, before they are packed."""
    coder, (whole, rest) = _coder(spec), divmod(size, BLOCK)
    return whole * coder.size(BLOCK) + (coder.size(rest) if rest else 0)


def _key(update_id: str) -> int:
    return key_of("codec", update_id)
