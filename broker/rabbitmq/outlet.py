"""What the parts of a link may say to whoever holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.transport import Event


@dataclass(frozen=True, slots=True)
class Outlet:
    """The ways out of a part of a link.

    Attributes:
        tell: Post an event.
        lose: The link is of no more use, for this reason: make another one.
        fail: The broker refuses what we ask for and will again.
    """

    tell: Callable[[Event], None]
    lose: Callable[[str], None]
    fail: Callable[[str], None]
