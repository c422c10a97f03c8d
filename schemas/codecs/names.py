"""The codecs by name. Without arrays: the agent of a worker looks here too."""

from __future__ import annotations

FP32 = "fp32"
"""The numbers as they are."""

CODECS = frozenset({FP32})
"""Every name that a round may ask for."""
