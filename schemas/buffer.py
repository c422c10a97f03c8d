"""What counts as bytes here."""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview
