"""What can be wrong with bytes that came over the wire.

SchemaError
├── DecodeError            the bytes are not a message (whose fault: the sender's; dead-letter)
│   └── UnsupportedVersion a newer protocol than ours (upgrade this side)
└── LayoutError            arrays that do not fit their layout (whose fault: the caller's)
"""


class SchemaError(Exception):
    """Root of what `schemas` raises."""


class DecodeError(SchemaError):
    """The bytes are not a message of this protocol."""


class UnsupportedVersion(DecodeError):
    """The message speaks a newer version of the protocol; upgrade this side to read it."""

    def __init__(self, came: int, known: int) -> None:
        super().__init__(f"protocol version {came} is newer than {known}: upgrade this side")
        self.came = came


class LayoutError(SchemaError):
    """Arrays do not fit the layout: names, shapes or dtypes differ."""
