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
_SHORT_BYTES, _SHORT_MAX = 2048, 64  # what msgpack may take at once: it can claim little room
_MAP_MAX = 1024
_ARRAY_MAX = 4096
_TEXT_MAX = 4096
_MAPS = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})  # the first bytes of msgpack's maps
_LISTS = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})

Header = Mapping[str, Any]


def _payload_offset(header_bytes: int) -> int:
    end = _PREFIX.size + header_bytes
    return end + -end % ALIGNMENT


def frame_head(header: Header, payload_bytes: int, version: int = PROTOCOL_VERSION) -> bytes:
    """A frame up to its payload, which is so many bytes and lies elsewhere.

    Raises:
        ValueError: If the header is larger than a receiver would take.
    """
    packed = _VERSION.pack(version) + msgpack.packb(dict(header))
    if len(packed) > HEADER_BYTES_MAX:
        raise ValueError(f"header of {len(packed)} bytes: at most {HEADER_BYTES_MAX} are allowed")
    start = _payload_offset(len(packed))
    padding = bytes(start - _PREFIX.size - len(packed))
    prefix = _PREFIX.pack(_MAGIC, len(packed), payload_bytes)
    return b"".join((prefix, packed, padding))


def encode_frame(header: Header, *payload: Buffer, version: int = PROTOCOL_VERSION) -> bytes:
    """Put a header and the chunks of a payload into one frame.

    Raises:
        ValueError: If the header is larger than a receiver would take.
    """
    payload_bytes = sum(memoryview(chunk).nbytes for chunk in payload)
    return b"".join((frame_head(header, payload_bytes, version), *payload))


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
    if packed.nbytes <= _SHORT_BYTES:
        try:
            header = msgpack.unpackb(
                packed,
                raw=False,
                object_pairs_hook=_map_of,
                ext_hook=_refuse_extension,
                max_array_len=_SHORT_MAX,
                max_map_len=_SHORT_MAX,
                max_ext_len=0,
            )
            if type(header) is dict and _is_nested_within(header, _DEPTH_MAX):
                return header
        except Exception:  # what is wrong with it, if anything, is found out below
            pass
    return _unpack_by_item(packed)


def _map_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The map of its entries; msgpack has looked that keys are text or bytes."""
    entries = dict(pairs)
    if len(entries) < len(pairs) or not set(map(type, entries)) <= {str}:
        raise DecodeError("a key stands twice, or is not text")
    return entries


def _is_nested_within(value: Any, depth: int) -> bool:
    """Whether a list or map has at most so many levels."""
    if depth == 0:
        return False
    inside = value.values() if type(value) is dict else value
    nested = [each for each in inside if type(each) is dict or type(each) is list]
    return not nested or all(_is_nested_within(each, depth - 1) for each in nested)


def _unpack_by_item(packed: memoryview) -> dict[str, Any]:
    # msgpack makes room for a list when it reads how long it is said to be, and in nested ones 64
    # KiB can say 32 MB. So lists and maps are read here, item by item, and their depth is known.
    unpacker = msgpack.Unpacker(
        read_size=HEADER_BYTES_MAX,
        max_buffer_size=HEADER_BYTES_MAX,
        raw=False,
        max_str_len=_TEXT_MAX,
        max_bin_len=_TEXT_MAX,
        max_ext_len=0,
        ext_hook=_refuse_extension,
    )
    unpacker.feed(packed)
    try:
        header = _unpack_value(unpacker, packed, _DEPTH_MAX)
    except DecodeError:
        raise
    except Exception as error:  # msgpack raises many kinds; each means the same to us
        raise DecodeError(
            f"the header is not msgpack: {str(error) or type(error).__name__}"
        ) from error
    if type(header) is not dict:
        raise DecodeError(f"expected a map as header, came {type(header).__name__}")
    if unpacker.tell() != len(packed):
        raise DecodeError(f"{len(packed) - unpacker.tell()} bytes follow the map of the header")
    return header


def _unpack_value(unpacker: msgpack.Unpacker, packed: memoryview, depth: int) -> Any:
    place = unpacker.tell()
    first = packed[place] if place < len(packed) else None
    if first not in _LISTS and first not in _MAPS:
        return unpacker.unpack()
    if depth == 0:
        raise DecodeError(f"the header is nested deeper than {_DEPTH_MAX}")
    if first in _LISTS:
        count = _bounded(unpacker.read_array_header(), _ARRAY_MAX)
        return [_unpack_value(unpacker, packed, depth - 1) for _ in range(count)]
    entries: dict[str, Any] = {}
    for _ in range(_bounded(unpacker.read_map_header(), _MAP_MAX)):
        key = _unpack_value(unpacker, packed, 0)
        if type(key) is not str:
            raise DecodeError(f"expected text as keys of the header, came {type(key).__name__}")
        if key in entries:
            raise DecodeError("a key stands twice in the header")
        entries[key] = _unpack_value(unpacker, packed, depth - 1)
    return entries


def _bounded(count: int, most: int) -> int:
    if count > most:
        raise DecodeError(f"a list or map of {count} in the header: at most {most} are allowed")
    return count


def _refuse_extension(code: int, data: bytes) -> None:
    raise DecodeError(f"msgpack extension type {code} is not allowed")
