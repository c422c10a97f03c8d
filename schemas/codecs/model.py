"""A model as it travels: its flat buffer, or that with its larger floats in 16 bits.

    segment by segment:   float64, float32 ─▶ blocks of the codec        all else as it is

Only in fp16 or bf16, never smaller: every worker that trains on what arrives inherits the error.
Any stretch of it can be had without the rest, so nothing of a model's size is made.

Laws: `decode_model(b"".join(on_wire.chunks()), …)` has the same arrays, each number as near as the
codec comes; the same model and codec give the same bytes on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schemas.buffer import Buffer
from schemas.chance import Chance
from schemas.codecs.block import BlockCodec
from schemas.codecs.floats import Bf16, Fp16
from schemas.codecs.names import MODEL_CODECS
from schemas.codecs.numbers import spans
from schemas.errors import DecodeError
from schemas.layout import DTYPES, Layout, Segment
from schemas.tensors import Floats, as_float32, segment_view

CODED = ("float64", "float32")
_NO_CHANCE = Chance(0)  # nothing is random in these codecs
_CODERS: dict[str, BlockCodec] = {"fp16": Fp16(), "bf16": Bf16()}
_LARGEST = {"fp16": 3e38, "bf16": float(np.array(0x7F7F0000, "<u4").view("<f4"))}
"""What a codec still rounds to a finite number."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block of a segment: which numbers, and where its bytes lie on the wire."""

    segment: Segment
    start: int
    stop: int
    place: int
    size: int


class ModelOnWire:
    """A model as it travels.

    Args:
        model: Its flat buffer.
        layout: Its layout.
        codec: What it travels in.

    Raises:
        DecodeError: If no model travels in that codec.
    """

    def __init__(self, model: Buffer, layout: Layout, codec: str = "fp32") -> None:
        self.model = memoryview(model).cast("B")
        self._coder = _coder(codec)
        self._codec = codec
        self._pieces = _pieces(layout, codec) if self._coder is not None else []
        self._places = [piece.place for piece in self._pieces]

    @property
    def num_bytes(self) -> int:
        """How many bytes travel."""
        if not self._pieces:
            return self.model.nbytes
        return self._pieces[-1].place + self._pieces[-1].size

    def read(self, start: int, stop: int) -> Buffer:
        """Bytes `start` to `stop` of what travels; of fp32 a view."""
        if self._coder is None:
            return self.model[start:stop]
        found = bytearray()
        for piece in self._pieces[max(bisect_right(self._places, start) - 1, 0) :]:
            if piece.place >= stop:
                break
            begin, end = max(start - piece.place, 0), min(stop - piece.place, piece.size)
            found += memoryview(self._encode(piece))[begin:end]
        return found

    def chunks(self) -> Iterator[Buffer]:
        """All that travels, in order, a block at a time."""
        if self._coder is None:
            for start, stop in spans(self.model.nbytes, 2**18):
                yield self.model[start:stop]
        for piece in self._pieces:
            yield self._encode(piece)

    def _encode(self, piece: _Piece) -> Buffer:
        numbers = segment_view(self.model, piece.segment)[piece.start : piece.stop]
        if piece.segment.dtype not in CODED or self._coder is None:
            return numbers.tobytes()
        largest = _LARGEST[self._codec]
        return self._coder.encode(np.clip(_as_float32(numbers), -largest, largest), _NO_CHANCE)


def wire_bytes(layout: Layout, codec: str) -> int:
    """How many bytes a model of that layout is on the wire.

    Raises:
        DecodeError: If no model travels in that codec.
    """
    if _coder(codec) is None:
        return layout.num_bytes
    pieces = _pieces(layout, codec)
    return pieces[-1].place + pieces[-1].size


def decode_model(data: Buffer, layout: Layout, codec: str) -> Buffer:
    """The flat buffer of a model that arrived; of fp32 what arrived.

    Raises:
        DecodeError: If no model of that layout has so many bytes, or travels in that codec.
    """
    view = memoryview(data).cast("B")
    expected = wire_bytes(layout, codec)
    if view.nbytes != expected:
        raise DecodeError(f"expected a model of {expected} bytes of {codec}, came {view.nbytes}")
    coder = _coder(codec)
    if coder is None:
        return data
    model = bytearray(layout.num_bytes)
    for piece in _pieces(layout, codec):
        came = view[piece.place : piece.place + piece.size]
        here = segment_view(model, piece.segment)[piece.start : piece.stop]
        if piece.segment.dtype in CODED:
            numbers = np.empty(piece.stop - piece.start, np.float32)
            coder.decode(came, numbers, _NO_CHANCE)
            here[...] = numbers
        else:
            here[...] = np.frombuffer(came, here.dtype)
    return model


def _coder(codec: str) -> BlockCodec | None:
    """What encodes blocks, None if nothing does."""
    if codec not in MODEL_CODECS:
        expected = ", ".join(MODEL_CODECS)
        raise DecodeError(f"expected a model in one of {expected}, came one in {codec!r:.40}")
    return _CODERS.get(codec)


def _pieces(layout: Layout, codec: str) -> list[_Piece]:
    pieces, place, coder = [], 0, _CODERS[codec]
    for segment in layout.segments:
        coded = segment.dtype in CODED
        for start, stop in spans(segment.count):
            count = stop - start
            size = coder.size(count) if coded else count * DTYPES[segment.dtype]
            pieces.append(_Piece(segment, start, stop, place, size))
            place += size
    return pieces


@np.errstate(over="ignore")
def _as_float32(numbers: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Floats:
    """A float64 beyond float32 becomes infinite, and then the largest that there is."""
    return as_float32(numbers)
