r"""The binary frame every message travels in.

    offset  size
    0       4     magic "fmq\0"
    4       4     header length H, little-endian, at most 64 KiB
    8       8     payload length P, little-endian
    16      H     header: protocol version (2 bytes, little-endian), then a msgpack map
    ..      0-63  zeros up to a multiple of 64, so that the payload can be read in place
    ..      P     payload: raw little-endian numbers

Rules: the length of the whole is known before anything is decoded and must match exactly; the
version comes before the map, so a newer header is never parsed; the map holds only primitives,
bounded in number, length and depth; a repeated key is an error.
`decode_frame(encode_frame(h, p)) == (h, p)`, and any other bytes raise `DecodeError`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import msgpack

from schemas.buffer import Buffer
from schemas.errors import DecodeError, UnsupportedVersion

PROTOCOL_VERSION = 1
HEADER_BYTES_MAX = 64 * 1024
ALIGNMENT = 64

_MAGIC = b"fmq\0"
_PREFIX = struct.Struct("<4sIQ")
_VERSION = struct.Struct("<H")
_DEPTH_MAX = 8
_MAP_MAX = 1024
_ARRAY_MAX = 4096
_TEXT_MAX = 4096

Header = Mapping[str, Any]


def _payload_offset(header_bytes: int) -> int:
    end = _PREFIX.size + header_bytes
    return end + -end % ALIGNMENT


def encode_frame(header: Header, *payload: Buffer, version: int = PROTOCOL_VERSION) -> bytes:
    """Put a header and the chunks of a payload into one frame.

    Raises:
        ValueError: If the header is larger than a receiver would take.
    """
    packed = _VERSION.pack(version) + msgpack.packb(dict(header))
    if len(packed) > HEADER_BYTES_MAX:
        raise ValueError(f"header of {len(packed)} bytes: at most {HEADER_BYTES_MAX} are allowed")
    payload_bytes = sum(memoryview(chunk).nbytes for chunk in payload)
    start = _payload_offset(len(packed))
    padding = bytes(start - _PREFIX.size - len(packed))
    prefix = _PREFIX.pack(_MAGIC, len(packed), payload_bytes)
    return b"".join((prefix, packed, padding, *payload))


def decode_frame(body: Buffer) -> tuple[dict[str, Any], memoryview]:
    """The header and the payload, the latter in place, without a copy.

    Raises:
        UnsupportedVersion: If the frame speaks a newer protocol.
        DecodeError: If the bytes are not a frame.
    """
    view = memoryview(body).toreadonly()
    if view.nbytes < _PREFIX.size:
        raise DecodeError(f"expected a frame of at least {_PREFIX.size} bytes, came {view.nbytes}")
    magic, header_bytes, payload_bytes = _PREFIX.unpack_from(view)
    if magic != _MAGIC:
        raise DecodeError(f"expected a frame that begins with {_MAGIC!r}, came {magic!r}")
    if not _VERSION.size <= header_bytes <= HEADER_BYTES_MAX:
        raise DecodeError(f"header of {header_bytes} bytes: 2 to {HEADER_BYTES_MAX} are allowed")
    start = _payload_offset(header_bytes)
    if view.nbytes != start + payload_bytes:
        raise DecodeError(f"the frame says {start + payload_bytes} bytes, came {view.nbytes}")
    (version,) = _VERSION.unpack_from(view, _PREFIX.size)
    if version > PROTOCOL_VERSION:
        raise UnsupportedVersion(version, PROTOCOL_VERSION)
    if version != PROTOCOL_VERSION:
        raise DecodeError(f"protocol version {version} was never in use")
    end = _PREFIX.size + header_bytes
    if any(view[end:start]):
        raise DecodeError("expected zeros between header and payload")
    return _unpack_header(view[_PREFIX.size + _VERSION.size : end]), view[start:]


def _unpack_header(packed: memoryview) -> dict[str, Any]:
    try:
        header = msgpack.unpackb(
            packed,
            raw=False,
            strict_map_key=True,
            max_array_len=_ARRAY_MAX,
            max_map_len=_MAP_MAX,
            max_str_len=_TEXT_MAX,
            max_bin_len=_TEXT_MAX,
            max_ext_len=0,
            ext_hook=_refuse_extension,
            object_pairs_hook=_refuse_duplicates,
        )
    except DecodeError:
        raise
    except Exception as error:  # msgpack raises many kinds; each means the same to us
        raise DecodeError(f"the header is not msgpack: {error}") from error
    if not isinstance(header, dict):
        raise DecodeError(f"expected a map as header, came {type(header).__name__}")
    _refuse_depth(header, _DEPTH_MAX)
    return header


def _refuse_extension(code: int, data: bytes) -> None:
    raise DecodeError(f"msgpack extension type {code} is not allowed")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise DecodeError("a key stands twice in the header")
    if not all(isinstance(key, str) for key in unique):
        raise DecodeError("expected text as keys of the header")
    return unique


def _refuse_depth(value: Any, depth: int) -> None:
    if depth == 0:
        raise DecodeError(f"the header is nested deeper than {_DEPTH_MAX}")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_depth(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_depth(item, depth - 1)
