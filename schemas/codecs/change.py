"""What an update is before any codec, block by block: trained minus received, and what is maxed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from schemas.buffer import Buffer
from schemas.codecs.numbers import BLOCK, spans
from schemas.layout import FLOATS, Layout
from schemas.tensors import Array, Floats, as_bytes, as_float32, unflatten


class Change:
    """The change of parameters by a training. A `Numbers`; nothing as large as the model is made.

    Law: the bytes of its blocks and then of `maxed` are
    `update_between(received, flatten(trained, layout), layout)`.

    Args:
        received: Flat buffer of the parameters that training began with.
        trained: Those it ended with, as `schemas.tensors.require` wants them.
        layout: Of both.
    """

    def __init__(self, received: Buffer, trained: Mapping[str, Array], layout: Layout) -> None:
        self._received = unflatten(received, layout)
        self._trained = trained
        self._layout = layout

    @property
    def size(self) -> int:
        """See `Numbers.size`."""
        return self._layout.num_floats

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """See `Numbers.blocks`."""
        block = np.empty(min(BLOCK, self.size), np.float32)
        done = filled = 0
        for before, after in self._pairs():
            place = 0
            while place < before.size:
                stop = min(before.size, place + block.size - filled)
                _subtract(before[place:stop], after[place:stop], block[filled:])
                filled, place = filled + stop - place, stop
                if filled == block.size:
                    yield done, block
                    done, filled = done + filled, 0
        if filled:
            yield done, block[:filled]

    def read(self, start: int, stop: int) -> Floats:
        """See `Numbers.read`."""
        out = np.empty(stop - start, np.float32)
        place = 0
        for before, after in self._pairs():
            first, last = max(start - place, 0), min(stop - place, before.size)
            if first < last:
                here = out[place + first - start :]
                _subtract(before[first:last], after[first:last], here)
            place += before.size
        return out

    def maxed(self) -> Iterator[memoryview]:
        """The bytes of the arrays to be maxed, in the order of the layout."""
        for entry in self._layout.maxed:
            values = _flat(self._trained[entry.name])
            for start, stop in spans(entry.count):
                yield as_bytes(values[start:stop])

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        """The arrays of floats, before and after."""
        for entry in self._layout.entries:
            if entry.dtype in FLOATS:
                yield self._received[entry.name].reshape(-1), _flat(self._trained[entry.name])

    def payload(self) -> bytearray:
        """All of it, as `update_between` gives it."""
        payload = bytearray(self._layout.update_bytes)
        floats = np.frombuffer(payload, "<f4", self.size)
        for start, block in self.blocks():
            floats[start : start + block.size] = block
        end = floats.nbytes
        for chunk in self.maxed():
            payload[end : end + chunk.nbytes] = chunk
            end += chunk.nbytes
        return payload


def _flat(array: Array) -> Array:
    """Its numbers one after another, little-endian; a copy only where they are not that."""
    array = np.ascontiguousarray(array).reshape(-1)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


@np.errstate(over="ignore", invalid="ignore")  # a training that diverged: refused where it is seen
def _subtract(before: Array, after: Array, out: Floats) -> None:
    here = out[: before.size]
    if before.dtype.itemsize == 8:
        here[...] = after - before
    else:
        np.subtract(as_float32(after), as_float32(before), out=here)
