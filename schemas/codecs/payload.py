"""What the payload of an update is: its floats in the round's codec, then the arrays to be maxed.

Rules: sizes follow from the local layout and are compared before anything is decoded; what a
payload decodes to depends on nothing but its bytes, the codec, the layout and the update's id.
"""

from __future__ import annotations

from schemas.buffer import Buffer
from schemas.codecs.names import FP32
from schemas.codecs.numbers import Numbers, PlainNumbers
from schemas.errors import DecodeError
from schemas.layout import Layout


def size_fault(payload_bytes: int, codec: str, layout: Layout) -> str:
    """Why no payload of a codec can have so many bytes, "" if one can."""
    if payload_bytes != layout.update_bytes:
        return f"expected {layout.update_bytes} bytes, came {payload_bytes}"
    return ""


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
    if codec != FP32:
        raise DecodeError(f"expected a codec that is known here, came {codec!r:.40}")
    view = memoryview(payload).cast("B")
    fault = size_fault(view.nbytes, codec, layout)
    if fault:
        raise DecodeError(fault)
    return PlainNumbers(view[: view.nbytes - layout.maxed_bytes])
